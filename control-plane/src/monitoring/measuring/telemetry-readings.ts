// Readings of telemetry, asked in the query language: one or two questions a rule, three or four for those that compare with the
// past, whatever the number of groups. Rollups answer them, no window body is read.
import type { MetricRule } from '@edgeloop/shared/api/alert-rules';
import { MetricQuery, type MetricResult, type Series } from '@edgeloop/shared/api/metrics';
import { AppError, parse } from '@edgeloop/shared/errors';
import type { FleetFigures } from '../alerts/fleet-figures.ts';
import { pastOf, pastSteps, type Step, silenceOf } from './past.ts';
import { type Reading, subjectOf } from './reading.ts';
import { type ReadPast, type UnlikeCondition, withUnlike } from './unlike.ts';

type Query = (asked: MetricQuery) => Promise<MetricResult>;
interface Range {
  from: number;
  to: number;
  step?: number;
}

interface Asking {
  query: Query;
  rule: MetricRule;
  now: number;
  /** Since when this server hears of devices without a break. */
  listeningSince: number;
  fleet: Pick<FleetFigures, 'devices'>;
}

/** What a value is made of, by metric: the sum of these, asked in the same groups. Invalid requests are the caller's fault. */
const evidenceMetrics: Readonly<Record<string, readonly MetricQuery['metric'][]>> = {
  error_rate: ['succeeded', 'failed'],
  latency: ['succeeded'],
  queue_wait: ['succeeded'],
  batch_rows: ['succeeded'],
  confidence: ['succeeded'],
  entropy: ['succeeded'],
  accuracy: ['labels'],
  absolute_error: ['labels'],
  rms_error: ['labels'],
  signal_mean: ['signal_samples'],
  signal_deviation: ['signal_samples'],
  signal_min: ['signal_samples'],
  signal_max: ['signal_samples'],
  signal_quantile: ['signal_samples'],
  missing_rate: ['signal_samples'],
  shadow_agreement: ['shadow_compared'],
  shadow_difference: ['shadow_compared'],
  shadow_latency: ['shadow_compared'],
};
const shares: ReadonlySet<string> = new Set(['error_rate', 'accuracy', 'missing_rate', 'shadow_agreement']);
/** Where nothing came, they are 0. */
const counts: ReadonlySet<string> = new Set([
  ...['requests', 'succeeded', 'failed', 'invalid', 'rows', 'throughput', 'labels', 'lost'],
]);

/** @throws AppError `invalid_request` naming the part of the rule that cannot be asked for */
export async function readTelemetry(asking: Asking): Promise<Reading[]> {
  const { rule, now } = asking;
  const { condition, overSeconds, widenToSeconds } = rule;
  if (condition.is === 'absent') return readSilence(asking, condition.lookbackSeconds);
  if (condition.is === 'unlike') return readUnlike(asking, condition);
  const readings = await measured(asking, { from: now - overSeconds * 1000, to: now });
  const wide =
    widenToSeconds === undefined || readings.every((each) => !isShort(rule, each))
      ? []
      : await measured(asking, { from: now - widenToSeconds * 1000, to: now });
  const widened = readings.map((each) => (isShort(rule, each) ? (wide.find(isSame(each)) ?? each) : each));
  const older = wide.filter((each) => !readings.some(isSame(each)));
  const all = [...widened, ...older];
  if (condition.is === 'above_past' || condition.is === 'below_past')
    return withPast(asking, all, condition.lookbackSeconds);
  return condition.is === 'below' && counts.has(rule.metric) ? withSilentGroups(asking, all) : all;
}

/** Of the last whole step, as those of the past are, and as rollups have it: of each device single windows would be far more. */
async function readUnlike(asking: Asking, condition: UnlikeCondition): Promise<Reading[]> {
  const { query, rule } = asking;
  const stepMs = rule.overSeconds * 1000;
  const now = asking.now - (asking.now % stepMs);
  const readings = await measured(asking, { from: now - stepMs, to: now });
  const past: ReadPast = async (range, device = rule.device) =>
    (await query(questionOf({ ...rule, device }, rule.metric, range))).series;
  const empty = counts.has(rule.metric) ? 0 : Number.NaN;
  return withUnlike({ ...asking, now, condition, past, empty }, readings);
}

/** What the rule asks, without an answer. @throws AppError `invalid_request` */
export async function checkAskable({ query, rule, now }: Omit<Asking, 'listeningSince' | 'fleet'>): Promise<void> {
  const { condition, groupBy } = rule;
  if (condition.is === 'unlike' && condition.of !== 'past' && groupBy !== 'device')
    throw new AppError(
      'invalid_request',
      'groupBy: devices are compared with their peers; use groupBy=device, or of=past',
    );
  const range = { from: now - 1, to: now };
  await query(questionOf(rule, rule.metric, range));
  for (const of of evidenceMetrics[rule.metric] ?? []) await query(questionOf(rule, of, range));
}

/** The same value of each device, of what a reading is about. */
export async function readByDevice({ query, rule, now }: Asking, reading: Reading): Promise<Reading[]> {
  const { model = rule.model, version = rule.version } = reading.labels;
  const seconds = rule.widenToSeconds ?? rule.overSeconds;
  const narrowed = { ...rule, model, version: version === undefined ? undefined : Number(version), groupBy: 'device' };
  return measured({ query, rule: narrowed }, { from: now - seconds * 1000, to: now });
}

async function measured({ query, rule }: Pick<Asking, 'query' | 'rule'>, range: Range): Promise<Reading[]> {
  const isShare = shares.has(rule.metric);
  const { series } = await query(questionOf(rule, rule.metric, range));
  const evidence = await evidenceOf({ query, rule }, range);
  return series.map(({ labels, points }) => {
    const value = points[0]?.value ?? (counts.has(rule.metric) ? 0 : null);
    return { ...{ labels, value, isShare, devices: [], detail: '' }, evidence: evidence?.(labels, 0) ?? null };
  });
}

/** How much each value is made of, by labels and point; undefined where any counts. */
async function evidenceOf(
  { query, rule }: Pick<Asking, 'query' | 'rule'>,
  range: Range,
): Promise<((labels: Series['labels'], point: number) => number) | undefined> {
  const metrics = evidenceMetrics[rule.metric];
  if (metrics === undefined) return undefined;
  const parts: Map<string, Series>[] = [];
  for (const metric of metrics) parts.push(seriesBySubject((await query(questionOf(rule, metric, range))).series));
  return (labels, point) => {
    const subject = subjectOf(labels);
    return parts.reduce((sum, part) => sum + (part.get(subject)?.points[point]?.value ?? 0), 0);
  };
}

async function withPast(asking: Asking, readings: readonly Reading[], lookback: number): Promise<Reading[]> {
  const { query, rule, now } = asking;
  const to = now - rule.overSeconds * 1000;
  const step = Math.max(1, Math.ceil(lookback / pastSteps));
  const range = { from: Math.max(0, to - lookback * 1000), to, step };
  const { series } = await query(questionOf(rule, rule.metric, range));
  const evidence = await evidenceOf(asking, range);
  const stepsOf = ({ labels, points }: Series): Step[] =>
    points.map(({ at, value }, i) => ({ at, value, evidence: evidence?.(labels, i) ?? null }));
  return readings.map((reading) => {
    const own = series.find(({ labels }) => subjectOf(labels) === subjectOf(reading.labels));
    const beside = series
      .filter(({ labels }) => isOtherVersion(labels, reading.labels))
      .map((each) => ({ name: `version ${each.labels.version}`, steps: stepsOf(each) }));
    return { ...reading, past: pastOf(own === undefined ? [] : stepsOf(own), beside, rule.minEvidence) };
  });
}

function isOtherVersion(labels: Series['labels'], own: Reading['labels']): boolean {
  if (labels.version === undefined || labels.version === own.version) return false;
  return subjectOf({ ...labels, version: '' }) === subjectOf({ ...own, version: '' });
}

/** Groups that were there within a day and now are not: 0 is below any bound, too. */
async function withSilentGroups({ query, rule, now }: Asking, readings: Reading[]): Promise<Reading[]> {
  if (rule.groupBy === undefined) return readings;
  const known = await measured({ query, rule }, { from: now - 86_400_000, to: now });
  const silent = known.filter((each) => !readings.some(isSame(each)));
  return [...readings, ...silent.map((each) => ({ ...each, value: 0 }))];
}

/** Steps that a query can have. */
const mostSteps = 2000;

async function readSilence(asking: Asking, lookback: number): Promise<Reading[]> {
  const { query, rule, now, listeningSince } = asking;
  const step = Math.max(rule.overSeconds, Math.ceil(lookback / mostSteps));
  const range = { from: Math.max(0, now - lookback * 1000), to: now, step };
  const { series } = await query(questionOf(rule, rule.metric, range));
  return series.map(({ labels, points }) => ({
    ...{ labels, value: null, evidence: null, isShare: false, devices: [], detail: '' },
    silence: silenceOf(points, { stepMs: step * 1000, now, listeningSince }),
  }));
}

function questionOf(rule: MetricRule, metric: string, range: Range): MetricQuery {
  const { model, version, selector, device, signal, groupBy, quantile } = rule;
  const asked = { metric, model, version, selector, device, signal, groupBy, quantile, step: range.step };
  return parse(MetricQuery, { ...asked, from: String(Math.max(0, range.from)), to: String(range.to) }, 'rule');
}

function seriesBySubject(series: readonly Series[]): Map<string, Series> {
  return new Map(series.map((each) => [subjectOf(each.labels), each]));
}

function isShort({ minEvidence }: MetricRule, { evidence, value }: Reading): boolean {
  return value === null || (evidence !== null && evidence < minEvidence);
}

function isSame({ labels }: Reading): (other: Reading) => boolean {
  const subject = subjectOf(labels);
  return (other) => subjectOf(other.labels) === subject;
}
