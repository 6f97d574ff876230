import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { movementOfScore } from './effects.ts';
import { autocorrelated, normal, profileOf, samplesOf } from './profile-fixture.ts';

test('independent rows are told from autocorrelated ones, whose effect is known within its uncertainty', () => {
  const random = createRandom(31);
  const independent = profileOf(
    samplesOf(20_000, () => normal(random)),
    300,
  );
  expect(movementOfScore(independent.blocks, 0, 20_000)(300)).toBeCloseTo(1 / 300 + 1 / 20_000, 6);
  const { blocks } = profileOf(samplesOf(20_000, autocorrelated(random, 0.9)), 300);
  // A mean of AR(1) varies (1 + 0.9) / (1 - 0.9) = 19 times more than one of independent rows; ranks a little less.
  const effect = 300 * (movementOfScore(blocks, 0, 1e9)(300) - movementOfScore(blocks, 0, 1e9)(1e9) / 2);
  expect(effect).toBeGreaterThan(13);
  expect(effect).toBeLessThan(32);
});

test('a longer window than any block does not average a slow movement away', () => {
  const slow = [{ size: 1000, count: 20, effects: [500] }];
  const movement = movementOfScore(slow, 0, 1e12);
  expect(movement(1e9)).toBeGreaterThan(0.9 * (movement(1000) - 0.001));
});
