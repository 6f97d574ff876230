// What Prometheus is told, in the form that OpenTelemetry sends: one source of figures, whoever asks.
import { type HrTime, ValueType } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  InstrumentType,
  type MetricData,
  type MetricProducer,
} from '@opentelemetry/sdk-metrics';
import type { MetricObjectWithValues, MetricValue, Registry } from 'prom-client';

type Metric = MetricObjectWithValues<MetricValue<string>>;

export function createPrometheusProducer(registry: Registry, resource: Resource): MetricProducer {
  const startTime = timeOf(performance.timeOrigin);
  return {
    async collect(): Promise<CollectionResult> {
      const endTime = timeOf(Date.now());
      const metrics = await registry.getMetricsAsJSON();
      const data = metrics.flatMap((metric) => dataOf(metric, { startTime, endTime }));
      return {
        resourceMetrics: { resource, scopeMetrics: [{ scope: { name: 'edgeloop' }, metrics: data }] },
        errors: [],
      };
    },
  };
}

interface Times {
  startTime: HrTime;
  endTime: HrTime;
}

/** Summaries have no form there and are left out. */
function dataOf({ name, help, type, values }: Metric, times: Times): MetricData[] {
  const kind = String(type);
  const common = { aggregationTemporality: AggregationTemporality.CUMULATIVE };
  const descriptor = (instrument: InstrumentType) => ({
    ...{ name, description: help, unit: '', type: instrument, valueType: ValueType.DOUBLE, advice: {} },
  });
  if (kind === 'histogram') {
    const dataPoints = histogramsOf(values).map((each) => ({ ...times, ...each }));
    return [
      {
        ...common,
        descriptor: descriptor(InstrumentType.HISTOGRAM),
        dataPointType: DataPointType.HISTOGRAM,
        dataPoints,
      },
    ];
  }
  const dataPoints = values.map(({ labels, value }) => ({ ...times, attributes: textsOf(labels), value }));
  if (kind === 'counter')
    return [
      {
        ...common,
        descriptor: descriptor(InstrumentType.COUNTER),
        dataPointType: DataPointType.SUM,
        isMonotonic: true,
        dataPoints,
      },
    ];
  if (kind === 'gauge')
    return [
      { ...common, descriptor: descriptor(InstrumentType.GAUGE), dataPointType: DataPointType.GAUGE, dataPoints },
    ];
  return [];
}

/** prom-client gives a value for each bucket, with all below it, and for sum and count. */
function histogramsOf(values: Metric['values']) {
  const series = new Map<
    string,
    { attributes: Record<string, string>; sum: number; count: number; upTo: [number, number][] }
  >();
  for (const each of values) {
    const { labels, value } = each;
    const metricName = 'metricName' in each ? String(each.metricName) : '';
    const { le, ...rest } = textsOf(labels);
    const key = JSON.stringify(rest);
    const known = series.get(key) ?? { attributes: rest, sum: 0, count: 0, upTo: [] };
    series.set(key, known);
    if (metricName.endsWith('_sum')) known.sum = value;
    else if (metricName.endsWith('_count')) known.count = value;
    else if (le !== undefined && le !== '+Inf') known.upTo.push([Number(le), value]);
  }
  return [...series.values()].map(({ attributes, sum, count, upTo }) => {
    const below = [0, ...upTo.map(([, all]) => all)];
    const counts = [...upTo.map(([, all]) => all), count].map((all, i) => all - (below[i] ?? 0));
    return { attributes, value: { sum, count, buckets: { boundaries: upTo.map(([bound]) => bound), counts } } };
  });
}

function textsOf(labels: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]));
}

function timeOf(ms: number): HrTime {
  return [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];
}
