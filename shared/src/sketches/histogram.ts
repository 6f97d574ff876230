// Fixed-edge histogram with moments. Edges come from the reference profile; merging is addition, so windows of any
// devices and times can be put together without losing counts.
import { z } from 'zod';

/** Values larger than this count in their bin only: their squares could add up to infinity, which JSON cannot carry. */
export const largestInMoments = 1e140;

/**
 * `counts` in the order under, bins, over, missing (two more than edges). The moments leave missing values out, and
 * those beyond 1e140 either way; `min` and `max` are null while there is none.
 */
export const Histogram = z.object({
  counts: z.array(z.number().int().min(0)),
  sum: z.number(),
  sumOfSquares: z.number(),
  min: z.number().nullable(),
  max: z.number().nullable(),
});
export type Histogram = z.infer<typeof Histogram>;

export function emptyHistogram(edges: readonly number[]): Histogram {
  return { counts: new Array<number>(edges.length + 2).fill(0), sum: 0, sumOfSquares: 0, min: null, max: null };
}

/** Index into `counts` for a value: NaN and infinities count as missing. */
export function binOf(edges: readonly number[], value: number): number {
  if (!Number.isFinite(value)) return edges.length + 1;
  const last = edges.length - 1;
  if (value < (edges[0] ?? 0)) return 0;
  if (value > (edges[last] ?? 0)) return edges.length;
  let low = 0;
  let high = last;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((edges[middle] ?? 0) <= value) low = middle;
    else high = middle - 1;
  }
  // A value equal to the last edge belongs to the last bin, which is closed; a single edge has no bin but "over".
  return last === 0 ? edges.length : Math.min(low, last - 1) + 1;
}

export function addValue(histogram: Histogram, edges: readonly number[], value: number): void {
  const bin = binOf(edges, value);
  histogram.counts[bin] = (histogram.counts[bin] ?? 0) + 1;
  if (!(Math.abs(value) <= largestInMoments)) return;
  histogram.sum += value;
  histogram.sumOfSquares += value * value;
  histogram.min = histogram.min === null ? value : Math.min(histogram.min, value);
  histogram.max = histogram.max === null ? value : Math.max(histogram.max, value);
}

/** Adds `other` to `target`. Both must have the same edges. */
export function mergeHistogram(target: Histogram, other: Histogram): void {
  if (target.counts.length !== other.counts.length)
    throw new RangeError(`histograms of ${target.counts.length} and ${other.counts.length} bins cannot be merged`);
  // By index: windows of a whole fleet come through here.
  for (let i = 0; i < other.counts.length; i++) target.counts[i] = (target.counts[i] ?? 0) + (other.counts[i] ?? 0);
  target.sum += other.sum;
  target.sumOfSquares += other.sumOfSquares;
  if (other.min !== null) target.min = target.min === null ? other.min : Math.min(target.min, other.min);
  if (other.max !== null) target.max = target.max === null ? other.max : Math.max(target.max, other.max);
}
