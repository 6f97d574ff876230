import { beforeEach, describe, expect, it } from 'vitest';
import type { Lane } from './lane.ts';
import { createWatchdog } from './watchdog.ts';

describe('the watchdog', () => {
  const state: { runs: number; nowMs: number; processorMs: number | undefined } = { runs: 0, nowMs: 0, processorMs: 0 };
  const late: number[] = [];
  const stuck: number[] = [];
  const lane: Lane = {
    plannedMs: 0,
    plannedBytes: 0,
    opening: false,
    lateRun: undefined,
    full: false,
    thread: {
      started: Promise.resolve(undefined),
      runs: () => state.runs,
      running: () => 5,
      processorMs: () => state.processorMs,
      submit: () => undefined,
      cancel: () => false,
      depth: () => 0,
      open: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
      end: () => Promise.resolve(),
      wake: () => undefined,
      takeBack: () => undefined,
    },
  };
  let look: () => void;
  beforeEach(() => {
    Object.assign(state, { runs: 0, nowMs: 0, processorMs: undefined });
    late.length = 0;
    stuck.length = 0;
    look = watchdog(undefined);
  });

  const watchdog = (farBeyondMs: number | undefined) =>
    createWatchdog({
      lanes: () => [lane],
      lateMs: 300,
      onLate: (_, model) => void late.push(model),
      maxRunMs: () => 10_000,
      farBeyondMs: () => farBeyondMs,
      onStuck: (_, __, tookMs) => void stuck.push(tookMs),
      nowMs: () => state.nowMs,
    });
  /** Looks for so long, ten times a second, while this run goes on and has so much of the processor. */
  const watch = (runs: number, forMs: number, processorShare?: number): void => {
    for (let ms = 0; ms < forMs; ms += 100) {
      Object.assign(state, { runs, nowMs: state.nowMs + 100 });
      if (processorShare !== undefined) state.processorMs = (state.processorMs ?? 0) + 100 * processorShare;
      look();
    }
  };

  it('tells once of a run that is late, once when it exceeds its bound, and never of short runs or of idle threads', () => {
    watch(0, 20_000);
    for (let run = 1; run <= 40; run++) watch(run, 100);
    expect([...late, ...stuck]).toEqual([]);
    watch(41, 500);
    expect({ late, stuck }).toEqual({ late: [5], stuck: [] });
    watch(41, 30_000);
    expect({ late, stuck }).toEqual({ late: [5], stuck: [10_000] });
    watch(43, 11_000);
    expect({ late, stuck }).toEqual({ late: [5, 5], stuck: [10_000, 10_000] });
  });

  it('ends a run that is far beyond those before it, by the processor time that it had', () => {
    look = watchdog(2000);
    watch(1, 9000, 0.2);
    expect(stuck).toEqual([]);
    watch(3, 3000, 1);
    expect(stuck).toEqual([2300]);
  });

  it('goes by the clock where nobody tells the processor time', () => {
    look = watchdog(2000);
    watch(1, 3000);
    expect(stuck).toEqual([2000]);
  });

  it('does not count time in which nothing could run', () => {
    watch(1, 100);
    state.nowMs += 3_600_000;
    watch(1, 5000);
    expect({ late, stuck }).toEqual({ late: [5], stuck: [] });
  });
});
