// What a reader of metrics is asked: which windows, and how they are put together.
import { isDeviceGroup, isLabelGroup, labelOf } from './device-groups.ts';
import type { HistoryQuery, Origin } from './history.ts';
import type { FoldScope } from './series-fold.ts';
import type { GroupColumn, Key } from './series-store.ts';
import type { Span } from './telemetry-store.ts';

export interface MetricScope extends FoldScope {
  model: string | undefined;
  quantiles: readonly number[];
  /** Undefined: all. */
  signals: ReadonlySet<string> | undefined;
  devices: string[] | undefined;
  now: number;
}

export function spanOf({ model, versions, devices, buckets }: MetricScope): Span {
  const [version, more] = [...(versions ?? [])];
  const only = more === undefined && version !== undefined ? Number(version) : undefined;
  return { model, version: only, devices, from: buckets.from, to: buckets.to };
}

export function historyQuery(scope: MetricScope): HistoryQuery {
  const { devices, groupBy } = scope;
  const ofDevices = groupBy.filter((group) => group === 'device' || isDeviceGroup(group));
  const [only] = ofDevices;
  // Rollups of a label hold nothing of single devices.
  const byLabel = devices === undefined && ofDevices.length === 1 && only !== undefined && isLabelGroup(only);
  return { ...spanOf(scope), ...groupingOf(scope), label: byLabel ? labelOf(only) : undefined };
}

export function groupingOf({ buckets, groupBy, versions }: MetricScope): {
  stepMs: number | undefined;
  columns: GroupColumn[];
} {
  const columns: GroupColumn[] = [];
  if (groupBy.includes('model')) columns.push('model');
  if (groupBy.includes('version') || versions !== undefined) columns.push('version');
  if (groupBy.some((group) => group === 'device' || isDeviceGroup(group))) columns.push('device');
  if (groupBy.includes('class')) columns.push('class');
  if (groupBy.includes('predicted')) columns.push('predicted');
  return { stepMs: buckets.stepMs, columns };
}

export function originOf({ bucket, model, version, device }: Key, { buckets }: MetricScope): Origin {
  return { model, version, device, at: buckets.stepMs === undefined ? buckets.from : bucket };
}

export function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}
