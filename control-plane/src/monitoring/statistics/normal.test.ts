import fc from 'fast-check';
import { expect, test } from 'vitest';
import { binomialTail, bothTails, normalQuantile } from './normal.ts';

test('tails and quantiles are those of the tables', () => {
  expect(bothTails(1.959964)).toBeCloseTo(0.05, 6);
  expect(bothTails(6)).toBeCloseTo(1.9732e-9, 12);
  expect(normalQuantile(0.975)).toBeCloseTo(1.959964, 5);
  expect(normalQuantile(0.1)).toBeCloseTo(-1.281552, 5);
});

test('the binomial tail is the sum of its terms', () => {
  const cases = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0.01, max: 0.99, noNaN: true }), fc.nat(40));
  fc.assert(
    fc.property(cases, ([trials, share, drawn]) => {
      const successes = Math.min(drawn, trials);
      let term = (1 - share) ** trials;
      let below = 0;
      for (let k = 0; k < successes; k++) {
        below += term;
        term *= ((trials - k) / (k + 1)) * (share / (1 - share));
      }
      expect(binomialTail(successes, trials, share)).toBeCloseTo(1 - below, 9);
    }),
  );
});
