// Tests of rates that may be looked at after every request and stopped at any time.
//
// For counts of independent trials with hit rate p, the ratio of the Beta(1/2, 1/2) mixture of likelihoods to the
// likelihood at p is a nonnegative martingale that starts at 1 (Robbins, "Statistical methods related to the law of the
// iterated logarithm", 1970; the beta-binomial bound of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
// nonasymptotic confidence sequences", Annals of Statistics 49 (2), 2021). By Ville's inequality it ever reaches 1/alpha
// with probability alpha at most, so that all p at which it stays below form a confidence sequence. Two streams are compared by the product of their
// martingales, smallest over all pairs of rates that the hypothesis allows (Turner and Grünwald, "Exact anytime-valid
// confidence intervals for contingency tables and beyond", Statistics and Probability Letters 198, 2023). A stream that
// stands still, as a last period does, keeps its value.
import type { Counts } from './counts.ts';
import { logGamma } from './log-gamma.ts';

export interface Interval {
  low: number;
  high: number;
}

/** Bisections of an interval: what is left of [-1, 1] is 1e-9. */
const halvings = 31;

/** Logarithm of the mixture's likelihood of the counts. */
export function logMixture({ hits, trials }: Counts): number {
  return logGamma(hits + 0.5) + logGamma(trials - hits + 0.5) - logGamma(trials + 1) - Math.log(Math.PI);
}

/** Logarithm of the likelihood at rate `p`; minus infinity where the counts are impossible. */
export function logLikelihood({ hits, trials }: Counts, p: number): number {
  const misses = trials - hits;
  return (hits === 0 ? 0 : hits * Math.log(p)) + (misses <= 0 ? 0 : misses * Math.log1p(-p));
}

/** Logarithm of the evidence against a rate of at most `bound`; at most 0 while the rate seen is not above it. */
export function evidenceAbove(counts: Counts, bound: number): number {
  if (counts.trials === 0) return 0;
  const nearest = Math.min(counts.hits / counts.trials, bound);
  return logMixture(counts) - logLikelihood(counts, nearest);
}

/**
 * Logarithm of the evidence against the first rate being exactly `difference` above the second: of all such pairs of rates,
 * the likeliest one holds. The slope of the likelihood falls along the line, so that halving finds where it is level.
 */
export function evidenceAgainst(first: Counts, second: Counts, difference: number): number {
  let low = Math.max(0, -difference);
  let high = Math.min(1, 1 - difference);
  for (let i = 0; i < halvings; i++) {
    const middle = (low + high) / 2;
    if (slope(first, middle + difference) + slope(second, middle) > 0) low = middle;
    else high = middle;
  }
  const p = (low + high) / 2;
  return logMixture(first) + logMixture(second) - logLikelihood(first, p + difference) - logLikelihood(second, p);
}

function slope({ hits, trials }: Counts, p: number): number {
  return hits / p - (trials - hits) / (1 - p);
}

/** Whether the first rate is above the second by more than `margin`, at level `alpha` over all looks. */
export function exceedsBy(
  first: Counts,
  second: Counts,
  { margin, alpha }: { margin: number; alpha: number },
): boolean {
  if (first.trials === 0 || second.trials === 0 || margin >= 1) return false;
  if (first.hits / first.trials - second.hits / second.trials <= margin) return false;
  return evidenceAgainst(first, second, margin) >= -Math.log(alpha);
}

/** Confidence sequence of a rate. */
export function rateInterval(counts: Counts, alpha: number): Interval {
  const { hits, trials } = counts;
  if (trials === 0) return { low: 0, high: 1 };
  const mixture = logMixture(counts);
  const refuted = (p: number) => mixture - logLikelihood(counts, p) >= -Math.log(alpha);
  return around(hits / trials, { low: 0, high: 1 }, refuted);
}

/** Confidence sequence of how far the first rate is above the second. */
export function differenceInterval(first: Counts, second: Counts, alpha: number): Interval {
  if (first.trials === 0 || second.trials === 0) return { low: -1, high: 1 };
  const middle = first.hits / first.trials - second.hits / second.trials;
  const refuted = (difference: number) => evidenceAgainst(first, second, difference) >= -Math.log(alpha);
  return around(middle, { low: -1, high: 1 }, refuted);
}

/** What is not refuted around `middle`: refuted values lie beyond two bounds. */
function around(middle: number, range: Interval, refuted: (value: number) => boolean): Interval {
  return { low: edge(middle, range.low, refuted), high: edge(middle, range.high, refuted) };
}

function edge(inside: number, end: number, refuted: (value: number) => boolean): number {
  if (!refuted(end)) return end;
  let held = inside;
  let gone = end;
  for (let i = 0; i < halvings; i++) {
    const middle = (held + gone) / 2;
    if (refuted(middle)) gone = middle;
    else held = middle;
  }
  return gone;
}
