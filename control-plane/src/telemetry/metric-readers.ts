// How each metric is read: sums by the database where columns suffice, merged sketches where they do not.
import type { GroupBy, Metric } from '@edgeloop/shared/api/metrics';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { Window } from '@edgeloop/shared/telemetry';
import { type History, inParts } from './history.ts';
import { groupingOf, historyQuery, type MetricScope, originOf, ratio, spanOf } from './metric-scope.ts';
import { countLines, latencyOf, partLines, partReaders, quantileLines } from './part-readers.ts';
import { confidenceOf } from './rollup.ts';
import { type Line, SeriesFold } from './series-fold.ts';
import type { SeriesStore } from './series-store.ts';
import { readCategories, readSignals } from './signal-readers.ts';
import { bucketOf, coveredSeconds } from './time-buckets.ts';

/** What monitoring knows of drift: a value per judged window. */
export type DriftSeries = (query: {
  model: string | undefined;
  version: number | undefined;
  from: number;
  to: number;
  groupBy: GroupBy | undefined;
}) => Promise<{ labels: Record<string, string>; at: number; value: number }[]>;

export interface ReaderDeps {
  history: History;
  seriesStore: SeriesStore;
  driftSeries: DriftSeries;
}

interface Sums {
  succeeded: number;
  failed: number;
  invalid: number;
  rows: number;
}

const SumsOf = Window.pick({ succeeded: true, failed: true, invalid: true, rows: true });
const ConfidenceOf = Window.pick({ confidence: true, signals: true });
const ClassesOf = Window.pick({ classes: true });
const FailuresOf = Window.pick({ failed: true });

export function createMetricReaders({ history, seriesStore, driftSeries }: ReaderDeps) {
  return async function readMetric(metric: Metric, scope: MetricScope): Promise<Line[]> {
    switch (metric) {
      case 'requests':
        return windowLines(history, scope, requestsOf);
      case 'succeeded':
      case 'invalid':
        return windowLines(history, scope, (sums) => sums[metric]);
      case 'failed':
        return scope.groupBy.includes('kind')
          ? kindLines(history, scope)
          : windowLines(history, scope, (sums) => sums.failed);
      case 'rows':
        return scope.groupBy.includes('class')
          ? classLines(history, scope)
          : windowLines(history, scope, (sums) => sums.rows);
      case 'throughput':
        return windowLines(history, scope, (sums, at) => requestsOf(sums) / coveredSeconds(scope.buckets, at));
      case 'error_rate':
        return windowLines(history, scope, ({ failed, succeeded }) => ratio(failed, failed + succeeded));
      case 'latency':
        return latencyLines(history, scope);
      case 'confidence':
        return confidenceLines(history, scope);
      case 'labels':
        return labelLines(seriesStore, scope, (sums) => sums.labels);
      case 'accuracy':
        return labelLines(seriesStore, scope, (sums) => ratio(sums.correct, sums.labels));
      case 'lost':
        return lostLines(seriesStore, scope);
      case 'drift':
        return driftLines(driftSeries, scope);
      case 'devices':
        return deviceLines(scope);
      case 'signal_mean':
      case 'signal_deviation':
      case 'signal_min':
      case 'signal_max':
      case 'signal_quantile':
      case 'signal_samples':
      case 'missing_rate':
      case 'entropy':
        return readSignals(metric, history, scope);
      case 'categories':
        return readCategories(history, scope);
      default:
        return partReaders[metric](history, scope);
    }
  };
}

async function windowLines(
  history: History,
  scope: MetricScope,
  value: (sums: Sums, at: number) => number | null,
): Promise<Line[]> {
  const empty = (): Sums => ({ succeeded: 0, failed: 0, invalid: 0, rows: 0 });
  const add = (sums: Sums, share: Sums): void => {
    sums.succeeded += share.succeeded;
    sums.failed += share.failed;
    sums.invalid += share.invalid;
    sums.rows += share.rows;
  };
  if (scope.groupBy.includes('variant'))
    return partLines(history, scope, {
      schema: SumsOf,
      empty,
      add: (sums, window) => add(sums, { ...window, failed: Object.values(window.failed).reduce((a, b) => a + b, 0) }),
      value,
    });
  const fold = new SeriesFold(scope, empty);
  await history.sums(historyQuery(scope), (share) => {
    const sums = fold.at(share);
    if (sums !== undefined) add(sums, share);
  });
  return fold.lines(value);
}

async function labelLines(
  seriesStore: SeriesStore,
  scope: MetricScope,
  value: (sums: { labels: number; correct: number }) => number | null,
): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ labels: 0, correct: 0 }));
  await inParts(spanOf(scope), async (span) => {
    for (const row of await seriesStore.labelSums(span, groupingOf(scope))) {
      const sums = fold.at(originOf(row, scope), { class: row.class, predicted: row.predicted });
      if (sums === undefined) continue;
      sums.labels += row.labels;
      sums.correct += row.correct;
    }
  });
  return fold.lines(value);
}

async function lostLines(seriesStore: SeriesStore, scope: MetricScope): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ requests: 0 }));
  await inParts(spanOf(scope), async (span) => {
    for (const row of await seriesStore.lossSums(span, groupingOf(scope))) {
      const sums = fold.at(originOf(row, scope));
      if (sums !== undefined) sums.requests += row.requests;
    }
  });
  return fold.lines(({ requests }) => requests);
}

async function latencyLines(history: History, scope: MetricScope): Promise<Line[]> {
  if (scope.groupBy.includes('variant')) return latencyOf(history, scope);
  const fold = new SeriesFold(scope, () => new QuantileSketchBuilder());
  await history.figures(historyQuery(scope), (share) => fold.at(share)?.merge(share.latency));
  return quantileLines(fold, scope);
}

async function confidenceLines(history: History, scope: MetricScope): Promise<Line[]> {
  const empty = () => ({ sum: 0, count: 0 });
  const add = (mean: { sum: number; count: number }, { sum, count }: { sum: number; count: number }): void => {
    mean.sum += sum;
    mean.count += count;
  };
  const value = ({ sum, count }: { sum: number; count: number }) => ratio(sum, count);
  if (scope.groupBy.includes('variant'))
    return partLines(history, scope, {
      ...{ schema: ConfidenceOf, empty, value },
      add: (mean, window) => add(mean, confidenceOf(window)),
    });
  const fold = new SeriesFold(scope, empty);
  await history.figures(historyQuery(scope), (share) => {
    const mean = share.confidence.count === 0 ? undefined : fold.at(share);
    if (mean !== undefined) add(mean, share.confidence);
  });
  return fold.lines(value);
}

/** Rows by predicted class. */
async function classLines(history: History, scope: MetricScope): Promise<Line[]> {
  if (scope.groupBy.includes('variant'))
    return countLines(history, scope, { schema: ClassesOf, counts: ({ classes }) => classes, group: 'class' });
  const fold = new SeriesFold(scope, () => ({ rows: 0 }));
  await history.classes(historyQuery(scope), (share) => {
    for (const [name, count] of Object.entries(share.classes)) {
      const sums = fold.at(share, { class: name });
      if (sums !== undefined) sums.rows += count;
    }
  });
  return fold.lines(({ rows }) => rows);
}

/** Failed requests by the code of their error. */
async function kindLines(history: History, scope: MetricScope): Promise<Line[]> {
  if (scope.groupBy.includes('variant'))
    return countLines(history, scope, { schema: FailuresOf, counts: ({ failed }) => failed, group: 'kind' });
  const fold = new SeriesFold(scope, () => ({ failed: 0 }));
  await history.failures(historyQuery(scope), (share) => {
    for (const [kind, count] of Object.entries(share.failures)) {
      const sums = count === 0 ? undefined : fold.at(share, { kind });
      if (sums !== undefined) sums.failed += count;
    }
  });
  return fold.lines(({ failed }) => failed);
}

/** Of several judged windows in a bucket the one that drifted most. */
async function driftLines(driftSeries: DriftSeries, scope: MetricScope): Promise<Line[]> {
  const { model, versions, buckets, groupBy } = scope;
  const bySignal = groupBy.includes('signal');
  const asked = bySignal ? 'feature' : groupBy.at(-1);
  const lines = new Map<string, Line>();
  for (const version of versions === undefined ? [undefined] : [...versions].map(Number)) {
    const judged = await driftSeries({ model, version, groupBy: asked, from: buckets.from, to: buckets.to });
    for (const { labels: told, at, value } of judged) {
      const labels: Record<string, string> = bySignal ? { signal: told.feature ?? '' } : told;
      const key = JSON.stringify(labels);
      const line = lines.get(key) ?? { labels, values: new Map<number, number | null>() };
      lines.set(key, line);
      const bucket = bucketOf(buckets, at);
      line.values.set(bucket, Math.max(value, line.values.get(bucket) ?? 0));
    }
  }
  return [...lines.values()];
}

/** How many devices there are now, in the step that is now: what they were is not kept. */
async function deviceLines(scope: MetricScope): Promise<Line[]> {
  const { buckets, devices, now } = scope;
  const fold = new SeriesFold(scope, () => ({ devices: 0 }));
  const at = Math.min(now, buckets.to - 1);
  if (now < buckets.from || now > buckets.to) return [];
  const wanted = devices === undefined ? undefined : new Set(devices);
  for (const id of scope.known.keys()) {
    const counted =
      wanted === undefined || wanted.has(id) ? fold.at({ model: '', version: '', device: id, at }) : undefined;
    if (counted !== undefined) counted.devices += 1;
  }
  return fold.lines((counted) => counted.devices);
}

function requestsOf({ succeeded, failed, invalid }: Sums): number {
  return succeeded + failed + invalid;
}
