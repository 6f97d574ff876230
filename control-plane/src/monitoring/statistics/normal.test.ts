import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  binomialTail,
  bothTails,
  boundOfStudentTails,
  normalQuantile,
  scaledChiSquareTail,
  studentTails,
} from './normal.ts';

test('tails and quantiles are those of the tables', () => {
  expect(bothTails(1.959964)).toBeCloseTo(0.05, 6);
  expect(bothTails(6)).toBeCloseTo(1.9732e-9, 12);
  expect(normalQuantile(0.975)).toBeCloseTo(1.959964, 5);
  expect(normalQuantile(0.1)).toBeCloseTo(-1.281552, 5);
});

test('tails of Student and Fisher are those of the tables, and with many degrees those of the normal and chi-square variables', () => {
  expect(studentTails(2.228139, 10)).toBeCloseTo(0.05, 6);
  expect(studentTails(31.82052, 1)).toBeCloseTo(0.02, 6);
  expect(studentTails(3, 1e5)).toBeCloseTo(bothTails(3), 5);
  expect(boundOfStudentTails(0.001, 4)).toBeCloseTo(8.6103, 3);
  expect(boundOfStudentTails(0.001, Number.POSITIVE_INFINITY)).toBeCloseTo(3.290527, 5);
  // 3.325835 is what F of 5 and 10 degrees exceeds one time in twenty.
  expect(scaledChiSquareTail(5 * 3.325835, 5, 10)).toBeCloseTo(0.05, 6);
  expect(scaledChiSquareTail(18.307038, 10, Number.POSITIVE_INFINITY)).toBeCloseTo(0.05, 6);
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
