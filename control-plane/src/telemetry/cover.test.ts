import fc from 'fast-check';
import { expect, test } from 'vitest';
import { coverOf, type Source } from './cover.ts';

const grains = [86_400_000, 3_600_000, 900_000, 60_000, 'windows'] as const;
const kept = (from: readonly number[] = []): Source[] => grains.map((grain, i) => ({ grain, keptFrom: from[i] ?? 0 }));

const instant = fc.integer({ min: 0, max: 5 * 86_400_000 });
const range = fc
  .tuple(instant, instant, fc.constantFrom(undefined, 1000, 60_000, 90_000, 3_600_000, 7_200_000))
  .map(([a, b, stepMs]) => ({ from: Math.min(a, b), to: Math.max(a, b) + 1, stepMs }));

test('pieces follow one another and are the range', () => {
  fc.assert(
    fc.property(range, fc.array(instant, { maxLength: 5 }), (asked, horizons) => {
      const sorted = [...horizons].sort((a, b) => a - b);
      const pieces = coverOf(asked, kept(sorted));
      expect(pieces[0]?.from).toBe(asked.from);
      expect(pieces.at(-1)?.to).toBe(asked.to);
      for (const [i, piece] of pieces.entries()) {
        expect(piece.from).toBeLessThan(piece.to);
        if (i > 0) expect(piece.from).toBe(pieces[i - 1]?.to);
      }
    }),
  );
});

test('while all is kept, a rollup lies in the range and in one step', () => {
  fc.assert(
    fc.property(range, (asked) => {
      for (const { grain, from, to } of coverOf(asked, kept())) {
        if (grain === 'windows') continue;
        expect([from % grain, to % grain]).toEqual([0, 0]);
        if (asked.stepMs !== undefined) expect(asked.stepMs % grain).toBe(0);
      }
    }),
  );
});

test('a week by the hour is hours, and days when one number is asked for', () => {
  const hour = 3_600_000;
  const week = { from: 30 * 60_000, to: 7 * 24 * hour, stepMs: hour };
  expect(coverOf(week, kept())).toEqual([
    { grain: 900_000, from: 30 * 60_000, to: hour },
    { grain: hour, from: hour, to: 7 * 24 * hour },
  ]);
  expect(coverOf({ ...week, stepMs: undefined }, kept()).map(({ grain }) => grain)).toEqual([900_000, hour, 24 * hour]);
});

test('where the finer is gone the next coarser stands, and no piece is read where it is not kept', () => {
  const minutes = { from: 0, to: 7_200_000, stepMs: 60_000 };
  expect(coverOf(minutes, kept([0, 0, 0, 3_600_000, 7_000_000]))).toEqual([
    { grain: 900_000, from: 0, to: 3_600_000 },
    { grain: 60_000, from: 3_600_000, to: 7_200_000 },
  ]);
});
