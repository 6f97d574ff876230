// Metrics of signals: everything that a window holds of values by name, whatever form it has there.
import type { Metric } from '@edgeloop/shared/api/metrics';
import type { Level, ResourceUsage } from '@edgeloop/shared/resource-usage';
import type { Histogram } from '@edgeloop/shared/sketches/histogram';
import { type ValueSketch, ValueSketchBuilder, valueQuantile, valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import { Window } from '@edgeloop/shared/telemetry';
import type { History } from './history.ts';
import { historyQuery, type MetricScope, ratio } from './metric-scope.ts';
import { partsAsked } from './part-readers.ts';
import { type Line, SeriesFold } from './series-fold.ts';

export type SignalMetric = Extract<Metric, `signal_${string}` | 'missing_rate' | 'entropy'>;

const SignalsOf = Window.pick({ features: true, confidence: true, signals: true, resources: true });
const CategoriesOf = Window.pick({ categories: true, classes: true });

/** What is known of a signal; null where its form in the window does not tell. */
interface Moments {
  count: number;
  missing: number;
  sum: number;
  sumOfSquares: number | null;
  min: number | null;
  max: number | null;
  /** Of signals that find their own bins. */
  sketch?: ValueSketch;
}

const values: Record<Exclude<SignalMetric, 'signal_quantile'>, (moments: Moments) => number | null> = {
  signal_mean: ({ sum, count }) => ratio(sum, count),
  signal_deviation: ({ sum, sumOfSquares, count }) =>
    sumOfSquares === null || count === 0 ? null : Math.sqrt(Math.max(0, sumOfSquares / count - (sum / count) ** 2)),
  signal_min: ({ min }) => min,
  signal_max: ({ max }) => max,
  signal_samples: ({ count, missing }) => count + missing,
  missing_rate: ({ count, missing }) => ratio(missing, count + missing),
  entropy: ({ sum, count }) => ratio(sum, count),
};

export async function readSignals(metric: SignalMetric, history: History, asked: MetricScope): Promise<Line[]> {
  const scope = metric === 'entropy' ? { ...asked, signals: new Set(['output:entropy']) } : asked;
  const fold = new SeriesFold(scope, emptyState);
  const isQuantile = metric === 'signal_quantile';
  await history.parts(historyQuery(scope), SignalsOf, (share) => {
    for (const [part, parts] of partsAsked(share, scope))
      for (const [signal, moments] of signalsOf(parts)) {
        if (scope.signals?.has(signal) === false || (isQuantile && moments.sketch === undefined)) continue;
        // The machine has no missing values: it would only thin out the rate of the others.
        if (metric === 'missing_rate' && scope.signals === undefined && signal.startsWith('machine:')) continue;
        const state = fold.at(share, { ...part, signal });
        if (state === undefined) continue;
        add(state.moments, moments);
        if (isQuantile && moments.sketch !== undefined) state.sketch.merge(moments.sketch);
      }
  });
  if (!isQuantile) return fold.lines(({ moments }) => values[metric](moments));
  return scope.quantiles.flatMap((q) =>
    fold
      .lines(({ sketch }) => valueQuantile(sketch.toJSON(), q) ?? null)
      .map((line) => (scope.quantiles.length === 1 ? line : { ...line, quantile: q })),
  );
}

/** Values of text signals and predicted classes (`output:classes`), by category. */
export async function readCategories(history: History, scope: MetricScope): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ count: 0 }));
  await history.parts(historyQuery(scope), CategoriesOf, (share) => {
    for (const [part, { categories = {}, classes }] of partsAsked(share, scope))
      for (const [signal, { counts, other }] of Object.entries({
        ...categories,
        'output:classes': { counts: classes, other: 0 },
      })) {
        if (scope.signals?.has(signal) === false) continue;
        for (const [name, count] of [...Object.entries(counts), [otherCategories, other] as const]) {
          const sum = count === 0 ? undefined : fold.at(share, { ...part, signal, class: name });
          if (sum !== undefined) sum.count += count;
        }
      }
  });
  return fold.lines(({ count }) => count);
}

/** Those that are not among the most frequent. */
const otherCategories = '(other)';

function emptyState(): { moments: Moments; sketch: ValueSketchBuilder } {
  const moments = { count: 0, missing: 0, sum: 0, sumOfSquares: 0, min: null, max: null };
  return { moments, sketch: new ValueSketchBuilder() };
}

function add(target: Moments, other: Moments): void {
  target.count += other.count;
  target.missing += other.missing;
  target.sum += other.sum;
  target.sumOfSquares =
    target.sumOfSquares === null || other.sumOfSquares === null ? null : target.sumOfSquares + other.sumOfSquares;
  if (other.min !== null) target.min = Math.min(target.min ?? other.min, other.min);
  if (other.max !== null) target.max = Math.max(target.max ?? other.max, other.max);
}

function* signalsOf({
  features,
  confidence,
  signals = {},
  resources,
}: Pick<Window, 'features' | 'confidence' | 'signals' | 'resources'>): Generator<[string, Moments]> {
  for (const [name, histogram] of Object.entries(features)) yield [name, ofHistogram(histogram)];
  if (confidence !== undefined) yield ['output:confidence', ofHistogram(confidence)];
  for (const [name, sketch] of Object.entries(signals)) yield [name, { ...sketch, count: valuesIn(sketch), sketch }];
  if (resources !== undefined) yield* machineSignals(resources);
}

function ofHistogram({ counts, ...moments }: Histogram): Moments {
  const missing = counts.at(-1) ?? 0;
  return { ...moments, missing, count: counts.reduce((sum, count) => sum + count, 0) - missing };
}

const levels = {
  processor: 'machine:processor',
  memory: 'machine:memory',
  agentBytes: 'machine:agent_bytes',
  diskFreeBytes: 'machine:disk_free_bytes',
  temperatureC: 'machine:temperature',
} as const satisfies Partial<Record<keyof ResourceUsage, string>>;

/** Every window of a device says the same of its machine: means and extremes stay right, sums would not. */
function* machineSignals(usage: ResourceUsage): Generator<[string, Moments]> {
  const { samples, seconds, receivedBytes, sentBytes, throttled } = usage;
  for (const name of ['processor', 'memory', 'agentBytes', 'diskFreeBytes', 'temperatureC'] as const) {
    const level: Level | undefined = usage[name];
    if (level !== undefined) yield [levels[name], { ...level, missing: 0, sumOfSquares: null }];
  }
  const of = (sum: number, count: number): Moments => ({
    ...{ count, missing: 0, sum, sumOfSquares: null, min: null, max: null },
  });
  if (receivedBytes !== undefined) yield ['machine:received_bytes_per_second', of(receivedBytes, seconds)];
  if (sentBytes !== undefined) yield ['machine:sent_bytes_per_second', of(sentBytes, seconds)];
  if (throttled !== undefined) yield ['machine:throttled', of(throttled, samples)];
}
