import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isWindowOver, savingOf } from './saving.ts';

const share = fc.double({ min: 0, max: 100, noNaN: true });

it('saves at nothing within the budgets, and never less with more use', () => {
  expect(savingOf({ sent: undefined, sentOfAll: undefined, written: undefined })).toEqual({
    ...{ uploads: true, windows: 1, keptForLabels: 1, words: [] },
  });
  fc.assert(
    fc.property(share, share, share, share, (sent, sentOfAll, written, more) => {
      const [less, greater] = [
        savingOf({ sent, sentOfAll, written }),
        savingOf({ sent: sent + more, sentOfAll: sentOfAll + more, written: written + more }),
      ];
      expect(greater.windows).toBeGreaterThanOrEqual(less.windows);
      expect(greater.keptForLabels).toBeLessThanOrEqual(less.keptForLabels);
      expect(Number(greater.uploads)).toBeLessThanOrEqual(Number(less.uploads));
      // Samples give before windows do, and what gives is said.
      if (less.windows > 1 && written <= 1) expect(less.uploads).toBe(false);
      expect(less.words.length > 0).toBe(!less.uploads || less.windows > 1 || less.keptForLabels < 1);
    }),
  );
});

it('lets a window with little in it wait, unless something failed', () => {
  const bounds = { usualMs: 60_000, mostMs: 300_000, times: 1 };
  const over = (open: { ageMs: number; requests: number; failed: number }) => isWindowOver(open, bounds);
  expect(over({ ageMs: 60_000, requests: 10, failed: 0 })).toBe(true);
  expect(over({ ageMs: 60_000, requests: 9, failed: 0 })).toBe(false);
  expect(over({ ageMs: 60_000, requests: 9, failed: 1 })).toBe(true);
  expect(over({ ageMs: 300_000, requests: 0, failed: 0 })).toBe(true);
  expect(isWindowOver({ ageMs: 100_000, requests: 99, failed: 0 }, { ...bounds, times: 2 })).toBe(false);
});
