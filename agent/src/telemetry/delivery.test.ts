import type { TelemetryAck, TelemetryBatch } from '@edgeloop/shared/telemetry';
import pino from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { createDelivery } from './delivery.ts';

const loss = { kind: 'loss' as const, windows: 0, requests: 0, labels: 0 };

/** An outbox that gives two items at a time, and a link that can be down. */
function setUp(resendMs = 60_000, clock: { nowMs?: () => number; random?: () => number } = {}) {
  const state = { pending: [1, 2, 3, 4, 5], online: true };
  const published: number[][] = [];
  const outbox = {
    take: (): TelemetryBatch | undefined =>
      state.pending.length === 0
        ? undefined
        : { epoch: 7, items: state.pending.slice(0, 2).map((sequence) => ({ sequence, item: loss })) },
    acknowledge: ({ epoch, sequence }: TelemetryAck) => {
      if (epoch === 7) state.pending = state.pending.filter((each) => each > sequence);
      return epoch === 7;
    },
  };
  const publish = (batch: TelemetryBatch) => {
    if (state.online) published.push(batch.items.map(({ sequence }) => sequence));
    return state.online;
  };
  return {
    state,
    published,
    delivery: createDelivery({ outbox, publish, log: pino({ level: 'silent' }), resendMs, ...clock }),
  };
}

describe('the delivery of telemetry', () => {
  it('has one batch in flight and goes on when it is acknowledged', () => {
    const { published, delivery } = setUp();
    delivery.kick();
    delivery.kick();
    expect(published).toEqual([[1, 2]]);
    delivery.acknowledged({ epoch: 7, sequence: 2 });
    expect(published).toEqual([
      [1, 2],
      [3, 4],
    ]);
    delivery.close();
  });

  it('takes no word of another epoch', () => {
    const { published, delivery, state } = setUp();
    delivery.kick();
    delivery.acknowledged({ epoch: 6, sequence: 5 });
    expect(published).toEqual([[1, 2]]);
    expect(state.pending).toHaveLength(5);
    delivery.close();
  });

  it('sends again what was in flight, after a while and on a new connection', async () => {
    const { published, delivery, state } = setUp(20);
    state.online = false;
    delivery.kick();
    state.online = true;
    delivery.connected();
    await vi.waitFor(() => expect(published.length).toBeGreaterThan(2), { timeout: 15_000 });
    expect(published[0]).toEqual([1, 2]);
    expect(published[1]).toEqual([1, 2]);
    delivery.close();
  });

  it('waits for as long as the server asks, and after an outage for some of the time that it was away', async () => {
    vi.useFakeTimers();
    const clock = { nowMs: () => performance.now(), random: () => 0.5 };
    const { published, delivery, state } = setUp(60_000, clock);
    delivery.kick();
    delivery.acknowledged({ epoch: 7, sequence: 2, retryAfterMs: 4000 });
    await vi.advanceTimersByTimeAsync(5900);
    expect(published).toEqual([[1, 2]]);
    await vi.advanceTimersByTimeAsync(200);
    expect(published).toHaveLength(2);
    state.online = false;
    await vi.advanceTimersByTimeAsync(200_000);
    state.online = true;
    const before = published.length;
    delivery.connected();
    await vi.advanceTimersByTimeAsync(4000);
    expect(published).toHaveLength(before);
    await vi.advanceTimersByTimeAsync(2000);
    expect(published).toHaveLength(before + 1);
    delivery.close();
    vi.useRealTimers();
  });

  it('sends again later and later while nobody acknowledges', async () => {
    vi.useFakeTimers();
    const { published, delivery } = setUp(10_000, { nowMs: () => performance.now(), random: () => 1 });
    delivery.kick();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(published.length).toBeLessThan(9);
    expect(published.length).toBeGreaterThan(4);
    delivery.close();
    vi.useRealTimers();
  });
});
