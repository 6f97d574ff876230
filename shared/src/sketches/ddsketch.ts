// DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
// VLDB 2019), for latencies: positive values of an open range. Merging is addition.
import { z } from 'zod';

/** Half the relative width of a bucket: a quantile is off by at most 1 %. */
const relativeAccuracy = 0.01;
const gamma = (1 + relativeAccuracy) / (1 - relativeAccuracy);
const logGamma = Math.log(gamma);
/** Values below this count as zero. */
const smallest = 1e-6;

/** `bins`: pairs of bucket index and count; bucket i holds values in (gamma^(i-1), gamma^i]. */
export const QuantileSketch = z.object({
  count: z.number().int().min(0),
  sum: z.number(),
  max: z.number(),
  zeros: z.number().int().min(0),
  bins: z.array(z.tuple([z.number().int(), z.number().int().min(1)])).max(4096),
});
export type QuantileSketch = z.infer<typeof QuantileSketch>;

/** A sketch that is being filled; `toJSON` gives the form that travels. */
export class QuantileSketchBuilder {
  #bins = new Map<number, number>();
  #count = 0;
  #sum = 0;
  #max = 0;
  #zeros = 0;

  /** Adds `count` times a value >= 0; negative or non-finite values count as zero. */
  add(value: number, count = 1): void {
    const usable = Number.isFinite(value) && value > 0 ? value : 0;
    this.#count += count;
    this.#sum += usable * count;
    this.#max = Math.max(this.#max, usable);
    if (usable < smallest) this.#zeros += count;
    else this.#increase(Math.ceil(Math.log(usable) / logGamma), count);
  }

  merge(other: QuantileSketch): void {
    this.#count += other.count;
    this.#sum += other.sum;
    this.#max = Math.max(this.#max, other.max);
    this.#zeros += other.zeros;
    for (const [bin, count] of other.bins) this.#increase(bin, count);
  }

  toJSON(): QuantileSketch {
    return {
      count: this.#count,
      sum: this.#sum,
      max: this.#max,
      zeros: this.#zeros,
      bins: [...this.#bins].sort(([a], [b]) => a - b),
    };
  }

  #increase(bin: number, count: number): void {
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + count);
  }
}

export function mergeSketches(a: QuantileSketch, b: QuantileSketch): QuantileSketch {
  const sum = new QuantileSketchBuilder();
  sum.merge(a);
  sum.merge(b);
  return sum.toJSON();
}

/** The `q` quantile, 0 to 1, or undefined when the sketch is empty. */
export function quantile(sketch: QuantileSketch, q: number): number | undefined {
  if (sketch.count === 0) return undefined;
  const rank = q * (sketch.count - 1);
  let seen = sketch.zeros;
  if (seen > rank) return 0;
  for (const [bin, count] of sketch.bins) {
    seen += count;
    if (seen > rank) return Math.min((2 * gamma ** bin) / (gamma + 1), sketch.max);
  }
  return sketch.max;
}

/** Buckets from 1 up to `value`: a sketch that is shifted down by them holds its values in multiples of `value`. */
export function bucketsTo(value: number): number {
  return Math.round(Math.log(Math.max(value, smallest)) / logGamma);
}

/** By which factor values differ that are `buckets` apart. */
export function bucketRatio(buckets: number): number {
  return gamma ** buckets;
}

/** The same values, each `buckets` lower, those that count as zero aside. */
export function shiftedDown(sketch: QuantileSketch, buckets: number): QuantileSketch {
  const factor = gamma ** -buckets;
  const bins = sketch.bins.map(([bin, count]): [number, number] => [bin - buckets, count]);
  return { ...sketch, sum: sketch.sum * factor, max: sketch.max * factor, bins };
}
