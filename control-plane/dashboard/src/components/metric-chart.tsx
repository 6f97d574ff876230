// Charts of metrics over the chosen time range.
import { isQuantileMetric, type Metric, type MetricResult, type Series } from '@edgeloop/shared/api/metrics';
import { useMemo } from 'preact/hooks';
import { alignSeries } from '../api/chart-table.ts';
import { chosenGroup, selectorText, underChoice } from '../api/chart-view.ts';
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
  entropy: formatShare,
  missing_rate: formatShare,
  queue_wait: formatMilliseconds,
  shadow_agreement: formatShare,
};

/** More lines than these nobody can tell apart: those with the highest values are drawn. */
const mostLines = 12;

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
  /** Of the devices and told apart as it was chosen for all charts. */
  chosen?: boolean;
}

export function MetricChart(props: MetricChartProps) {
  const choice = { text: selectorText.value, group: chosenGroup.value };
  const requests = props.chosen === true ? props.requests.map((each) => underChoice(each, choice)) : props.requests;
  const query = useSeries(requests);
  const found = (query.data ?? []).reduce((most, { series }) => Math.max(most, series.length), 0);
  return (
    <Card title={props.title} note={found > mostLines ? `the highest ${mostLines} of ${found}` : ''}>
      <Loaded query={query}>{(results) => <Lines {...props} requests={requests} results={results} />}</Loaded>
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
    highest(ratesOf(result).filter((series) => series.points.some((point) => point.value !== null))).map(
      (series, nth) => ({ series, line: lineOf(requests[i], groupOf(series), nth) }),
    ),
  );
  const table = alignSeries(
    parts.map((part) => part.series),
    bridgeSeconds(results[0]),
  );
  return { lines: parts.map((part) => part.line), table };
}

function highest(series: Series[]): Series[] {
  if (series.length <= mostLines) return series;
  const top = ({ points }: Series) => points.reduce((most, { value }) => Math.max(most, value ?? most), -Infinity);
  const drawn = new Set([...series].sort((a, b) => top(b) - top(a)).slice(0, mostLines));
  return series.filter((each) => drawn.has(each));
}

/** A version has the same colour on every chart; other groups take colours in turn. */
function lineOf(request: MetricRequest | undefined, group: string, nth: number): Line {
  const quantile =
    request !== undefined && isQuantileMetric(request.metric) ? `p${Math.round((request.quantile ?? 0.95) * 100)}` : '';
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
