import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { burstOf, movementOfScore } from './effects.ts';
import { boundOfStudentTails } from './normal.ts';
import { autocorrelated, normal, profileOf, samplesOf } from './profile-fixture.ts';

test('independent rows are told from autocorrelated ones, whose effect is known within its uncertainty', () => {
  const random = createRandom(31);
  const independent = profileOf(
    samplesOf(20_000, () => normal(random)),
    300,
  );
  expect(movementOfScore(independent.blocks, 0, 20_000)(300)).toEqual({
    variance: 1 / 300 + 1 / 20_000,
    degrees: Number.POSITIVE_INFINITY,
  });
  const { blocks } = profileOf(samplesOf(60_000, autocorrelated(random, 0.9)), 300);
  // A mean of AR(1) varies (1 + 0.9) / (1 - 0.9) = 19 times more than one of independent rows; ranks a little less.
  const { variance, degrees } = movementOfScore(blocks, 0, 1e12)(300);
  expect(300 * variance).toBeGreaterThan(13);
  expect(300 * variance).toBeLessThan(23);
  expect(degrees).toBeGreaterThan(30);
  expect(degrees).toBeLessThan(2000);
});

test('a longer window than any block does not average a slow movement away', () => {
  const slow = [{ size: 1000, count: 20, effects: [500] }];
  const movement = movementOfScore(slow, 0, 1e12);
  // A mean over 1000 rows moves by half the variance of one row: a power of -0.1, of which nobody knows that it ends.
  expect(movement(1e6).variance).toBeGreaterThan(0.5 * movement(1000).variance);
});

test('few blocks and heavy tails ask for more, and what comes in bursts counts by the burst', () => {
  const blocks = (count: number, excess?: number[]) => [{ size: 100, count, effects: [20], excess }];
  const boundOf = (of: ReturnType<typeof blocks>) => {
    const { variance, degrees } = movementOfScore(of, 0, 1e12)(100);
    return Math.sqrt(variance) * boundOfStudentTails(0.001, degrees);
  };
  expect(boundOf(blocks(10))).toBeGreaterThan(1.3 * boundOf(blocks(1000)));
  expect(boundOf(blocks(1000, [5]))).toBeGreaterThan(1.3 * boundOf(blocks(1000)));
  // What a normal sample of this size may show is no heavy tail.
  expect(boundOf(blocks(20, [1]))).toBe(boundOf(blocks(20)));
  const seasonal = [
    { size: 12, count: 400, effects: [9] },
    { size: 48, count: 100, effects: [1] },
  ];
  expect(burstOf(seasonal, 48)).toBeCloseTo(9);
  expect(burstOf(undefined, 48)).toBe(1);
});
