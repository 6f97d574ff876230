import { expect, test } from 'vitest';
import { logGamma } from '../../gates/log-gamma.ts';
import { chiSquareBound, chiSquareTail, upperGamma } from './chi-square.ts';

// Reference values: SciPy's stats.chi2.sf and special.gammaln.
test.each([
  [3.841458820694124, 1, 0.05],
  [18.307038053275146, 10, 0.05],
  [86.81167453426316, 33, 1e-6],
  [33, 33, 0.46725288137290993],
])('a chi-square variable exceeds %d with %d degrees of freedom as often as known', (x, degrees, tail) => {
  expect(chiSquareTail(x, degrees) / tail).toBeCloseTo(1, 5);
});

test('two degrees of freedom make an exponential distribution, far into the tail', () => {
  for (const x of [0.1, 1, 5, 50, 500]) expect(chiSquareTail(x, 2) / Math.exp(-x / 2)).toBeCloseTo(1, 10);
});

test('the bound undoes the tail', () => {
  for (const degrees of [0.7, 1, 5, 33, 500]) {
    for (const tail of [0.5, 0.01, 1e-5, 1e-12]) {
      expect(chiSquareTail(chiSquareBound(tail, degrees), degrees) / tail).toBeCloseTo(1, 4);
    }
  }
});

test('the gamma function agrees with factorials', () => {
  expect(Math.exp(logGamma(11))).toBeCloseTo(3_628_800, 3);
  expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 12);
  expect(upperGamma(3, 0)).toBe(1);
});
