// How each metric is read: sums by the database where columns suffice, merged sketches where they do not.
import type { Metric, MetricQuery } from '@edgeloop/shared/api/metrics';
import { QuantileSketchBuilder, quantile } from '@edgeloop/shared/sketches/ddsketch';
import type { History, HistoryQuery, Origin } from './history.ts';
import type { GroupColumn, Grouping, Key, SeriesStore } from './series-store.ts';
import type { Span } from './telemetry-store.ts';
import { bucketOf, coveredSeconds, type TimeBuckets } from './time-buckets.ts';

export type GroupBy = NonNullable<MetricQuery['groupBy']>;

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

export interface MetricScope extends Pick<MetricQuery, 'model' | 'version' | 'groupBy' | 'quantile'> {
  buckets: TimeBuckets;
  /** Undefined: all. */
  devices: string[] | undefined;
}

/** One point of one series; `at` is the beginning of its bucket. */
export interface Cell {
  labels: Record<string, string>;
  at: number;
  value: number | null;
}

interface Sums {
  succeeded: number;
  failed: number;
  invalid: number;
  rows: number;
}

export function createMetricReaders({ history, seriesStore, driftSeries }: ReaderDeps) {
  return function readMetric(metric: Metric, scope: MetricScope): Promise<Cell[]> {
    switch (metric) {
      case 'requests':
        return windowCells(history, scope, requestsOf);
      case 'succeeded':
      case 'failed':
      case 'invalid':
        return windowCells(history, scope, (sums) => sums[metric]);
      case 'rows':
        return scope.groupBy === 'class'
          ? classCells(history, scope)
          : windowCells(history, scope, (sums) => sums.rows);
      case 'throughput':
        return windowCells(history, scope, (sums, at) => requestsOf(sums) / coveredSeconds(scope.buckets, at));
      case 'error_rate':
        return windowCells(history, scope, ({ failed, succeeded }) => ratio(failed, failed + succeeded));
      case 'latency':
        return latencyCells(history, scope);
      case 'confidence':
        return confidenceCells(history, scope);
      case 'labels':
        return labelCells(seriesStore, scope, (sums) => sums.labels);
      case 'accuracy':
        return labelCells(seriesStore, scope, (sums) => ratio(sums.correct, sums.labels));
      case 'lost':
        return lostCells(seriesStore, scope);
      case 'drift':
        return driftCells(driftSeries, scope);
    }
  };
}

async function windowCells(
  history: History,
  scope: MetricScope,
  value: (sums: Sums, at: number) => number | null,
): Promise<Cell[]> {
  const fold = createFold(scope, () => ({ succeeded: 0, failed: 0, invalid: 0, rows: 0 }));
  await history.sums(historyQuery(scope), (share) => {
    const sums = fold.at(share);
    sums.succeeded += share.succeeded;
    sums.failed += share.failed;
    sums.invalid += share.invalid;
    sums.rows += share.rows;
  });
  return fold.cells(value);
}

async function labelCells(
  seriesStore: SeriesStore,
  scope: MetricScope,
  value: (sums: { labels: number; correct: number }) => number | null,
): Promise<Cell[]> {
  const rows = await seriesStore.labelSums(spanOf(scope), groupingOf(scope));
  return rows.map((row) => ({ ...cellOf(row, scope), value: value(row) }));
}

async function lostCells(seriesStore: SeriesStore, scope: MetricScope): Promise<Cell[]> {
  const rows = await seriesStore.lossSums(spanOf(scope), groupingOf(scope));
  return rows.map((row) => ({ ...cellOf(row, scope), value: row.requests }));
}

async function latencyCells(history: History, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => new QuantileSketchBuilder());
  await history.figures(historyQuery(scope), (share) => fold.at(share).merge(share.latency));
  return fold.cells((builder) => quantile(builder.toJSON(), scope.quantile) ?? null);
}

async function confidenceCells(history: History, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => ({ sum: 0, count: 0 }));
  await history.figures(historyQuery(scope), (share) => {
    const { sum, count } = share.confidence;
    if (count === 0) return;
    const mean = fold.at(share);
    mean.sum += sum;
    mean.count += count;
  });
  return fold.cells(({ sum, count }) => ratio(sum, count));
}

/** Rows by predicted class. */
async function classCells(history: History, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => ({ rows: 0 }));
  await history.classes(historyQuery(scope), (share) => {
    for (const [name, count] of Object.entries(share.classes)) fold.at(share, { class: name }).rows += count;
  });
  return fold.cells(({ rows }) => rows);
}

/** Of several judged windows in a bucket the one that drifted most. */
async function driftCells(driftSeries: DriftSeries, scope: MetricScope): Promise<Cell[]> {
  const { model, version, groupBy, buckets } = scope;
  const judged = await driftSeries({ model, version, groupBy, from: buckets.from, to: buckets.to });
  const most = new Map<string, Cell & { value: number }>();
  for (const { labels, at, value } of judged) {
    const cell = { labels, at: bucketOf(buckets, at), value };
    const key = JSON.stringify([labels, cell.at]);
    if (value >= (most.get(key)?.value ?? 0)) most.set(key, cell);
  }
  return [...most.values()];
}

function createFold<A>(scope: MetricScope, empty: () => A) {
  const cells = new Map<string, { labels: Record<string, string>; at: number; state: A }>();
  return {
    at({ model, version, device, at: began }: Origin, more: Record<string, string> = {}): A {
      const at = bucketOf(scope.buckets, began);
      const key = { bucket: at, model, version, device, class: '' };
      const labels = { ...labelsOf(key, scope), ...more };
      const id = JSON.stringify([labels, at]);
      const known = cells.get(id) ?? { labels, at, state: empty() };
      cells.set(id, known);
      return known.state;
    },
    cells: (value: (state: A, at: number) => number | null): Cell[] =>
      [...cells.values()].map(({ labels, at, state }) => ({ labels, at, value: value(state, at) })),
  };
}

function spanOf({ model, version, devices, buckets }: MetricScope): Span {
  return { model, version, devices, from: buckets.from, to: buckets.to };
}

function historyQuery(scope: MetricScope): HistoryQuery {
  return { ...spanOf(scope), ...groupingOf(scope) };
}

function groupingOf(scope: MetricScope): Grouping {
  return { stepMs: scope.buckets.stepMs, columns: columnsOf(scope) };
}

function columnsOf({ groupBy, model }: MetricScope): GroupColumn[] {
  // Version 2 of one model has nothing to do with version 2 of another.
  if (groupBy === 'version' && model === undefined) return ['model', 'version'];
  return groupBy === undefined || groupBy === 'feature' ? [] : [groupBy];
}

function cellOf(key: Key, scope: MetricScope): { labels: Record<string, string>; at: number } {
  return { labels: labelsOf(key, scope), at: scope.buckets.stepMs === undefined ? scope.buckets.from : key.bucket };
}

function labelsOf(key: Key, scope: MetricScope): Record<string, string> {
  if (scope.groupBy === 'class' && key.class === '') return {};
  return Object.fromEntries(columnsOf(scope).map((column) => [column, key[column]]));
}

function requestsOf({ succeeded, failed, invalid }: Sums): number {
  return succeeded + failed + invalid;
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}
