// Answers `metrics/query`: picks the reader of a metric, groups, and lays the values out on the time axis.
import {
  type GroupBy,
  isQuantileMetric,
  type MetricQuestion,
  type MetricResult,
  metricUnits,
  type Series,
} from '@edgeloop/shared/api/metrics';
import { AppError } from '@edgeloop/shared/errors';
import { parseSelector, type Selector } from '@edgeloop/shared/selector';
import { isLabelGroup, type KnownDevices } from './device-groups.ts';
import { createMetricReaders, type ReaderDeps } from './metric-readers.ts';
import type { MetricScope } from './metric-scope.ts';
import type { Line } from './series-fold.ts';
import { shifted, type TimeBuckets, timeBuckets } from './time-buckets.ts';

export interface QueryDeps extends ReaderDeps {
  now: () => number;
  devicesMatching: (selector: Selector) => Promise<ReadonlySet<string>>;
  /** Devices with what they are now. */
  knownDevices: () => Promise<KnownDevices>;
}

type Metric = MetricQuestion['metric'];

/** Values of `groupBy` for each metric; `label:` stands for any label. */
const ofDevices = ['device', 'hardware', 'status', 'label:'] as const;
const byModel = ['model', 'version', ...ofDevices] as const;
const byVariant = [...byModel, 'variant'] as const;
const bySignal = [...byVariant, 'signal'] as const;
const groupings: Record<Metric, readonly GroupBy[]> = {
  requests: byVariant,
  succeeded: byVariant,
  failed: [...byVariant, 'kind'],
  invalid: byVariant,
  rows: [...byVariant, 'class'],
  throughput: byVariant,
  error_rate: byVariant,
  latency: byVariant,
  queue_wait: byVariant,
  batch_rows: byVariant,
  confidence: byVariant,
  entropy: byVariant,
  labels: [...byModel, 'class', 'predicted'],
  accuracy: [...byModel, 'class', 'predicted'],
  absolute_error: byModel,
  rms_error: byModel,
  signal_mean: bySignal,
  signal_deviation: bySignal,
  signal_min: bySignal,
  signal_max: bySignal,
  signal_quantile: bySignal,
  signal_samples: bySignal,
  missing_rate: bySignal,
  categories: [...bySignal, 'class'],
  shadow_compared: byVariant,
  shadow_agreement: byVariant,
  shadow_difference: byVariant,
  shadow_latency: byVariant,
  shadow_former_latency: byVariant,
  shadow_failed: [...byVariant, 'kind'],
  shadow_skipped: byVariant,
  lost: ofDevices,
  drift: ['model', 'version', 'feature', 'signal'],
  devices: ofDevices,
};
/** What has no meaning over several signals together. */
const ofOneSignal: ReadonlySet<Metric> = new Set([
  ...(['signal_mean', 'signal_deviation', 'signal_min', 'signal_max', 'signal_quantile', 'categories'] as const),
]);

/** Devices that one query can be limited to, by what a statement takes as parameters. */
const maxDevices = 30_000;
/** Of all series of an answer, those without a value too. */
const maxPoints = 500_000;
/** Queries that run or wait for others; each holds its series in memory. */
const maxAtOnce = 64;

/**
 * Windows that span several buckets count in the one they started in; labels in the one of their prediction; losses
 * when they were reported. Requests are all that were answered, failed or refused as invalid; the error rate leaves the
 * invalid ones out, since those are the caller's fault.
 */
export function createMetricQuery({ now, devicesMatching, knownDevices, ...readerDeps }: QueryDeps) {
  const read = createMetricReaders(readerDeps);
  let atOnce = 0;

  return async function query(asked: MetricQuestion): Promise<MetricResult> {
    const groupBy = groupsOf(asked);
    checkQuery(asked, groupBy);
    if (atOnce >= maxAtOnce)
      throw new AppError('too_many_requests', `${maxAtOnce} queries of metrics are under way`, {
        retryAfterSeconds: 1,
      });
    atOnce++;
    try {
      return await answer(asked, groupBy);
    } finally {
      atOnce--;
    }
  };

  async function answer(asked: MetricQuestion, groupBy: readonly GroupBy[]): Promise<MetricResult> {
    const at = now();
    const buckets = timeBuckets(asked, at);
    const versions = asked.version === undefined ? undefined : new Set([asked.version].flat().map(String));
    const known = await knownDevices();
    const of = { model: asked.model, versions, groupBy, known, quantiles: [asked.quantile ?? 0.95].flat(), now: at };
    const signals = asked.signal === undefined ? undefined : new Set(asked.signal);
    const scope: MetricScope = { ...of, signals, buckets, devices: await devicesOf(asked) };
    const series = seriesOf(await read(asked.metric, scope), scope, asked);
    for (const { text, ms } of asked.compare ?? []) {
      const earlier = { ...scope, buckets: shifted(buckets, ms) };
      for (const each of seriesOf(await read(asked.metric, earlier), earlier, asked))
        series.push({ ...each, compare: text, points: each.points.map((point) => ({ ...point, at: point.at + ms })) });
    }
    checkPoints(series, asked, groupBy);
    const stepSeconds = (buckets.stepMs ?? buckets.to - buckets.from) / 1000;
    const { from, to } = buckets;
    return { metric: asked.metric, unit: metricUnits[asked.metric], from, to, stepSeconds, series };
  }

  async function devicesOf({ device, selector }: MetricQuestion): Promise<string[] | undefined> {
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

function groupsOf({ groupBy, model }: MetricQuestion): GroupBy[] {
  const groups = groupBy === undefined ? [] : [groupBy].flat();
  // Version 2 of one model has nothing to do with version 2 of another.
  const needsModel = model === undefined && groups.includes('version') && !groups.includes('model');
  return needsModel ? groups.flatMap((group) => (group === 'version' ? ['model', group] : [group])) : groups;
}

function checkQuery(
  { metric, model, version, device, selector, signal, compare }: MetricQuestion,
  groupBy: readonly GroupBy[],
): void {
  const possible = groupings[metric];
  for (const group of groupBy) {
    if (possible.includes(isLabelGroup(group) ? 'label:' : group)) continue;
    const names = possible.map((name) => (name === 'label:' ? 'label:KEY' : name)).join(', ');
    throw new AppError('invalid_request', `groupBy=${group} does not go with metric=${metric}; use one of ${names}`);
  }
  checkSignal(metric, signal, groupBy);
  const ofFleet = metric === 'lost' || metric === 'devices';
  const named = model !== undefined ? 'model' : version !== undefined ? 'version' : undefined;
  if (ofFleet && named !== undefined)
    throw new AppError(
      'invalid_request',
      `${named} does not go with metric=${metric}: ${metric === 'lost' ? 'devices report what they dropped as a whole' : 'it counts devices as a whole'}`,
    );
  if (metric === 'devices' && compare !== undefined)
    throw new AppError('invalid_request', 'compare does not go with metric=devices: how many there were is not kept');
  if (metric === 'drift') checkDrift({ device, selector }, groupBy);
}

function checkSignal(metric: Metric, signal: MetricQuestion['signal'], groupBy: readonly GroupBy[]): void {
  if (signal !== undefined && !groupings[metric].includes('signal'))
    throw new AppError('invalid_request', `signal does not go with metric=${metric}; use metric=signal_mean`);
  if (signal !== undefined && metric === 'drift')
    throw new AppError('invalid_request', 'signal does not go with metric=drift; use groupBy=signal');
  if (ofOneSignal.has(metric) && signal?.length !== 1 && !groupBy.includes('signal'))
    throw new AppError('invalid_request', `metric=${metric} is of one signal: use signal=NAME or groupBy=signal`);
}

function checkDrift(
  { device, selector }: Pick<MetricQuestion, 'device' | 'selector'>,
  groupBy: readonly GroupBy[],
): void {
  if (device !== undefined || selector !== undefined)
    throw new AppError(
      'invalid_request',
      'device and selector do not go with metric=drift, which is judged over the fleet; an alert names the devices that moved',
    );
  if (groupBy.filter((group) => group !== 'model').length > 1)
    throw new AppError(
      'invalid_request',
      `groupBy=${groupBy.join(',')}: metric=drift takes feature or version, not both`,
    );
}

function seriesOf(lines: readonly Line[], { buckets, groupBy }: MetricScope, asked: MetricQuestion): Series[] {
  const shown = lines.length === 0 && groupBy.length === 0 ? emptyLines(asked) : lines;
  checkSize(shown.length, buckets, { asked, groupBy });
  return shown.map(({ labels, quantile, values }) => ({
    labels,
    ...(quantile === undefined ? {} : { quantile }),
    points: buckets.starts.map((at) => ({ at, value: values.get(at) ?? null })),
  }));
}

function emptyLines({ metric, quantile }: MetricQuestion): Line[] {
  const quantiles = isQuantileMetric(metric) ? [quantile ?? 0.95].flat() : [];
  if (quantiles.length < 2) return [{ labels: {}, values: new Map() }];
  return quantiles.map((each) => ({ labels: {}, quantile: each, values: new Map() }));
}

function checkPoints(series: readonly Series[], asked: MetricQuestion, groupBy: readonly GroupBy[]): void {
  const steps = series[0]?.points.length ?? 0;
  checkSize(series.length, { starts: { length: steps } }, { asked, groupBy });
}

/** Before they are laid out, since that is what takes the memory. */
function checkSize(
  lines: number,
  { starts }: { starts: Pick<TimeBuckets['starts'], 'length'> },
  { asked, groupBy }: { asked: MetricQuestion; groupBy: readonly GroupBy[] },
): void {
  const points = lines * starts.length;
  if (points <= maxPoints) return;
  throw new AppError(
    'invalid_request',
    `step=${asked.step ?? 'auto'}, groupBy=${groupBy.join(',')}: ${lines} series of ${starts.length} points are ${points}, at most ${maxPoints} are possible; use maxPoints=${Math.max(1, Math.floor(maxPoints / lines))} or narrow it by model, device or selector`,
  );
}
