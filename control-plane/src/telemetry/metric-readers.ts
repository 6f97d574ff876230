// How each metric is read: sums by the database where columns suffice, merged sketches where they do not.
import type { Metric, MetricQuery } from '@edgeloop/shared/api/metrics';
import { QuantileSketch, QuantileSketchBuilder, quantile } from '@edgeloop/shared/sketches/ddsketch';
import { Histogram } from '@edgeloop/shared/sketches/histogram';
import { z } from 'zod';
import type { GroupColumn, Grouping, Key, SeriesStore } from './series-store.ts';
import type { BodyOf, Span, TelemetryStore } from './telemetry-store.ts';
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
  store: TelemetryStore;
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

const LatencyOf = z.object({ latencyMs: QuantileSketch });
const ConfidenceOf = z.object({ confidence: Histogram.optional() });
const ClassesOf = z.object({ classes: z.record(z.string(), z.number()) });

export function createMetricReaders({ store, seriesStore, driftSeries }: ReaderDeps) {
  return function readMetric(metric: Metric, scope: MetricScope): Promise<Cell[]> {
    switch (metric) {
      case 'requests':
        return windowCells(seriesStore, scope, requestsOf);
      case 'succeeded':
      case 'failed':
      case 'invalid':
        return windowCells(seriesStore, scope, (sums) => sums[metric]);
      case 'rows':
        return scope.groupBy === 'class'
          ? classCells(store, scope)
          : windowCells(seriesStore, scope, (sums) => sums.rows);
      case 'throughput':
        return windowCells(seriesStore, scope, (sums, at) => requestsOf(sums) / coveredSeconds(scope.buckets, at));
      case 'error_rate':
        return windowCells(seriesStore, scope, ({ failed, succeeded }) => ratio(failed, failed + succeeded));
      case 'latency':
        return latencyCells(store, scope);
      case 'confidence':
        return confidenceCells(store, scope);
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
  seriesStore: SeriesStore,
  scope: MetricScope,
  value: (sums: Sums, at: number) => number | null,
): Promise<Cell[]> {
  const rows = await seriesStore.windowSums(spanOf(scope), groupingOf(scope));
  return rows.map((row) => {
    const cell = cellOf(row, scope);
    return { ...cell, value: value(row, cell.at) };
  });
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

async function latencyCells(store: TelemetryStore, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => new QuantileSketchBuilder());
  for await (const row of store.bodies(spanOf(scope), LatencyOf)) fold.at(row).merge(row.body.latencyMs);
  return fold.cells((builder) => quantile(builder.toJSON(), scope.quantile) ?? null);
}

async function confidenceCells(store: TelemetryStore, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => ({ sum: 0, count: 0 }));
  for await (const row of store.bodies(spanOf(scope), ConfidenceOf)) {
    const { confidence } = row.body;
    if (confidence === undefined) continue;
    const mean = fold.at(row);
    mean.sum += confidence.sum;
    // The last count is of missing values, which the sum leaves out.
    mean.count += confidence.counts.slice(0, -1).reduce((sum, count) => sum + count, 0);
  }
  return fold.cells(({ sum, count }) => ratio(sum, count));
}

/** Rows by predicted class. */
async function classCells(store: TelemetryStore, scope: MetricScope): Promise<Cell[]> {
  const fold = createFold(scope, () => ({ rows: 0 }));
  for await (const row of store.bodies(spanOf(scope), ClassesOf)) {
    for (const [name, count] of Object.entries(row.body.classes)) fold.at(row, { class: name }).rows += count;
  }
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
    at(row: BodyOf<unknown>, more: Record<string, string> = {}): A {
      const at = bucketOf(scope.buckets, row.startedAt);
      const key = { bucket: at, model: row.model, version: String(row.version), device: row.deviceId, class: '' };
      const labels = { ...labelsOf(key, scope), ...more };
      const id = JSON.stringify([labels, at]);
      const known = cells.get(id) ?? { labels, at, state: empty() };
      cells.set(id, known);
      return known.state;
    },
    cells: (value: (state: A) => number | null): Cell[] =>
      [...cells.values()].map(({ labels, at, state }) => ({ labels, at, value: value(state) })),
  };
}

function spanOf({ model, version, devices, buckets }: MetricScope): Span {
  return { model, version, devices, from: buckets.from, to: buckets.to };
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
