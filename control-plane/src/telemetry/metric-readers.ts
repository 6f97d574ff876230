// How each metric is read: sums by the database where columns suffice, merged sketches where they do not.
import type { GroupBy, Metric } from '@edgeloop/shared/api/metrics';
import { QuantileSketchBuilder, quantile } from '@edgeloop/shared/sketches/ddsketch';
import { isDeviceGroup, isLabelGroup, labelOf } from './device-groups.ts';
import { type History, type HistoryQuery, inParts, type Origin } from './history.ts';
import { type FoldScope, type Line, SeriesFold } from './series-fold.ts';
import type { GroupColumn, Key, SeriesStore } from './series-store.ts';
import type { Span } from './telemetry-store.ts';
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

export interface MetricScope extends FoldScope {
  model: string | undefined;
  quantiles: readonly number[];
  /** Undefined: all. */
  devices: string[] | undefined;
  now: number;
}

interface Sums {
  succeeded: number;
  failed: number;
  invalid: number;
  rows: number;
}

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
    }
  };
}

async function windowLines(
  history: History,
  scope: MetricScope,
  value: (sums: Sums, at: number) => number | null,
): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ succeeded: 0, failed: 0, invalid: 0, rows: 0 }));
  await history.sums(historyQuery(scope), (share) => {
    const sums = fold.at(share);
    if (sums === undefined) return;
    sums.succeeded += share.succeeded;
    sums.failed += share.failed;
    sums.invalid += share.invalid;
    sums.rows += share.rows;
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
      const sums = fold.at(originOf(row, scope), { class: row.class });
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
  const fold = new SeriesFold(scope, () => new QuantileSketchBuilder());
  await history.figures(historyQuery(scope), (share) => fold.at(share)?.merge(share.latency));
  const { quantiles } = scope;
  return quantiles.flatMap((q) =>
    fold
      .lines((builder) => quantile(builder.toJSON(), q) ?? null)
      .map((line) => (quantiles.length === 1 ? line : { ...line, quantile: q })),
  );
}

async function confidenceLines(history: History, scope: MetricScope): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ sum: 0, count: 0 }));
  await history.figures(historyQuery(scope), (share) => {
    const { sum, count } = share.confidence;
    const mean = count === 0 ? undefined : fold.at(share);
    if (mean === undefined) return;
    mean.sum += sum;
    mean.count += count;
  });
  return fold.lines(({ sum, count }) => ratio(sum, count));
}

/** Rows by predicted class. */
async function classLines(history: History, scope: MetricScope): Promise<Line[]> {
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
  const lines = new Map<string, Line>();
  for (const version of versions === undefined ? [undefined] : [...versions].map(Number)) {
    const judged = await driftSeries({ model, version, groupBy: groupBy.at(-1), from: buckets.from, to: buckets.to });
    for (const { labels, at, value } of judged) {
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

function spanOf({ model, versions, devices, buckets }: MetricScope): Span {
  const [version, more] = [...(versions ?? [])];
  const only = more === undefined && version !== undefined ? Number(version) : undefined;
  return { model, version: only, devices, from: buckets.from, to: buckets.to };
}

function historyQuery(scope: MetricScope): HistoryQuery {
  const { devices, groupBy } = scope;
  const ofDevices = groupBy.filter((group) => group === 'device' || isDeviceGroup(group));
  const [only] = ofDevices;
  // Rollups of a label hold nothing of single devices.
  const byLabel = devices === undefined && ofDevices.length === 1 && only !== undefined && isLabelGroup(only);
  return { ...spanOf(scope), ...groupingOf(scope), label: byLabel ? labelOf(only) : undefined };
}

function groupingOf({ buckets, groupBy, versions }: MetricScope): {
  stepMs: number | undefined;
  columns: GroupColumn[];
} {
  const columns: GroupColumn[] = [];
  if (groupBy.includes('model')) columns.push('model');
  if (groupBy.includes('version') || versions !== undefined) columns.push('version');
  if (groupBy.some((group) => group === 'device' || isDeviceGroup(group))) columns.push('device');
  if (groupBy.includes('class')) columns.push('class');
  return { stepMs: buckets.stepMs, columns };
}

function originOf({ bucket, model, version, device }: Key, { buckets }: MetricScope): Origin {
  return { model, version, device, at: buckets.stepMs === undefined ? buckets.from : bucket };
}

function requestsOf({ succeeded, failed, invalid }: Sums): number {
  return succeeded + failed + invalid;
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}
