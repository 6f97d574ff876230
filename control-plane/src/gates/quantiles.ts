// How much slower or faster a quantile became, from sketches, at any time. For the true quantile x of level p the values at
// most x are trials with hit rate p, so that the martingale of sequential.ts at p, with the counts up to x, holds the true
// quantile for ever with probability 1 - alpha (Howard and Ramdas, "Sequential estimation of quantiles with applications to
// A/B testing and best-arm identification", Bernoulli 28 (3), 2022). Buckets of sketches grow by a factor, so that a ratio of
// quantiles is a shift of buckets.
import { bucketRatio, type QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { logLikelihood, logMixture } from './sequential.ts';

export interface RatioInterval {
  /** Quantile of the first over quantile of the second. */
  ratio: number;
  low: number;
  high: number;
}

/** Evidence against the quantile lying in each bucket, from `first` on; `below` and `above` all buckets. */
interface Profile {
  first: number;
  against: readonly number[];
  below: number;
  above: number;
  /** The bucket of the quantile seen. */
  at: number;
}

/** Ratios beyond this are not told apart. */
const farthestBuckets = 700;

/** `worth`: what a value of each sketch counts for, 0 to 1. Undefined while either is empty. */
export function quantileRatio(
  { first, second }: { first: QuantileSketch; second: QuantileSketch },
  { quantile, alpha, worth }: { quantile: number; alpha: number; worth: { first: number; second: number } },
): RatioInterval | undefined {
  const a = profileOf(first, quantile, worth.first);
  const b = profileOf(second, quantile, worth.second);
  if (a === undefined || b === undefined) return undefined;
  const bound = -Math.log(alpha);
  const seen = a.at - b.at;
  const refuted = (shift: number) => againstShift(a, b, shift) >= bound;
  return {
    ratio: bucketRatio(seen),
    low: bucketRatio(reach(seen, -1, refuted)),
    high: bucketRatio(reach(seen, 1, refuted)),
  };
}

/** The nearest shift that is refuted. Evidence grows with the distance, since either quantile is then farther from what is seen. */
function reach(seen: number, step: 1 | -1, refuted: (shift: number) => boolean): number {
  let held = 0;
  let gone = farthestBuckets;
  if (!refuted(seen + step * gone)) return step * Number.POSITIVE_INFINITY;
  while (gone - held > 1) {
    const middle = (held + gone) >> 1;
    if (refuted(seen + step * middle)) gone = middle;
    else held = middle;
  }
  return seen + step * gone;
}

/** Least evidence against `first` having its quantile `shift` buckets above that of `second`. */
function againstShift(first: Profile, second: Profile, shift: number): number {
  let least = Number.POSITIVE_INFINITY;
  const from = Math.min(second.first, first.first - shift) - 1;
  const to = Math.max(second.first + second.against.length, first.first + first.against.length - shift);
  for (let bucket = from; bucket <= to; bucket++) {
    least = Math.min(least, against(second, bucket) + against(first, bucket + shift));
  }
  return least;
}

function against({ first, against: values, below, above }: Profile, bucket: number): number {
  if (bucket < first) return below;
  return values[bucket - first] ?? above;
}

function profileOf(sketch: QuantileSketch, quantile: number, worth: number): Profile | undefined {
  const { bins, zeros } = sketch;
  const first = bins[0]?.[0];
  const last = bins.at(-1)?.[0];
  if (first === undefined || last === undefined || worth <= 0) return undefined;
  const trials = sketch.count * worth;
  const evidence = (hits: number) => logMixture({ hits, trials }) - logLikelihood({ hits, trials }, quantile);
  const counts = new Map(bins);
  const values: number[] = [];
  let seen = zeros * worth;
  let at = last;
  let found = false;
  for (let bucket = first; bucket <= last; bucket++) {
    const before = seen;
    seen += (counts.get(bucket) ?? 0) * worth;
    // The quantile may lie anywhere in the bucket: the count that speaks least against it holds.
    values.push(evidence(Math.min(Math.max(quantile * trials, before), Math.min(seen, trials))));
    if (!found && seen >= quantile * trials) {
      found = true;
      at = bucket;
    }
  }
  const start = Math.min(quantile * trials, zeros * worth);
  return { first, against: values, below: evidence(start), above: evidence(trials), at };
}
