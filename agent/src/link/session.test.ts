import { EventEmitter } from 'node:events';
import { gunzipSync } from 'node:zlib';
import type { ClockReading } from '@edgeloop/shared/clock';
import { Command, type IdentityConflict, Presence } from '@edgeloop/shared/messages';
import { topicOf } from '@edgeloop/shared/topics';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLink, type LinkClient } from './session.ts';

const minute = 60_000;

/** A client whose sessions and answers the test brings about. */
class FakeClient extends EventEmitter implements LinkClient {
  connected = false;
  options: LinkClient['options'] = { will: { payload: '' } };
  readonly raw: (string | Buffer)[] = [];
  readonly sent: { topic: string; payload: string }[] = [];

  publish(topic: string, payload: string | Buffer, _options: unknown, taken: () => void): void {
    this.raw.push(payload);
    this.sent.push({ topic, payload: payload.toString() });
    taken();
  }

  subscribe(_topics: string[], _options: unknown, done: (error: Error | null) => void): void {
    this.sent.push({ topic: 'subscribed', payload: '' });
    done(null);
  }

  end(): void {}

  async endAsync(): Promise<void> {}

  opens(): void {
    this.connected = true;
    this.emit('connect');
  }

  closes(): void {
    this.connected = false;
    this.emit('close');
  }

  says(command: Command): void {
    this.emit('message', topicOf('d', 'commands'), Buffer.from(JSON.stringify(command)));
  }

  /** The newest presence. */
  presence(): Presence {
    const payload = this.sent.findLast(({ topic }) => topic === topicOf('d', 'presence'))?.payload;
    return Presence.parse(JSON.parse(payload ?? ''));
  }
}

let client: FakeClient;
let readings: ClockReading[];
let conflicts: (IdentityConflict | null)[];
let connected: number;
let obeyed: string[];
let closing: (() => Promise<void>)[];
let publishTelemetry: ReturnType<typeof createLink>['publishTelemetry'];

function start(): FakeClient {
  const fake = new FakeClient();
  const link = createLink(
    {
      rereadMs: 1e9,
      log: pino({ level: 'silent' }),
      report: () => {
        throw new Error('nothing to report');
      },
      onConnected: () => void connected++,
      onFailure: () => undefined,
      onSent: () => undefined,
      onClock: (reading) => void readings.push(reading),
      onIdentityConflict: (conflict) => void conflicts.push(conflict),
      onDesired: () => undefined,
      onAcknowledged: () => undefined,
      onCommand: async ({ id, name }) => {
        obeyed.push(name);
        return { id, ok: true, message: '' };
      },
    },
    () => fake,
  );
  link.connect({ deviceId: 'd', hosts: ['h'], port: 1, ca: '', cert: '', key: '' });
  publishTelemetry = link.publishTelemetry;
  closing.push(() => link.close(0));
  return fake;
}

beforeEach(() => {
  vi.useFakeTimers();
  [readings, conflicts, connected, obeyed, closing] = [[], [], 0, [], []];
  client = start();
});
afterEach(async () => {
  const closed = Promise.all(closing.map((close) => close()));
  await vi.advanceTimersByTimeAsync(10);
  await closed;
  vi.useRealTimers();
});

function answer({
  aheadMs = 0,
  identityConflict = null as IdentityConflict | null,
  sentAt = client.presence().sentAt,
} = {}): void {
  const clock = { sentAt: sentAt ?? 0, serverAt: Date.now() - aheadMs };
  client.says({ id: 'c', name: 'clock', clock, identityConflict });
}

describe('the clock', () => {
  it('is compared at each connection once answers are listened for, and telemetry begins after it', () => {
    client.opens();
    expect(client.sent.map(({ topic }) => topic).slice(0, 2)).toEqual(['subscribed', topicOf('d', 'presence')]);
    vi.advanceTimersByTime(200);
    expect(connected).toBe(0);
    answer({ aheadMs: 3 * 86_400_000 });
    // The server read its clock at the end of 200 ms.
    expect(readings).toMatchObject([{ offsetMs: 259_200_000 - 100, roundTripMs: 200 }]);
    expect([connected, obeyed]).toEqual([1, []]);
    vi.advanceTimersByTime(10_000);
    expect(connected).toBe(1);
    client.closes();
    client.opens();
    answer();
    expect([readings.length, connected]).toEqual([2, 2]);
  });

  it('is not waited for where a server of before does not tell it', () => {
    client.opens();
    vi.advanceTimersByTime(1000);
    expect([readings, connected]).toEqual([[], 1]);
  });

  it('is not learned from an answer to another question', () => {
    client.opens();
    answer({ sentAt: 5 });
    client.says(Command.parse({ id: 'c', name: 'clock' }));
    expect(readings).toEqual([]);
  });
});

describe('two devices with one identity', () => {
  const twin = { since: 5, takeovers: 2 };

  it('are told apart by the starts of their agents', () => {
    client.opens();
    const { instance, session } = client.presence();
    client.closes();
    client.emit('reconnect');
    client.opens();
    expect([client.presence().instance === instance, client.presence().session === session]).toEqual([true, false]);
    const first = client;
    client = start();
    client.opens();
    expect(client.presence().instance).not.toBe(first.presence().instance);
  });

  it('take long turns as soon as they are told', () => {
    client.opens();
    answer({ identityConflict: twin });
    expect(conflicts).toEqual([twin]);
    const waits = Array.from({ length: 12 }, () => {
      client.closes();
      client.opens();
      answer({ identityConflict: twin });
      return client.options.reconnectPeriod ?? 0;
    });
    expect(waits[0]).toBeGreaterThanOrEqual(5000);
    expect(Math.min(...waits.slice(6))).toBeGreaterThanOrEqual(150_000);
    expect(Math.max(...waits)).toBeLessThanOrEqual(300_000);
    answer({ identityConflict: null });
    expect(conflicts.at(-1)).toEqual(twin);
  });

  it('wait longer and longer also where nobody tells them, until a session lasts', () => {
    for (let turn = 0; turn < 8; turn++) {
      client.opens();
      client.closes();
    }
    expect(client.options.reconnectPeriod).toBeGreaterThanOrEqual(7500);
    client.opens();
    vi.advanceTimersByTime(minute);
    client.closes();
    expect(client.options.reconnectPeriod).toBeLessThanOrEqual(500);
  });
});

it('packs telemetry once the server of this session says that it takes it', () => {
  client.opens();
  const items = Array.from({ length: 20 }, (_, i) => {
    return { sequence: i + 1, item: { kind: 'loss' as const, windows: 0, requests: 0, labels: 0 } };
  });
  const send = () => {
    publishTelemetry({ epoch: 1, items });
    return client.raw.at(-1);
  };
  const ack = (more: object) =>
    client.emit(
      'message',
      topicOf('d', 'telemetry/ack'),
      Buffer.from(JSON.stringify({ epoch: 1, sequence: 1, ...more })),
    );
  expect(typeof send()).toBe('string');
  ack({ accepts: ['gzip'] });
  const packed = send();
  expect(JSON.parse(gunzipSync(Buffer.from(packed ?? '')).toString())).toEqual({ epoch: 1, items });
  client.closes();
  client.opens();
  expect(typeof send()).toBe('string');
});
