// Decides from labels whether a version answers worse in the field than on its held-out data.
import type { Verdict } from './drift.ts';

export interface AccuracySettings {
  minLabels: number;
  /** Points of accuracy, 0 to 1. */
  maxLoss: number;
}
export interface AccuracyJudgement {
  verdict: Verdict;
  labels: number;
  /** 0 to 1; null without labels. */
  accuracy: number | null;
  interval: { low: number; high: number };
  /** The accuracy below which the whole interval must lie to be suspicious. */
  bound: number;
}

/** Two-sided 95 %. */
const z = 1.959964;

/**
 * Suspicious when the interval of the accuracy lies wholly below the reference less `maxLoss`; calm when the accuracy is
 * at least the reference less half of it; unsettled between.
 */
export function judgeAccuracy(
  referenceAccuracy: number,
  { labels, correct }: { labels: number; correct: number },
  settings: AccuracySettings,
): AccuracyJudgement {
  const bound = referenceAccuracy - settings.maxLoss;
  const interval = wilson(correct, labels);
  const accuracy = labels === 0 ? null : correct / labels;
  return { verdict: verdict(), labels, accuracy, interval, bound };

  function verdict(): Verdict {
    if (accuracy === null || labels < settings.minLabels) return 'insufficient';
    if (interval.high < bound) return 'suspicious';
    return accuracy >= referenceAccuracy - settings.maxLoss / 2 ? 'calm' : 'unsettled';
  }
}

/** Score interval of a proportion (Wilson, "Probable inference, the law of succession, and statistical inference", 1927). */
export function wilson(successes: number, trials: number): { low: number; high: number } {
  if (trials === 0) return { low: 0, high: 1 };
  const share = successes / trials;
  const weight = 1 / (1 + z ** 2 / trials);
  const centre = weight * (share + z ** 2 / (2 * trials));
  const half = weight * z * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
