// Reads of metric series over the chosen time range, as tables that a chart can draw.
import { type GroupBy, type Metric, MetricResult, type Series } from '@edgeloop/shared/api/metrics';
import { signal } from '@preact/signals';
import { z } from 'zod';
import { spreadRates } from './chart-table.ts';
import { queryOf, send } from './client.ts';
import { type Query, useFetch } from './queries.ts';

interface TimeRange {
  label: string;
  seconds: number;
  /** Length of one step of a series, seconds. */
  step: number;
}

/** Each gives about a hundred points or fewer. */
export const timeRanges = [
  { label: '5 min', seconds: 300, step: 5 },
  { label: '15 min', seconds: 900, step: 15 },
  { label: '1 h', seconds: 3600, step: 60 },
  { label: '6 h', seconds: 21_600, step: 300 },
  { label: '24 h', seconds: 86_400, step: 900 },
  { label: '7 d', seconds: 604_800, step: 7200 },
] as const satisfies TimeRange[];

/** What all charts show; one choice for the whole page. */
export const timeRange = signal<TimeRange>(timeRanges[1]);

export interface MetricRequest {
  metric: Metric;
  model?: string | undefined;
  version?: number | undefined;
  device?: string | undefined;
  /** Over labels of devices. */
  selector?: string | undefined;
  signal?: string | undefined;
  groupBy?: GroupBy | undefined;
  quantile?: number | undefined;
}

/** Reads several metrics as series with a point per step. */
export function useSeries(requests: MetricRequest[]): Query<MetricResult[]> {
  return useMetrics(requests, timeRange.value, true);
}

/** Reads several metrics as one value for the whole range. */
export function useTotals(requests: MetricRequest[]): Query<MetricResult[]> {
  return useMetrics(requests, timeRange.value, false);
}

function useMetrics(requests: MetricRequest[], range: TimeRange, stepped: boolean): Query<MetricResult[]> {
  return useFetch({
    schema: z.array(MetricResult),
    key: requests.length === 0 ? null : `metrics ${JSON.stringify(requests)}?${range.seconds},${stepped}`,
    load: () => Promise.all(requests.map((request) => readMetric(request, range, stepped))),
    on: ['telemetry'],
    gatherMs: 5000,
  });
}

/**
 * Ranges begin at a step's beginning, so that points stay where they are from one read to the next. A short step is shown
 * when it is over, since devices' windows of a running one are still to come; a long one at once.
 */
function readMetric(request: MetricRequest, range: TimeRange, stepped: boolean): Promise<unknown> {
  const stepMs = range.step * 1000;
  const steps = Date.now() / stepMs;
  const brief = range.step <= 60;
  const end = (brief ? Math.floor(steps) : Math.ceil(steps)) * stepMs;
  const to = brief ? end : Date.now();
  const window = { from: end - range.seconds * 1000, to, step: stepped ? range.step : undefined };
  return send({ method: 'GET', path: `/metrics/query${queryOf({ ...request, ...window })}` });
}

/** Longest gap that is taken for a device's telemetry window, the default of which is a minute. */
export function bridgeSeconds(result: MetricResult | undefined): number {
  return Math.max(120, 2 * (result?.stepSeconds ?? 0));
}

/** The series of a result, throughput as rates over the time that its windows cover. */
export function ratesOf(result: MetricResult | undefined): Series[] {
  const series = result?.series ?? [];
  return result?.metric === 'throughput' ? series.map((each) => spreadRates(each, bridgeSeconds(result))) : series;
}

/** The newest known value of each series, by the value of its group; series without any are left out. */
export function lastValues(result: MetricResult | undefined): { name: string; value: number }[] {
  return (result?.series ?? []).flatMap((series) => {
    const value = series.points.findLast((point) => point.value !== null)?.value ?? null;
    return value === null ? [] : [{ name: groupOf(series), value }];
  });
}

/**
 * What is so now, by the last known value but one of the first series: devices report at different moments, so the last
 * may still lack some of them. Undefined when nothing has been reported for a while.
 */
export function presentValue(result: MetricResult | undefined): number | undefined {
  const [first] = ratesOf(result);
  const since = (result?.to ?? 0) - 1000 * (bridgeSeconds(result) + 60);
  const recent = (first?.points ?? []).filter((point) => point.at >= since);
  const known = recent.flatMap((point) => (point.value === null ? [] : [point.value]));
  return known.at(-2) ?? known.at(-1);
}

/** The value of `groupBy` of a series; empty without one. */
export function groupOf(series: Series): string {
  return Object.values(series.labels)[0] ?? '';
}
