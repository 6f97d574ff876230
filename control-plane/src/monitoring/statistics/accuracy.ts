// Decides from labels whether a version answers worse in the field than on its held-out data, which is a sample as well.
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Histogram } from '@edgeloop/shared/sketches/histogram';
import { total } from './bins.ts';
import type { Verdict } from './drift.ts';

export interface AccuracySettings {
  minLabels: number;
  /** Points of accuracy, 0 to 1. */
  maxLoss: number;
}
/** What was measured on held-out data, and on how many rows. */
export interface ExpectedAccuracy {
  accuracy: number;
  rows: number;
}
export interface AccuracyJudgement {
  verdict: Verdict;
  labels: number;
  /** 0 to 1; null without labels. */
  accuracy: number | null;
  interval: Interval;
  /** Expected less seen, with what both samples leave open: suspicious when all of it is above the largest allowed loss. */
  loss: Interval;
}
export interface Interval {
  low: number;
  high: number;
}

/** Two-sided 95 %. */
const z = 1.959964;

export function expectedAccuracy(reference: ReferenceProfile | undefined): ExpectedAccuracy | undefined {
  if (reference?.accuracy === undefined) return undefined;
  return { accuracy: reference.accuracy, rows: reference.accuracyRows ?? reference.rows };
}

/**
 * Suspicious when the loss is above `maxLoss` for certain; calm when the accuracy is at least the expected one less half of it;
 * unsettled between.
 */
export function judgeAccuracy(
  expected: ExpectedAccuracy,
  { labels, correct }: { labels: number; correct: number },
  settings: AccuracySettings,
): AccuracyJudgement {
  const interval = wilson(correct, labels);
  const accuracy = labels === 0 ? null : correct / labels;
  const loss = lossBetween(expected, { labels, correct });
  return { verdict: verdict(), labels, accuracy, interval, loss };

  function verdict(): Verdict {
    if (accuracy === null || labels < settings.minLabels) return 'insufficient';
    if (loss.low > settings.maxLoss) return 'suspicious';
    return accuracy >= expected.accuracy - settings.maxLoss / 2 ? 'calm' : 'unsettled';
  }
}

/**
 * Interval of the difference of two proportions from the score interval of each (Newcombe, "Interval estimation for the difference
 * between independent proportions", Statistics in Medicine 17, 1998, method 10).
 */
export function lossBetween(
  expected: ExpectedAccuracy,
  { labels, correct }: { labels: number; correct: number },
): Interval {
  if (labels === 0) return { low: -1, high: 1 };
  const reference = wilson(expected.accuracy * expected.rows, expected.rows);
  const field = wilson(correct, labels);
  const seen = correct / labels;
  const loss = expected.accuracy - seen;
  return {
    low: loss - Math.hypot(expected.accuracy - reference.low, field.high - seen),
    high: loss + Math.hypot(reference.high - expected.accuracy, seen - field.low),
  };
}

/** Score interval of a proportion (Wilson, "Probable inference, the law of succession, and statistical inference", 1927). */
export function wilson(successes: number, trials: number): Interval {
  if (trials === 0) return { low: 0, high: 1 };
  const share = successes / trials;
  const weight = 1 / (1 + z ** 2 / trials);
  const centre = weight * (share + z ** 2 / (2 * trials));
  const half = weight * z * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/** Rows that every bin of the confidence gets beside its own, answered as well as all are: a bin of few rows says little. */
const priorRows = 5;

/**
 * Accuracy without labels: each answer counts as right as often as answers of its confidence were in the reference (histogram
 * binning, Zadrozny and Elkan, "Obtaining calibrated probability estimates", 2001; averaged over the field as in Guillory et al.,
 * "Predicting with confidence on unseen distributions", 2021). It is blind to a change of the truth itself. Undefined when the
 * reference or the window does not tell.
 */
export function estimateAccuracy(
  { confidence, confidenceCorrect }: ReferenceProfile,
  seen: Histogram | undefined,
): { accuracy: number; samples: number } | undefined {
  if (confidence === undefined || confidenceCorrect === undefined || seen === undefined) return undefined;
  const { counts } = confidence;
  const samples = total(seen.counts);
  if (samples === 0 || seen.counts.length !== counts.length || confidenceCorrect.length !== counts.length)
    return undefined;
  const overall = total(confidenceCorrect) / total(counts);
  const right = seen.counts.reduce((sum, count, bin) => {
    const worth = ((confidenceCorrect[bin] ?? 0) + priorRows * overall) / ((counts[bin] ?? 0) + priorRows);
    return sum + count * worth;
  }, 0);
  return { accuracy: right / samples, samples };
}
