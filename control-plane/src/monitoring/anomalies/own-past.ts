// How surprising the newest value of one series is beside its own past. What is usual at an hour of the day or of the week is
// the median of the same hour in the days or weeks before; the distance from it is measured in what such distances were, robustly,
// so that a past anomaly neither hides the next one nor becomes the rule. Which season holds is not asked of anybody: the one
// that left the smallest distances so far (as seasonal naive forecasts are chosen, Hyndman and Athanasopoulos, "Forecasting:
// Principles and Practice", 3rd ed., 5.2; median and MAD after Rousseeuw and Croux, JASA 88, 1993).

export interface OwnPastOptions {
  /** Values of a day; below 2 there is no season of a day. */
  perDay: number;
  /** Values that are remembered. */
  keep?: number;
}

type Season = 'none' | 'day' | 'week';

export interface Surprise {
  /** Distance from what is usual, in robust standard deviations; never negative. */
  score: number;
  expected: number;
  /** What lies within three such deviations. */
  low: number;
  high: number;
  season: Season;
}

/** Values of a past that say nothing yet. */
const fewest = 50;
/** New values after which the scale is measured anew. */
const refreshEvery = 20;
/** Of a normal distribution: MAD to standard deviation, and the 99 % quantile of its absolute values. */
export const madToDeviation = 1.4826;
const normal99 = 2.576;

interface Lag {
  season: Season;
  /** Values back, and how many such steps make what is usual. */
  lag: number;
  times: number;
  /** Values less what was usual; NaN where either is not known. */
  distances: number[];
  scale: Scale | undefined;
  measuredAt: number;
}

interface Scale {
  middle: number;
  deviation: number;
}

/** A series of one step. Values that are not known are NaN. */
export class OwnPast {
  readonly #values: number[] = [];
  readonly #lags: Lag[];
  readonly #keep: number;
  #count = 0;

  constructor({ perDay, keep = 4000 }: OwnPastOptions) {
    this.#keep = Math.max(keep, perDay * 28);
    const lags: [Season, number, number][] = [['none', 0, 0]];
    if (perDay >= 2) lags.push(['day', perDay, 7], ['week', 7 * perDay, 4]);
    this.#lags = lags.map(([season, lag, times]) => ({
      ...{ season, lag, times, distances: [], scale: undefined, measuredAt: 0 },
    }));
  }

  /** How surprising the value is; undefined while the past is too short or the value is not known. It is not remembered. */
  judge(value: number): Surprise | undefined {
    if (Number.isNaN(value)) return undefined;
    let best: { lag: Lag; scale: Scale; usual: number } | undefined;
    for (const lag of this.#lags) {
      const scale = this.#scaleOf(lag);
      const usual = this.#usual(lag);
      if (scale === undefined || Number.isNaN(usual)) continue;
      if (best === undefined || scale.deviation < best.scale.deviation) best = { lag, scale, usual };
    }
    if (best === undefined) return undefined;
    const { lag, scale, usual } = best;
    const expected = usual + scale.middle;
    const reach = 3 * scale.deviation;
    const score = Math.abs(value - expected) / scale.deviation;
    return { score, expected, low: expected - reach, high: expected + reach, season: lag.season };
  }

  /** Takes the value into the past. */
  learn(value: number): void {
    for (const lag of this.#lags) {
      lag.distances.push(value - this.#usual(lag));
      if (lag.distances.length > 2 * this.#keep) lag.distances.splice(0, this.#keep);
    }
    this.#values.push(value);
    if (this.#values.length > 2 * this.#keep) this.#values.splice(0, this.#keep);
    this.#count += 1;
  }

  /** What the next value usually is: NaN while too few of the same hour are known. */
  #usual({ lag, times }: Lag): number {
    if (lag === 0) return 0;
    const same: number[] = [];
    for (let back = 1; back <= times; back++) {
      const value = this.#values[this.#values.length - back * lag];
      if (value !== undefined && !Number.isNaN(value)) same.push(value);
    }
    return same.length < 2 ? Number.NaN : medianOf(same);
  }

  #scaleOf(lag: Lag): Scale | undefined {
    if (lag.scale !== undefined && this.#count - lag.measuredAt < refreshEvery) return lag.scale;
    const known = new Float64Array(Math.min(this.#keep, lag.distances.length));
    let count = 0;
    for (let i = lag.distances.length - known.length; i < lag.distances.length; i++) {
      const distance = lag.distances[i] ?? Number.NaN;
      if (!Number.isNaN(distance)) known[count++] = distance;
    }
    lag.scale = count < fewest ? undefined : scaleOf(known.subarray(0, count));
    lag.measuredAt = this.#count;
    return lag.scale;
  }
}

/**
 * The middle and a deviation that is true to the tail as well: many series keep still and jump, and a jump that comes every day
 * is no surprise though their MAD is nothing.
 */
function scaleOf(distances: Float64Array): Scale {
  const middle = selectedQuantile(distances, 0.5);
  const away = distances.map((each) => Math.abs(each - middle));
  const mad = madToDeviation * selectedQuantile(away, 0.5);
  const tail = selectedQuantile(away, 0.99) / normal99;
  // A series that never moved: a millionth of its size is a move.
  return { middle, deviation: Math.max(mad, tail, Math.abs(middle) * 1e-6, 1e-9) };
}

/** As `quantileOf`, without sorting all of the values: a scale is measured over thousands. Puts them into another order. */
function selectedQuantile(values: Float64Array, q: number): number {
  const at = (values.length - 1) * q;
  const [below, above] = [Math.floor(at), Math.ceil(at)];
  select(values, below);
  // What is behind the place is no smaller; the smallest of it stands at the next one.
  let next = values[below] ?? Number.NaN;
  if (above > below) {
    next = Number.POSITIVE_INFINITY;
    for (let i = above; i < values.length; i++) next = Math.min(next, values[i] ?? next);
  }
  const value = values[below] ?? Number.NaN;
  return value + (next - value) * (at - below);
}

/** Brings the value that sorting would put at `place` there, smaller ones before it (Hoare, "Algorithm 65: Find", 1961). */
function select(values: Float64Array, place: number): void {
  let [first, last] = [0, values.length - 1];
  while (first < last) {
    const pivot = values[(first + last) >> 1] ?? 0;
    let [i, j] = [first, last];
    while (i <= j) {
      while ((values[i] ?? pivot) < pivot) i++;
      while ((values[j] ?? pivot) > pivot) j--;
      if (i > j) break;
      const moved = values[i] ?? 0;
      values[i++] = values[j] ?? 0;
      values[j--] = moved;
    }
    if (place <= j) last = j;
    else if (place >= i) first = i;
    else return;
  }
}

function medianOf(values: readonly number[]): number {
  return quantileOf(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}

/** Between the two nearest of the sorted values. */
export function quantileOf(sorted: ArrayLike<number>, q: number): number {
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}
