// Answers `metrics/query`: picks the reader of a metric, groups, and lays the values out on the time axis.

import { type MetricQuery, type MetricResult, metricUnits, type Series } from '@edgeloop/shared/api/metrics';
import { AppError } from '@edgeloop/shared/errors';
import { parseSelector, type Selector } from '@edgeloop/shared/selector';
import { type Cell, createMetricReaders, type GroupBy, type MetricScope, type ReaderDeps } from './metric-readers.ts';
import { type TimeBuckets, timeBuckets } from './time-buckets.ts';

export interface QueryDeps extends ReaderDeps {
  now: () => number;
  devicesMatching: (selector: Selector) => Promise<ReadonlySet<string>>;
}

const byModel = ['model', 'version', 'device'] as const;
const groupings: Record<MetricQuery['metric'], readonly GroupBy[]> = {
  requests: byModel,
  succeeded: byModel,
  failed: byModel,
  invalid: byModel,
  rows: [...byModel, 'class'],
  throughput: byModel,
  error_rate: byModel,
  latency: byModel,
  confidence: byModel,
  labels: [...byModel, 'class'],
  accuracy: [...byModel, 'class'],
  lost: ['device'],
  drift: ['model', 'version', 'feature'],
};

/** Devices that one query can be limited to, by what a statement takes as parameters. */
const maxDevices = 30_000;
const maxSeries = 1000;

/**
 * Windows that span several buckets count in the one they started in; labels in the one of their prediction; losses
 * when they were reported. Requests are all that were answered, failed or refused as invalid; the error rate leaves the
 * invalid ones out, since those are the caller's fault.
 */
export function createMetricQuery({ now, devicesMatching, ...readerDeps }: QueryDeps) {
  const read = createMetricReaders(readerDeps);

  return async function query(asked: MetricQuery): Promise<MetricResult> {
    checkQuery(asked);
    const buckets = timeBuckets(asked, now());
    const scope: MetricScope = { ...asked, buckets, devices: await devicesOf(asked) };
    const cells = await read(asked.metric, scope);
    return {
      metric: asked.metric,
      unit: metricUnits[asked.metric],
      from: buckets.from,
      to: buckets.to,
      stepSeconds: asked.step ?? (buckets.to - buckets.from) / 1000,
      series: seriesOf(cells, buckets, asked.groupBy),
    };
  };

  async function devicesOf({ device, selector }: MetricQuery): Promise<string[] | undefined> {
    if (selector === undefined) return device === undefined ? undefined : [device];
    const matching = await devicesMatching(parseSelector(selector));
    const devices = device === undefined ? [...matching] : [device].filter((id) => matching.has(id));
    if (devices.length <= maxDevices) return devices;
    throw new AppError(
      'invalid_request',
      `selector: ${devices.length} devices match, at most ${maxDevices} are possible; narrow the selector or leave it out`,
    );
  }
}

function checkQuery({ metric, groupBy, model, device, selector }: MetricQuery): void {
  const possible = groupings[metric];
  if (groupBy !== undefined && !possible.includes(groupBy)) {
    const names = possible.join(', ');
    throw new AppError('invalid_request', `groupBy=${groupBy} does not go with metric=${metric}; use one of ${names}`);
  }
  if (metric === 'lost' && model !== undefined) {
    throw new AppError(
      'invalid_request',
      'model does not go with metric=lost: devices report what they dropped as a whole',
    );
  }
  if (metric === 'drift' && (device !== undefined || selector !== undefined)) {
    throw new AppError(
      'invalid_request',
      'device and selector do not go with metric=drift, which is judged over the fleet; an alert names the devices that moved',
    );
  }
}

function seriesOf(cells: readonly Cell[], { starts }: TimeBuckets, groupBy: GroupBy | undefined): Series[] {
  const series = new Map<string, { labels: Record<string, string>; values: Map<number, number | null> }>();
  if (groupBy === undefined) series.set('{}', { labels: {}, values: new Map() });
  for (const { labels, at, value } of cells) {
    const key = JSON.stringify(labels);
    const known = series.get(key) ?? { labels, values: new Map<number, number | null>() };
    known.values.set(at, value);
    series.set(key, known);
  }
  if (series.size > maxSeries) {
    throw new AppError(
      'invalid_request',
      `groupBy=${groupBy} makes ${series.size} series, at most ${maxSeries} are possible; narrow it by model, device or selector`,
    );
  }
  return [...series.values()].map(({ labels, values }) => ({
    labels,
    points: starts.map((at) => ({ at, value: values.get(at) ?? null })),
  }));
}
