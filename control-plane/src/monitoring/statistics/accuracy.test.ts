import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { estimateAccuracy, judgeAccuracy, lossBetween, wilson } from './accuracy.ts';
import { histogramOf, profileOf, samplesOf } from './profile-fixture.ts';

const settings = { minLabels: 50, maxLoss: 0.05 };
const expected = { accuracy: 0.9, rows: 100_000 };

test('the interval is the one of Wilson', () => {
  // Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
  const { low, high } = wilson(81, 263);
  expect([low.toFixed(4), high.toFixed(4)]).toEqual(['0.2553', '0.3662']);
  expect(wilson(0, 20).low).toBe(0);
  expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
});

test('the interval of a difference is the one of Newcombe', () => {
  // His example 56/70 less 48/80, 1998, table II, method 10.
  const { low, high } = lossBetween({ accuracy: 56 / 70, rows: 70 }, { labels: 80, correct: 48 });
  expect([low.toFixed(4), high.toFixed(4)]).toEqual(['0.0524', '0.3339']);
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
  expect(judgeAccuracy(expected, { labels, correct }, settings).verdict).toBe(verdict);
});

test.each([50, 200, 1000])(
  'a version as good as its %d reference rows say gets a false alert at most as often as allowed',
  (rows) => {
    const random = createRandom(rows);
    const right = (of: number, share: number) => samplesOf(of, random).filter((value) => value < share).length;
    let alerted = 0;
    const versions = 400;
    for (let version = 0; version < versions; version++) {
      const share = 0.9;
      const reference = { accuracy: right(rows, share) / rows, rows };
      const verdicts = samplesOf(
        20,
        () => judgeAccuracy(reference, { labels: 500, correct: right(500, share) }, settings).verdict === 'suspicious',
      );
      // As an alert: two of three windows.
      if (verdicts.some((_, i) => verdicts.slice(i, i + 3).filter(Boolean).length >= 2)) alerted += 1;
    }
    expect(alerted / versions).toBeLessThanOrEqual(0.025);
  },
);

test('a real loss is found all the same', () => {
  const judged = judgeAccuracy({ accuracy: 0.9, rows: 50 }, { labels: 500, correct: 300 }, settings);
  expect(judged.verdict).toBe('suspicious');
});

test('without labels an estimate follows what confidence was worth in the reference', () => {
  const random = createRandom(8);
  const scores = samplesOf(4000, () => 0.5 + random() / 2);
  const profile = profileOf(scores);
  const correct = histogramOf(
    profile.edges,
    scores.filter((score) => random() < score),
  ).counts;
  const reference = { rows: 4000, features: {}, confidence: profile, confidenceCorrect: correct };
  const seen = (low: number, high: number) =>
    histogramOf(
      profile.edges,
      samplesOf(1000, () => low + random() * (high - low)),
    );
  expect(estimateAccuracy(reference, seen(0.5, 1))?.accuracy).toBeCloseTo(0.75, 1);
  expect(estimateAccuracy(reference, seen(0.5, 0.6))?.accuracy).toBeLessThan(0.62);
  expect(estimateAccuracy(reference, seen(0.9, 1))?.accuracy).toBeGreaterThan(0.9);
  expect(estimateAccuracy({ ...reference, confidenceCorrect: undefined }, seen(0.5, 1))).toBeUndefined();
  expect(estimateAccuracy(reference, histogramOf([0, 1], [0.5]))).toBeUndefined();
});
