import fc from 'fast-check';
import { expect, it } from 'vitest';
import { backoffMs, pause } from './backoff.ts';

it('doubles up to its bound, between half of and the whole step', () =>
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2000 }),
      fc.record({ firstMs: fc.integer({ min: 1, max: 5000 }), mostMs: fc.integer({ min: 5000, max: 600_000 }) }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, bounds, random) => {
        const step = Math.min(bounds.mostMs, bounds.firstMs * 2 ** (failures - 1));
        const waitMs = backoffMs(failures, bounds, () => random);
        expect(waitMs).toBeGreaterThanOrEqual(Math.floor(step / 2));
        expect(waitMs).toBeLessThanOrEqual(Math.ceil(step));
      },
    ),
  ));

it('says whether the time is over or the wait was ended', async () => {
  expect(await pause(0, new AbortController().signal)).toBe(true);
  const stop = new AbortController();
  const waiting = pause(60_000, stop.signal);
  stop.abort();
  expect(await waiting).toBe(false);
  expect(await pause(60_000, stop.signal)).toBe(false);
});
