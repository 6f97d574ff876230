import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Dice } from './dice.ts';
import { binomial, multinomial, poisson } from './draws.ts';

it('gives each of several things its share, and loses none', () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.nat(100_000),
      fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 30 }),
      (seed, total, weights) => {
        fc.pre(weights.some((weight) => weight > 0));
        const drawn = multinomial(new Dice(seed), total, weights);
        expect(drawn.reduce((sum, each) => sum + each, 0)).toBe(total);
        for (const [i, each] of drawn.entries()) {
          expect(each).toBeGreaterThanOrEqual(0);
          if (weights[i] === 0) expect(each).toBe(0);
        }
      },
    ),
  );
});

/** Few and many, whichever way they are drawn. */
const cases = [
  { trials: 20, share: 0.1 },
  { trials: 20, share: 0.9 },
  { trials: 1000, share: 0.004 },
  { trials: 1000, share: 0.3 },
];

it.each(cases)(
  'draws $share of $trials with the mean and the variance of a binomial distribution',
  ({ trials, share }) => {
    const dice = new Dice(7);
    const drawn = Array.from({ length: 20_000 }, () => binomial(dice, trials, share));
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...drawn)).toBeLessThanOrEqual(trials);
    const mean = average(drawn);
    const variance = trials * share * (1 - share);
    expect(Math.abs(mean - trials * share)).toBeLessThan(5 * Math.sqrt(variance / drawn.length));
    expect(average(drawn.map((each) => (each - mean) ** 2)) / variance).toBeCloseTo(1, 1);
  },
);

it.each([0.2, 5, 400])('draws events of which %d are expected', (mean) => {
  const dice = new Dice(3);
  const drawn = Array.from({ length: 20_000 }, () => poisson(dice, mean));
  expect(Math.abs(average(drawn) - mean)).toBeLessThan(5 * Math.sqrt(mean / drawn.length));
});

it('refuses to give to nothing', () => {
  expect(() => multinomial(new Dice(1), 5, [0, 0])).toThrow(RangeError);
});

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
