import { describe, expect, it } from 'vitest';
import { type Lane, leastBusy } from './lane.ts';

describe('the least busy lane', () => {
  const laneOf = (runs: number, more: Partial<Lane> = {}): Lane => ({
    plannedMs: 0,
    plannedBytes: 0,
    opening: false,
    lateRun: undefined,
    full: false,
    thread: {
      started: Promise.resolve(undefined),
      runs: () => runs,
      running: () => 1,
      processorMs: () => undefined,
      submit: () => undefined,
      cancel: () => false,
      depth: () => 1,
      open: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
      end: () => Promise.resolve(),
      wake: () => undefined,
      takeBack: () => undefined,
    },
    ...more,
  });

  it('is none that loads a model or whose run takes long: what waits may go elsewhere meanwhile', () => {
    expect(leastBusy([laneOf(7, { lateRun: 7 }), laneOf(0, { opening: true })])).toBeUndefined();
    const free = laneOf(0, { plannedMs: 1 });
    expect(leastBusy([laneOf(7, { lateRun: 7 }), free])).toBe(free);
  });

  it('may be one whose run took long, whoever heard first of its end', () => {
    const lane = laneOf(8, { lateRun: 7 });
    expect(leastBusy([lane])).toBe(lane);
  });

  it('is one with next to nothing to do before one that has less, among those with room', () => {
    const [idle, awake, busy] = [laneOf(0), laneOf(0, { plannedMs: 0.1 }), laneOf(0, { plannedMs: 5 })];
    expect(leastBusy([busy, awake, idle])).toBe(awake);
    expect(leastBusy([busy, laneOf(0, { full: true })])).toBeUndefined();
  });
});
