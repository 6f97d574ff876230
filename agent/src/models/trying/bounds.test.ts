import { Acceptance } from '@edgeloop/shared/acceptance';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { brokenBound, measureRuns } from './bounds.ts';

/** Runs that take these times in turn, on a clock of their own; three of them warm up. */
function runsOf(tookMs: readonly number[]) {
  let now = 0;
  let count = 0;
  const run = async () => {
    now += tookMs[count++ % tookMs.length] ?? 0;
  };
  return { run, nowMs: () => now, runs: () => count };
}
const boundsOf = (bounds: unknown) => Acceptance.parse(bounds);

describe('what is measured of a model on a device', () => {
  it('is the quantile of the runs after warming up', async () => {
    const clock = runsOf([500, 500, 500, ...Array.from({ length: 20 }, (_, at) => at + 1)]);
    const measured = await measureRuns({ ...clock, bounds: boundsOf({ maxLatencyMs: 18 }) });
    // Two of twenty may lie above it.
    expect(measured).toEqual({ medianMs: 10, quantileMs: 18, quantile: 0.9, runs: 20 });
    expect(clock.runs()).toBe(23);
  });

  it('is measured again when a round breaks the bound, which the machine may have disturbed', async () => {
    const disturbed = [1, 1, 1, 90, 90, 90, ...Array.from({ length: 20 }, () => 2)];
    const measured = await measureRuns({ ...runsOf(disturbed), bounds: boundsOf({ maxLatencyMs: 5 }) });
    expect(measured).toMatchObject({ quantileMs: 2, runs: 20 });
  });

  it('ends early when the bound is broken for certain', async () => {
    const clock = runsOf([1000]);
    const measured = await measureRuns({ ...clock, bounds: boundsOf({ maxLatencyMs: 5 }) });
    expect(measured).toMatchObject({ quantileMs: 1000, runs: 3 });
    expect(clock.runs()).toBe(3 + 3 * 3);
  });

  it('takes a few runs of a slow model that is only compared', async () => {
    const clock = runsOf([2000]);
    expect(await measureRuns({ ...clock, bounds: undefined })).toEqual({ medianMs: 2000, runs: 3 });
  });

  it('breaks the bound exactly when more runs than allowed lie above it', async () => {
    const times = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 20, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(times, fc.integer({ min: 1, max: 50 }), async (tookMs, maxLatencyMs) => {
        const bounds = boundsOf({ maxLatencyMs });
        // The warm-up takes nothing, and every round sees the same times.
        let at = 0;
        let now = 0;
        const run = async () => {
          now += at < 3 ? 0 : (tookMs[(at - 3) % 20] ?? 0);
          at += 1;
        };
        const measured = await measureRuns({ run, bounds, nowMs: () => now });
        const isKept = tookMs.filter((took) => took > maxLatencyMs).length <= 2;
        if (isKept) expect(brokenBound(measured, bounds)).toBeUndefined();
        else if (measured.runs === 20)
          expect(brokenBound(measured, bounds)).toContain(`its bound is ${maxLatencyMs} ms`);
      }),
    );
  });
});

describe('a bound on memory', () => {
  const measured = { medianMs: 1, runs: 20 };
  it.each([
    [10, undefined],
    [10.5, 'it takes 10.5 MB of memory on this device, its bound is 10 MB'],
    [undefined, 'this device does not tell how much memory it takes, and its bound is 10 MB'],
  ])('of 10 MB and %s MB taken', (memoryMb, expected) => {
    expect(brokenBound({ ...measured, memoryMb }, boundsOf({ maxMemoryMb: 10 }))).toBe(expected);
  });
});
