import fc from 'fast-check';
import { expect, it } from 'vitest';
import { blocksOf, categoryScores, meanScore, numericScores, scoredNames } from './scores.ts';

const bins = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 3, maxLength: 36 });

it('scores have mean 0, variance 1 and nothing in common over the reference', () => {
  fc.assert(
    fc.property(bins, (counts) => {
      const all = counts.reduce((sum, count) => sum + count, 0);
      const scores = numericScores(counts);
      const shapes = scores.filter(({ length }) => length < counts.length);
      expect(scores.length - shapes.length).toBe((counts.at(-1) ?? 0) > 0 && (counts.at(-1) ?? 0) < all ? 1 : 0);
      for (const [i, score] of scores.entries()) {
        const squares = score.map((value) => value * value);
        expect(meanScore(score, counts).mean).toBeCloseTo(0, 6);
        expect(meanScore(squares, counts).mean).toBeCloseTo(1, 6);
        for (const other of shapes.slice(0, Math.min(i, shapes.length)))
          if (other !== score && shapes.includes(score))
            expect(
              meanScore(
                score.map((value, bin) => value * (other[bin] ?? 0)),
                counts,
              ).mean,
            ).toBeCloseTo(0, 6);
      }
    }),
  );
});

it('the first score grows with the value, and there are no more than values', () => {
  const [location = [], ...others] = numericScores([0, 50, 50, 50, 0, 0]);
  expect([...location].sort((a, b) => a - b)).toEqual(location);
  expect(others).toHaveLength(1);
  expect(numericScores([0, 100, 0, 0])).toEqual([]);
  expect(numericScores([0, 0, 0, 10])).toEqual([]);
});

it('classes are scored by whether they are it, the most frequent first', () => {
  const counts = { a: 10, b: 30, never: 0 };
  expect(scoredNames(counts)).toEqual(['b', 'a']);
  const [b = []] = categoryScores(counts, ['a', 'b', 'new']);
  expect(meanScore(b, [10, 30, 0]).mean).toBeCloseTo(0);
  expect(meanScore(b, [0, 5, 0]).mean).toBeGreaterThan(0);
  expect(meanScore(b, [0, 0, 5]).mean).toBeLessThan(0);
});

it('blocks that are all alike have an effect of 0, and those that keep to one value one of their size', () => {
  const scores = numericScores([0, 160, 160, 0, 0]);
  const even = Array.from({ length: 20 }, () => [0, 8, 8, 0, 0]);
  expect(blocksOf(scores, even)).toEqual([{ size: 16, count: 20, effects: [0], excess: [0] }]);
  const torn = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? [0, 16, 0, 0, 0] : [0, 0, 16, 0, 0]));
  expect(blocksOf(scores, torn)[0]?.effects[0]).toBeCloseTo((16 * 20) / 19, 1);
  expect(blocksOf(scores, even.slice(0, 7))).toEqual([]);
});

it('blocks that lie all as far out have light tails, and one far out among many has a heavy one', () => {
  const scores = numericScores([0, 160, 160, 0, 0]);
  const excessOf = (pieces: number[][]) => blocksOf(scores, pieces)[0]?.excess?.[0] ?? 0;
  // Two values, as often each: a kurtosis of 1, -2 beyond that of a normal variable; the small sample makes a little less of it.
  expect(
    excessOf(Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? [0, 16, 0, 0, 0] : [0, 0, 16, 0, 0]))),
  ).toBeCloseTo(-2, 1);
  expect(
    excessOf(Array.from({ length: 40 }, (_, i) => (i === 7 ? [0, 16, 0, 0, 0] : [0, 8, 8, 0, 0]))),
  ).toBeGreaterThan(20);
});
