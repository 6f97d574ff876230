import { expect, test } from 'vitest';
import { judgeAccuracy, wilson } from './accuracy.ts';

const settings = { minLabels: 50, maxLoss: 0.05 };

test('the interval is the one of Wilson', () => {
  // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
  const { low, high } = wilson(81, 263);
  expect([low.toFixed(4), high.toFixed(4)]).toEqual(['0.2553', '0.3662']);
  expect(wilson(0, 20).low).toBe(0);
  expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
});

test.each([
  [49, 10, 'insufficient'],
  [0, 0, 'insufficient'],
  [100, 70, 'suspicious'],
  [100, 80, 'unsettled'],
  [100, 89, 'calm'],
  [10_000, 8600, 'unsettled'],
  [10_000, 8400, 'suspicious'],
  [10_000, 8750, 'calm'],
] as const)('of %d labels %d right against 90 %% is %s', (labels, correct, verdict) => {
  expect(judgeAccuracy(0.9, { labels, correct }, settings).verdict).toBe(verdict);
});
