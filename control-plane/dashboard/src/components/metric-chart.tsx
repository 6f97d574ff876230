// Charts of metrics over the chosen time range.
import type { Metric, MetricResult } from '@edgeloop/shared/api/metrics';
import { useMemo } from 'preact/hooks';
import { alignSeries } from '../api/chart-table.ts';
import {
  bridgeSeconds,
  groupOf,
  type MetricRequest,
  ratesOf,
  timeRange,
  timeRanges,
  useSeries,
} from '../api/metrics.ts';
import { formatMilliseconds, formatNumber, formatShare } from '../format.ts';
import { Chart, type Line } from './chart.tsx';
import { Card, Loaded } from './layout.tsx';

/** How values of a metric are written. */
const metricFormats: Partial<Record<Metric, (value: number) => string>> = {
  latency: formatMilliseconds,
  error_rate: formatShare,
  accuracy: formatShare,
  confidence: formatShare,
};

interface MetricChartProps {
  title: string;
  /** All of one metric. A request for the median of a latency is drawn dashed. */
  requests: MetricRequest[];
  /** Instants in milliseconds. */
  marks?: { at: number; text: string }[] | undefined;
  /** What its absence means and how to get it. */
  empty: string;
  /** Greatest possible value. */
  ceiling?: number;
}

export function MetricChart(props: MetricChartProps) {
  const query = useSeries(props.requests);
  return (
    <Card title={props.title}>
      <Loaded query={query}>{(results) => <Lines {...props} results={results} />}</Loaded>
    </Card>
  );
}

function Lines(props: MetricChartProps & { results: MetricResult[] }) {
  const { results } = props;
  const drawn = useMemo(() => linesOf(props.requests, results), [results]);
  if (drawn.table.times.length === 0 || drawn.lines.length === 0) {
    return <p class="chart-empty muted">{props.empty}</p>;
  }
  const metric = props.requests[0]?.metric ?? 'requests';
  const marks = (props.marks ?? []).map((mark) => ({ at: mark.at / 1000, text: mark.text }));
  return (
    <Chart
      title={props.title}
      lines={drawn.lines}
      table={drawn.table}
      format={metricFormats[metric] ?? formatNumber}
      marks={marks}
      range={[(results[0]?.from ?? 0) / 1000, (results[0]?.to ?? 0) / 1000]}
      {...(props.ceiling === undefined ? {} : { ceiling: props.ceiling })}
    />
  );
}

function linesOf(requests: MetricRequest[], results: MetricResult[]) {
  const parts = results.flatMap((result, i) =>
    ratesOf(result)
      .filter((series) => series.points.some((point) => point.value !== null))
      .map((series, nth) => ({ series, line: lineOf(requests[i], groupOf(series), nth) })),
  );
  const table = alignSeries(
    parts.map((part) => part.series),
    bridgeSeconds(results[0]),
  );
  return { lines: parts.map((part) => part.line), table };
}

/** A version has the same colour on every chart; other groups take colours in turn. */
function lineOf(request: MetricRequest | undefined, group: string, nth: number): Line {
  const quantile = request?.metric === 'latency' ? `p${Math.round((request.quantile ?? 0.95) * 100)}` : '';
  const name = request?.groupBy === 'version' ? `v${group}` : group;
  const turn = request?.groupBy === 'version' ? Number(group) - 1 : nth;
  return {
    name: [name, quantile].filter((part) => part !== '').join(' ') || (request?.metric ?? '').replace('_', ' '),
    color: `--series-${(turn % 6) + 1}`,
    dashed: quantile === 'p50',
  };
}

/** Chooses how far back all charts look. */
export function RangePicker() {
  return (
    <fieldset class="segments">
      <legend class="unseen">Time range of the charts</legend>
      {timeRanges.map((range) => (
        <button
          key={range.label}
          type="button"
          aria-pressed={timeRange.value === range}
          onClick={() => {
            timeRange.value = range;
          }}
        >
          {range.label}
        </button>
      ))}
    </fieldset>
  );
}
