// The MQTT session with the control plane: what is desired comes in, what is goes out. Knows topics, not models. It is
// level-triggered: every message may be lost, repeated or late, and everything is said again on each connect.
import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type ClockReading, clockReading } from '@edgeloop/shared/clock';
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import {
  Command,
  type CommandResult,
  Desired,
  type IdentityConflict,
  type Presence,
  type Reported,
} from '@edgeloop/shared/messages';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import { TelemetryAck, type TelemetryBatch } from '@edgeloop/shared/telemetry';
import { type Channel, maxPayloadBytes, parseTopic, serverToDevice, topicOf } from '@edgeloop/shared/topics';
import { connect, type IClientOptions } from 'mqtt';
import type { Logger } from 'pino';

export interface LinkCredentials {
  deviceId: string;
  hosts: readonly string[];
  port: number;
  ca: string;
  cert: string;
  key: string;
}

export interface LinkOptions {
  rereadMs: number;
  log: Logger;
  /** What is reported, asked for whenever it is sent. */
  report(): Reported;
  /** There is a connection, and how far the clocks are apart was measured, if the server tells. */
  onConnected(): void;
  onClock(reading: ClockReading): void;
  /** So many bytes were sent, topic and payload. */
  onSent(bytes: number): void;
  /** Whether another device uses the same identity, told with each answer to this one's presence. */
  onIdentityConflict(conflict: IdentityConflict | null): void;
  /** A connection failed. */
  onFailure(error: Error): void;
  onDesired(desired: Desired): void;
  onAcknowledged(ack: TelemetryAck): void;
  onCommand(command: Command): Promise<CommandResult>;
}

/** What is used of an MQTT client. */
export interface LinkClient {
  readonly connected: boolean;
  /** Read at each connection that follows. */
  readonly options: { will?: { payload: Buffer | string }; reconnectPeriod?: number };
  publish(
    topic: string,
    payload: string | Buffer,
    options: { qos: 1; retain: boolean },
    taken: (error?: Error | null) => void,
  ): unknown;
  subscribe(
    topics: string[],
    options: { qos: 1 },
    done: (error: Error | null, granted?: { topic: string; qos: number }[]) => void,
  ): unknown;
  on(event: 'connect' | 'reconnect' | 'close', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'message', listener: (topic: string, payload: Buffer) => void): unknown;
  removeAllListeners(): unknown;
  /** `force`: without a goodbye. */
  end(force: boolean): unknown;
  endAsync(force: boolean): Promise<unknown>;
}

export interface Link {
  /** Connects, and again with other credentials after a renewal. */
  connect(credentials: LinkCredentials): void;
  /** False when there is no connection; nothing is queued. */
  publishTelemetry(batch: TelemetryBatch): boolean;
  /** Reports shortly; changes that come together are reported once. */
  reportSoon(): void;
  /** Says goodbye and ends within `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

const debounceMs = 100;
const retry = { firstMs: 500, mostMs: 15_000 };
/** Two devices with one identity end each other's sessions: they take long turns instead of fighting. */
const twinRetry = { firstMs: 10_000, mostMs: 300_000 };
/** A session that ended sooner was no success: the next one waits for longer than it did. */
const steadyMs = 60_000;
/** Servers of before do not tell their clock. */
const clockWaitMs = 1000;
const measureEveryMs = 3_600_000;
/** What is shorter gains nothing. */
const leastPackedLetters = 512;
const problemsKept = 10;
const problemsReported = 20;
const problemLetters = 500;

export function createLink(options: LinkOptions, open: (options: IClientOptions) => LinkClient = connect): Link {
  const { log } = options;
  let client: LinkClient | undefined;
  let deviceId = '';
  let reportTimer: NodeJS.Timeout | undefined;
  let rereadTimer: NodeJS.Timeout | undefined;
  let problems: string[] = [];
  let session = '';
  let reportedProblems = '';
  /** Of this start: two that come in turns are two devices. */
  const instance = randomUUID();
  let hasTwin = false;
  let takesGzip = false;
  /** What was asked of the server's clock, by both of ours. */
  let asked: { sentAt: number; sentMs: number } | undefined;
  let answeredMs = Number.NEGATIVE_INFINITY;
  let clockTimer: NodeJS.Timeout | undefined;

  function publish(channel: Channel, message: unknown, retain: boolean): boolean {
    if (client?.connected !== true) return false;
    const payload = packed(channel, JSON.stringify(message));
    if (Buffer.byteLength(payload) > maxPayloadBytes) {
      log.error({ channel, bytes: Buffer.byteLength(payload) }, 'a message is too large and is not sent');
      return false;
    }
    options.onSent(Buffer.byteLength(payload) + topicOf(deviceId, channel).length);
    client.publish(topicOf(deviceId, channel), payload, { qos: 1, retain }, (error) => {
      if (error) log.debug({ channel, reason: messageOf(error) }, 'a message was not taken');
    });
    return true;
  }

  /** Telemetry only, and only where the server of this session says that it takes it. */
  function packed(channel: Channel, text: string): string | Buffer {
    return channel === 'telemetry' && takesGzip && text.length >= leastPackedLetters ? gzipSync(text) : text;
  }

  function report(): void {
    clearTimeout(reportTimer);
    reportTimer = undefined;
    const message = reported();
    if (message !== undefined) publish('reported', message, true);
  }

  /** What stands in the way, then what could not be used; undefined when it cannot be said now. */
  function reported(): Reported | undefined {
    try {
      const { problems: standing = [], ...message } = options.report();
      reportedProblems = problems.join();
      const all = [...standing, ...problems].slice(-problemsReported).map((words) => words.slice(0, problemLetters));
      return all.length === 0 ? message : { ...message, problems: all };
    } catch (error) {
      log.error({ reason: messageOf(error) }, 'what is cannot be reported; it is tried again');
      return undefined;
    }
  }

  function reportSoon(): void {
    reportTimer ??= setTimeout(report, debounceMs);
  }

  /** Subscribing again makes the broker send the retained `desired` again. */
  function rereadLater(): void {
    clearTimeout(rereadTimer);
    rereadTimer = setTimeout(
      () => {
        if (client?.connected === true) subscribe(client, { deviceId, channels: ['desired'], log });
        if (performance.now() - answeredMs > measureEveryMs) sayOnline();
        report();
        rereadLater();
      },
      options.rereadMs * (0.5 + Math.random()),
    );
  }

  function receive(topic: string, payload: Buffer): void {
    const parsed = parseTopic(topic);
    if (parsed === undefined || parsed.deviceId !== deviceId) return;
    try {
      accept(parsed.channel, payload.toString('utf8'));
    } catch (error) {
      // Told to the control plane with the next report: it is the only one who can mend the sender.
      log.error({ channel: parsed.channel, reason: messageOf(error) }, 'a message is not usable');
      problems = [...problems, `${parsed.channel}: ${messageOf(error)}`.slice(0, problemLetters)].slice(-problemsKept);
      if (problems.join() !== reportedProblems) reportSoon();
    }
  }

  function accept(channel: Channel, text: string): void {
    if (channel === 'desired') {
      // A retained message that was cleared says nothing.
      if (text !== '') options.onDesired(parseJson(Desired, text, 'desired'));
    } else if (channel === 'telemetry/ack') acknowledged(parseJson(TelemetryAck, text, 'telemetry/ack'));
    else if (channel === 'commands') obey(parseJson(Command, text, 'command'));
  }

  function acknowledged(ack: TelemetryAck): void {
    takesGzip = ack.accepts?.includes('gzip') === true;
    options.onAcknowledged(ack);
  }

  function obey(command: Command): void {
    if (command.name === 'clock') {
      takeClock(command);
      return;
    }
    void options
      .onCommand(command)
      .then((result) => publish('commands/result', result, false))
      .catch((error: unknown) => log.error({ err: error }, 'a command failed'));
  }

  /** Asks for the server's clock with the same word. */
  function sayOnline(): void {
    asked = { sentAt: Date.now(), sentMs: performance.now() };
    publish('presence', { status: 'online', session, instance, sentAt: asked.sentAt } satisfies Presence, true);
  }

  /** An answer to an earlier question says nothing of how long this one took. */
  function takeClock({ clock, identityConflict }: Command): void {
    if (clock === undefined || asked === undefined || clock.sentAt !== asked.sentAt) return;
    const { sentAt, sentMs } = asked;
    asked = undefined;
    answeredMs = performance.now();
    options.onClock(clockReading({ sentAt, serverAt: clock.serverAt, roundTripMs: answeredMs - sentMs }));
    hasTwin = identityConflict !== undefined && identityConflict !== null;
    options.onIdentityConflict(identityConflict ?? null);
    begun();
  }

  /** Telemetry is sent from now on. */
  function begun(): void {
    if (clockTimer === undefined) return;
    clearTimeout(clockTimer);
    clockTimer = undefined;
    options.onConnected();
  }

  /** A last will of its own for each connection, so that a late one is not mistaken for a word of the present one. */
  function farewell(): Buffer {
    session = randomUUID();
    return Buffer.from(JSON.stringify({ status: 'offline', session } satisfies Presence));
  }

  function watch(fresh: LinkClient): void {
    let failures = 0;
    let connectedMs: number | undefined;
    fresh.on('connect', () => {
      connectedMs = performance.now();
      takesGzip = false;
      log.info('connected to the control plane');
      // The answer to the presence comes to who has subscribed.
      subscribe(fresh, { deviceId, channels: serverToDevice, log }, sayOnline);
      report();
      rereadLater();
      clearTimeout(clockTimer);
      clockTimer = setTimeout(begun, clockWaitMs);
    });
    fresh.on('reconnect', () => {
      if (fresh.options.will !== undefined) fresh.options.will.payload = farewell();
    });
    fresh.on('close', () => {
      const isLost = connectedMs !== undefined;
      if (connectedMs !== undefined && performance.now() - connectedMs >= steadyMs) failures = 0;
      connectedMs = undefined;
      clearTimeout(clockTimer);
      clockTimer = undefined;
      failures += 1;
      fresh.options.reconnectPeriod = backoffMs(failures, hasTwin ? twinRetry : retry);
      if (isLost) log.info('disconnected from the control plane');
    });
    fresh.on('error', (error) => {
      log.warn({ reason: messageOf(error) }, 'the session with the control plane failed');
      options.onFailure(error);
    });
    fresh.on('message', receive);
  }

  return {
    connect(credentials) {
      client?.removeAllListeners();
      client?.on('error', (error) => log.debug({ reason: messageOf(error) }, 'a former session failed'));
      client?.end(true);
      deviceId = credentials.deviceId;
      client = open(clientOptions(credentials, farewell()));
      watch(client);
    },
    publishTelemetry: (batch) => publish('telemetry', batch, false),
    reportSoon,
    async close(deadlineMs) {
      clearTimeout(reportTimer);
      clearTimeout(rereadTimer);
      clearTimeout(clockTimer);
      clockTimer = undefined;
      const last = client;
      if (last === undefined) return;
      if (last.connected) report();
      publish('presence', { status: 'offline', session } satisfies Presence, true);
      await Promise.race([last.endAsync(false), new Promise((resolve) => setTimeout(resolve, deadlineMs).unref())]);
      last.removeAllListeners();
      last.on('error', () => undefined);
      last.end(true);
      client = undefined;
    },
  };
}

interface Subscription {
  deviceId: string;
  channels: readonly Channel[];
  log: Logger;
}

/** Calls `done` when the broker has answered, whatever it says. */
function subscribe(client: LinkClient, { deviceId, channels, log }: Subscription, done?: () => void): void {
  const topics = channels.map((channel) => topicOf(deviceId, channel));
  client.subscribe(topics, { qos: 1 }, (error, granted) => {
    const refused = granted?.filter(({ qos }) => qos > 2).map(({ topic }) => topic) ?? [];
    if (error) log.warn({ reason: messageOf(error) }, 'not subscribed');
    else if (refused.length > 0) log.error({ refused }, 'the broker refuses a subscription');
    done?.();
  });
}

function clientOptions(credentials: LinkCredentials, will: Buffer): IClientOptions {
  const { hosts, port, ca, cert, key } = credentials;
  return {
    servers: hosts.map((host) => ({ host, port, protocol: 'mqtts' })),
    protocol: 'mqtts',
    ca,
    cert,
    key,
    rejectUnauthorized: true,
    protocolVersion: 4,
    clientId: credentials.deviceId,
    clean: true,
    keepalive: 30,
    connectTimeout: 10_000,
    reconnectPeriod: retry.firstMs,
    resubscribe: false,
    queueQoSZero: false,
    will: { topic: topicOf(credentials.deviceId, 'presence'), payload: will, qos: 1, retain: true },
  };
}
