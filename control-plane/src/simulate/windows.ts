// Windows as an agent closes them, drawn from the model's reference instead of counted from requests.
import type { NumericProfile } from '@edgeloop/shared/profile';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import type { Histogram } from '@edgeloop/shared/sketches/histogram';
import type { Window } from '@edgeloop/shared/telemetry';
import type { Dice } from './dice.ts';
import { binomial, multinomial, poisson } from './draws.ts';
import type { FleetSettings } from './settings.ts';
import type { Traits } from './traits.ts';

export interface WindowOf {
  traits: Traits;
  version: number;
  release: string | undefined;
  /** By the right clock. */
  from: number;
  to: number;
  /** Since the fleet's first window. */
  elapsedMs: number;
}

/** What values of a feature fall where: `weights` and `values` as the counts of a histogram, the missing ones last. */
interface Spread {
  weights: number[];
  values: number[];
}
interface Feature {
  name: string;
  usual: Spread;
  drifted: Spread;
}

/** Of all requests: the caller's fault. */
const invalidShare = 0.002;
/** Of a night, of the requests at noon. */
const nightShare = 0.1;
const quietestHour = 3 / 24;
/** A lognormal distribution by its quantiles, as multiples of its median. */
const latencySteps = [0.45, 0.58, 0.67, 0.75, 0.83, 0.9, 0.97, 1.03, 1.11, 1.2, 1.33, 1.5, 1.74, 2.3, 4];
const latencyWeights = latencySteps.map((_, i) => (i === latencySteps.length - 1 ? 0.2 : 1));

export function createWindows({ model, faults, dayMs, requestsPerMinute }: FleetSettings) {
  const features = Object.entries(model.reference?.features ?? {}).map(([name, profile]): Feature => {
    const usual = spreadOf(profile);
    return { name, usual, drifted: moved(profile, usual, faults.drift.sigmas) };
  });
  const confidence = model.reference?.confidence && spreadOf(model.reference.confidence);
  const classes = Object.entries(
    model.reference?.classes?.counts ?? Object.fromEntries(model.classes.map((name) => [name, 1])),
  );

  function featuresOf({ traits: { dice, drifts, sensor }, elapsedMs }: WindowOf, rows: number) {
    const hasDrifted = drifts && elapsedMs >= faults.drift.afterMs;
    return Object.fromEntries(
      features.map(({ name, usual, drifted }, i) => {
        const spread = hasDrifted ? drifted : usual;
        return [name, histogram(dice, rows, i === 0 && sensor !== 'good' ? broken(spread, sensor) : spread)];
      }),
    );
  }

  return {
    /** The window of one device; it has a request at least. */
    window(of: WindowOf): Window {
      const { traits, version, release, from, to } = of;
      const { dice, pace, dayAhead, latencyMs, clockOffsetMs } = traits;
      const expected = (requestsPerMinute * (to - from) * pace * activity(to / dayMs + dayAhead)) / 60_000;
      const requests = Math.max(1, poisson(dice, expected));
      const failed = binomial(dice, requests, faults.errorRate);
      const invalid = binomial(dice, requests - failed, invalidShare);
      const succeeded = requests - failed - invalid;
      return {
        ...{ kind: 'window', model: model.name, version, ...(release === undefined ? {} : { release }) },
        ...{ startedAt: Math.round(from + clockOffsetMs), endedAt: Math.round(to + clockOffsetMs) },
        ...{ succeeded, invalid, failed: failed === 0 ? {} : { internal: failed }, rows: succeeded },
        latencyMs: latencies(dice, succeeded, latencyMs),
        features: featuresOf(of, succeeded),
        ...(confidence && { confidence: histogram(dice, succeeded, confidence) }),
        classes: classesOf(dice, succeeded, classes),
      };
    },
  };
}

/** Share of the requests at noon; `day` in days. */
function activity(day: number): number {
  return nightShare + (1 - nightShare) * (0.5 - 0.5 * Math.cos(2 * Math.PI * (day - quietestHour)));
}

function latencies(dice: Dice, count: number, medianMs: number) {
  const sketch = new QuantileSketchBuilder();
  for (const [i, drawn] of multinomial(dice, count, latencyWeights).entries())
    if (drawn > 0) sketch.add(medianMs * (latencySteps[i] ?? 1), drawn);
  return sketch.toJSON();
}

function classesOf(dice: Dice, rows: number, classes: readonly (readonly [string, number])[]) {
  if (!classes.some(([, weight]) => weight > 0)) return {};
  const drawn = multinomial(
    dice,
    rows,
    classes.map(([, weight]) => weight),
  );
  return Object.fromEntries(classes.map(([name], i) => [name, drawn[i] ?? 0] as const).filter(([, n]) => n > 0));
}

function histogram(dice: Dice, rows: number, { weights, values }: Spread): Histogram {
  const drawn: Histogram = {
    counts: multinomial(dice, rows, weights),
    ...{ sum: 0, sumOfSquares: 0, min: null, max: null },
  };
  for (const [i, value] of values.entries()) {
    const count = drawn.counts[i] ?? 0;
    if (count === 0 || Number.isNaN(value)) continue;
    drawn.sum += count * value;
    drawn.sumOfSquares += count * value * value;
    drawn.min = Math.min(drawn.min ?? value, value);
    drawn.max = Math.max(drawn.max ?? value, value);
  }
  return drawn;
}

function spreadOf({ edges, counts }: NumericProfile): Spread {
  const first = edges[0] ?? 0;
  const last = edges.at(-1) ?? first;
  const width = edges.length > 1 ? (last - first) / (edges.length - 1) : 1;
  const middles = edges.slice(1).map((edge, i) => (edge + (edges[i] ?? edge)) / 2);
  const anything = counts.some((count) => count > 0);
  return {
    // A reference without a row is of no use but as bins.
    weights: anything ? [...counts] : counts.map((_, i) => (i === counts.length - 1 ? 0 : 1)),
    values: [first - width / 2, ...middles, last + width / 2, Number.NaN],
  };
}

/** The same values, each higher by so many standard deviations. What a bin holds is taken to lie evenly in it. */
function moved({ edges }: NumericProfile, { weights, values }: Spread, sigmas: number): Spread {
  const by = sigmas * deviation({ weights, values });
  const present = weights.slice(0, -1);
  const first = edges[0] ?? 0;
  const last = edges.at(-1) ?? first;
  const width = Math.max(Number.MIN_VALUE, last - first) / Math.max(1, edges.length - 1);
  const bounds = [first - width, ...edges, last + width];
  const below = (limit: number) =>
    present.reduce((sum, weight, i) => sum + weight * filled(bounds[i] ?? 0, bounds[i + 1] ?? 0, limit - by), 0);
  const cumulated = [...edges.map(below), present.reduce((sum, weight) => sum + weight, 0)];
  return {
    weights: [...cumulated.map((sum, i) => Math.max(0, sum - (cumulated[i - 1] ?? 0))), weights.at(-1) ?? 0],
    values,
  };
}

/** Which share of a bin lies below the limit. */
function filled(from: number, to: number, limit: number): number {
  if (to <= from) return limit > from ? 1 : 0;
  return Math.min(1, Math.max(0, (limit - from) / (to - from)));
}

function deviation({ weights, values }: Spread): number {
  let [total, sum, squares] = [0, 0, 0];
  for (const [i, value] of values.entries()) {
    if (Number.isNaN(value)) continue;
    const weight = weights[i] ?? 0;
    total += weight;
    sum += weight * value;
    squares += weight * value * value;
  }
  return total === 0 ? 0 : Math.sqrt(Math.max(0, squares / total - (sum / total) ** 2));
}

/** A sensor that says nothing, or always what is most frequent. */
function broken({ weights, values }: Spread, sensor: 'dead' | 'stuck'): Spread {
  const most = weights.slice(0, -1).reduce((best, weight, i, all) => (weight > (all[best] ?? 0) ? i : best), 0);
  const only = sensor === 'dead' ? weights.length - 1 : most;
  return { weights: weights.map((_, i) => (i === only ? 1 : 0)), values };
}
