// A sketch of values whose range nobody said: it finds its own bins, and yet any two sketches merge without losing a count. The
// bins of a level are unions of those of the level below (as in Epicoco et al., "UDDSketch: accurate tracking of quantiles in
// data streams", IEEE Access 8, 2020), and the level is the lowest at which all values take at most 48 bins. So the sketch
// depends on the values alone, not on the order or the windows in which they came: merging is associative and commutative.
//
// Bins are log-linear: below some value they are equally wide, above it each octave has equally many. The first levels halve
// how many an octave has, from 4096 (pressures around 1013 are told apart) to 4; the others double the width of the equal ones.
import { z } from 'zod';
import { largestInMoments } from './histogram.ts';

const mostBins = 48;
/** Exponents of two: bins of an octave at level 0 and in the end, and the width of the equal ones in the beginning. */
const [finestBits, coarsestBits, finestWidth] = [12, 2, -40];
const bitLevels = finestBits - coarsestBits;

/**
 * `bins`: number of the first bin, its count, then for each further one how far it lies behind the former, and its count.
 * `missing`: NaN and infinities. Moments leave missing values out, and those beyond 1e140; `min` and `max` are null while there is none.
 */
export const ValueSketch = z.object({
  level: z.number().int().min(0).max(1100),
  missing: z.number().int().min(0),
  sum: z.number(),
  sumOfSquares: z.number(),
  min: z.number().nullable(),
  max: z.number().nullable(),
  bins: z
    .array(z.number().int())
    .max(2 * mostBins)
    .refine((bins) => bins.length % 2 === 0, 'bins are pairs')
    .refine((bins) => bins.every((each, at) => at === 0 || each >= 1), 'counts and distances are at least 1'),
});
export type ValueSketch = z.infer<typeof ValueSketch>;

/** A sketch that is being filled; `toJSON` gives the form that travels. */
export class ValueSketchBuilder {
  #level = 0;
  #bins = new Map<number, number>();
  #missing = 0;
  #sum = 0;
  #sumOfSquares = 0;
  #min: number | null = null;
  #max: number | null = null;

  add(given: number): void {
    if (!Number.isFinite(given)) {
      this.#missing += 1;
      return;
    }
    // JSON knows no -0.
    const value = given + 0;
    const bin = binAt(this.#level, value);
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + 1);
    if (this.#bins.size > mostBins) this.#coarsen();
    if (Math.abs(value) > largestInMoments) return;
    this.#sum += value;
    this.#sumOfSquares += value * value;
    if (this.#min === null || value < this.#min) this.#min = value;
    if (this.#max === null || value > this.#max) this.#max = value;
  }

  merge(other: ValueSketch): void {
    while (this.#level < other.level) this.#raise();
    for (const [bin, count] of binsOf(other, this.#level)) this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + count);
    this.#coarsen();
    this.#missing += other.missing;
    this.#sum += other.sum;
    this.#sumOfSquares += other.sumOfSquares;
    if (other.min !== null) this.#min = this.#min === null ? other.min : Math.min(this.#min, other.min);
    if (other.max !== null) this.#max = this.#max === null ? other.max : Math.max(this.#max, other.max);
  }

  toJSON(): ValueSketch {
    const bins: number[] = [];
    let former = 0;
    for (const [bin, count] of [...this.#bins].sort(([a], [b]) => a - b)) {
      bins.push(bin - former, count);
      former = bin;
    }
    return {
      ...{ level: this.#level, missing: this.#missing, sum: this.#sum, sumOfSquares: this.#sumOfSquares },
      ...{ min: this.#min, max: this.#max, bins },
    };
  }

  #coarsen(): void {
    while (this.#bins.size > mostBins) this.#raise();
  }

  #raise(): void {
    const raised = new Map<number, number>();
    for (const [bin, count] of this.#bins) {
      const above = binAt(this.#level + 1, edgeOf(this.#level, bin));
      raised.set(above, (raised.get(above) ?? 0) + count);
    }
    this.#level += 1;
    this.#bins = raised;
  }
}

export function valueSketchOf(values: Iterable<number>): ValueSketch {
  const builder = new ValueSketchBuilder();
  for (const value of values) builder.add(value);
  return builder.toJSON();
}

/** Values that are not missing. */
export function valuesIn({ bins }: Pick<ValueSketch, 'bins'>): number {
  return bins.reduce((sum, each, at) => (at % 2 === 0 ? sum : sum + each), 0);
}

/** Counts of both in the same bins, in the order of the values, those that are empty on both sides aside; the last is of the missing. */
export function pairedCounts(a: ValueSketch, b: ValueSketch): [number[], number[]] {
  const level = Math.max(a.level, b.level);
  const [first, second] = [binsOf(a, level), binsOf(b, level)];
  const places = [...new Set([...first.keys(), ...second.keys()])].sort((x, y) => x - y);
  return [
    [...places.map((place) => first.get(place) ?? 0), a.missing],
    [...places.map((place) => second.get(place) ?? 0), b.missing],
  ];
}

/** Where the bins of a sketch begin and end, with their counts, in the order of the values: for pictures of it. */
export function binsWithEdges(sketch: ValueSketch): { from: number; to: number; count: number }[] {
  return [...binsOf(sketch, sketch.level)].map(([bin, count]) => {
    const place = bin < 0 ? -1 - bin : bin;
    const [inner, outer] = [lowerEdge(sketch.level, place), lowerEdge(sketch.level, place + 1)];
    return bin < 0 ? { from: -outer, to: -inner, count } : { from: inner, to: outer, count };
  });
}

/** The `q` quantile, 0 to 1, as if the values of a bin lay evenly in it; undefined when there are none. */
export function valueQuantile(sketch: ValueSketch, q: number): number | undefined {
  const bins = binsWithEdges(sketch);
  const rank = q * valuesIn(sketch);
  let below = 0;
  for (const { from, to, count } of bins) {
    below += count;
    if (below < rank) continue;
    const value = from + (to - from) * (1 - (below - rank) / count);
    return Math.min(Math.max(value, sketch.min ?? value), sketch.max ?? value);
  }
  return bins.length === 0 ? undefined : (sketch.max ?? bins.at(-1)?.to);
}

/** Counts by bin at this level, which is the sketch's or higher. */
function binsOf({ level: own, bins }: ValueSketch, level: number): Map<number, number> {
  const counts = new Map<number, number>();
  let place = 0;
  for (let at = 0; at < bins.length; at += 2) {
    place += bins[at] ?? 0;
    // An edge lies in the bin of every level above that holds its bin.
    const bin = own === level ? place : binAt(level, edgeOf(own, place));
    counts.set(bin, (counts.get(bin) ?? 0) + (bins[at + 1] ?? 0));
  }
  return counts;
}

/** The number of the bin that holds a finite value: from 0 upwards with the value, for negative ones from -1 downwards. */
function binAt(level: number, value: number): number {
  const place = placeOf(level, Math.abs(value));
  return value < 0 ? -1 - place : place;
}

function placeOf(level: number, size: number): number {
  const bits = Math.max(coarsestBits, finestBits - level);
  const width = finestWidth + Math.max(0, level - bitLevels);
  if (size < 2 ** (width + bits)) return Math.floor(size * 2 ** -width);
  let exponent = Math.floor(Math.log2(size));
  // The logarithm is rounded.
  if (2 ** exponent > size) exponent -= 1;
  else if (2 ** (exponent + 1) <= size) exponent += 1;
  return 2 ** bits * (exponent - width - bits) + Math.floor(size * 2 ** (bits - exponent));
}

/** The edge nearer to zero, which belongs to the bin; of the first bin below zero a value in it. */
function edgeOf(level: number, bin: number): number {
  if (bin < 0) return bin === -1 ? -Number.MIN_VALUE : -lowerEdge(level, -1 - bin);
  return lowerEdge(level, bin);
}

function lowerEdge(level: number, place: number): number {
  const bits = Math.max(coarsestBits, finestBits - level);
  const width = finestWidth + Math.max(0, level - bitLevels);
  const perOctave = 2 ** bits;
  if (place < perOctave) return place * 2 ** width;
  const octave = Math.floor(place / perOctave);
  return (perOctave + (place % perOctave)) * 2 ** (octave - 1 + width);
}
