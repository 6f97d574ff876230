// Judges a reading by its rule's condition. Pure.
import type { MetricCondition, MetricRule } from '@edgeloop/shared/api/alert-rules';
import { ruleUnits } from '@edgeloop/shared/api/alert-rules';
import { wilson } from '../statistics/accuracy.ts';
import type { Verdict } from '../statistics/drift.ts';
import type { Reading } from './reading.ts';

export interface MeasuredVerdict {
  verdict: Verdict;
  value: number | null;
  /** What the value is held against. */
  bound: number | null;
  /** What it was before. */
  baseline: number | null;
  summary: string;
}

type Rule = Pick<MetricRule, 'metric' | 'condition' | 'minEvidence' | 'overSeconds' | 'quantile'>;

/** Steps with traffic from which on a pause says something, and by how much a pause must be longer than any before. */
const fewestSteps = 4;
const longerPause = 1.5;

/** `baseline`: of an alert that is open: what was normal when it began is not forgotten while it lasts. */
export function judgeReading(rule: Rule, reading: Reading, baseline: number | null = null): MeasuredVerdict {
  const { condition } = rule;
  if (condition.is === 'absent') return judgeSilence(rule, reading);
  if (condition.is === 'unlike') return judgeUnlike(rule, condition, reading);
  const { value, evidence } = reading;
  const past = baseline ?? reading.past?.value ?? null;
  const bounds = boundsOf(condition, past);
  const known = { value, bound: bounds?.bound ?? null, baseline: bounds === undefined ? null : past };
  const short = (why: string): MeasuredVerdict => ({ ...known, verdict: 'insufficient', summary: why });
  if (value === null) return short('there is nothing to measure');
  if (evidence !== null && evidence < rule.minEvidence)
    return short(`${evidence} are too few to judge, at least ${rule.minEvidence} must be there`);
  if (bounds === undefined) return short('there is nothing before it to compare with');
  const { low, high } = intervalOf(reading, value);
  const beyond = bounds.side === 'above' ? low > bounds.bound : high < bounds.bound;
  const calm = bounds.side === 'above' ? value <= bounds.clear : value >= bounds.clear;
  const verdict = beyond ? 'suspicious' : calm ? 'calm' : 'unsettled';
  return { ...known, verdict, summary: summaryOf(rule, reading, { ...bounds, value, past }) };
}

interface Bounds {
  side: 'above' | 'below';
  bound: number;
  clear: number;
}

function boundsOf(
  condition: Exclude<MetricCondition, { is: 'absent' | 'unlike' }>,
  past: number | null,
): Bounds | undefined {
  if (condition.is === 'above' || condition.is === 'below') {
    const { is, bound, clear = bound } = condition;
    return { side: is, bound, clear };
  }
  if (past === null) return undefined;
  const { ratio, clearRatio = 1 + (ratio - 1) * 0.6, minDifference } = condition;
  return condition.is === 'above_past'
    ? { side: 'above', bound: Math.max(past * ratio, past + minDifference), clear: past * clearRatio }
    : { side: 'below', bound: Math.min(past * ratio, past - minDifference), clear: past * clearRatio };
}

/** Of a share the interval of 95 % in which it lies, of anything else itself. */
function intervalOf({ isShare, evidence }: Reading, value: number): { low: number; high: number } {
  if (!isShare || evidence === null) return { low: value, high: value };
  return wilson(value * evidence, evidence);
}

/** Back within so much of what makes an anomaly it is none. */
const calmShare = 0.6;

function judgeUnlike(
  rule: Rule,
  { deviations, side, minDifference }: Extract<MetricCondition, { is: 'unlike' }>,
  { value, evidence, unlike }: Reading,
): MeasuredVerdict {
  const nothing = { verdict: 'insufficient', value, bound: null, baseline: null } as const;
  if (value === null) return { ...nothing, summary: 'there is nothing to measure' };
  if (evidence !== null && evidence < rule.minEvidence)
    return { ...nothing, summary: `${evidence} are too few to judge, at least ${rule.minEvidence} must be there` };
  if (unlike === undefined) return { ...nothing, summary: 'there are too few peers, and its past is too short' };
  const { score, expected, of } = unlike;
  const isAsked = side === 'either' || score > 0 === (side === 'above');
  const far = isAsked && Math.abs(value - expected) >= minDifference ? Math.abs(score) : 0;
  const verdict = far >= deviations ? 'suspicious' : far <= deviations * calmShare ? 'calm' : 'unsettled';
  const away = `${Math.abs(score).toFixed(1)} deviations ${score > 0 ? 'above' : 'below'}`;
  const say = (number: number) => inUnit(rule.metric, number);
  const summary = `${nameOf(rule)} is ${say(value)} over ${duration(rule.overSeconds)}, ${away} the ${say(expected)} of ${of}`;
  // From its score the distance that would be too far.
  const bound = score === 0 ? null : expected + ((value - expected) / Math.abs(score)) * deviations;
  return { verdict, value, bound, baseline: expected, summary };
}

function judgeSilence(rule: Rule, { silence }: Reading): MeasuredVerdict {
  if (silence === undefined || silence.activeSteps < fewestSteps || silence.total < rule.minEvidence) {
    const why = 'it answered too little before to tell a pause from silence';
    return { verdict: 'insufficient', value: null, bound: null, baseline: null, summary: why };
  }
  const { silentMs, longestPauseMs } = silence;
  const boundMs = Math.max(rule.overSeconds * 1000, longestPauseMs * longerPause);
  const summary =
    silentMs === 0
      ? 'requests come in'
      : `no request for ${duration(silentMs / 1000)}; before, no pause was longer than ${duration(longestPauseMs / 1000)}`;
  const verdict = silentMs >= boundMs ? 'suspicious' : silentMs < rule.overSeconds * 1000 ? 'calm' : 'unsettled';
  return { verdict, value: silentMs / 1000, bound: boundMs / 1000, baseline: longestPauseMs / 1000, summary };
}

function summaryOf(
  rule: Rule,
  reading: Reading,
  { side, bound, value, past }: Bounds & { value: number; past: number | null },
): string {
  const say = (number: number) => inUnit(rule.metric, number);
  const of = reading.evidence === null ? '' : ` of ${reading.evidence}`;
  const held = rule.condition.is.endsWith('_past') && past !== null;
  const before = held ? `, ${say(past)} before${reading.past === undefined ? '' : ` (${reading.past.of})`}` : '';
  const more = reading.detail === '' ? '' : `; ${reading.detail}`;
  return `${nameOf(rule)} is ${say(value)}${of} over ${duration(rule.overSeconds)}, bound ${side} ${say(bound)}${before}${more}`;
}

function nameOf({ metric, quantile }: Rule): string {
  const name = metric.replaceAll('_', ' ');
  return metric === 'latency' ? `${name} (quantile ${quantile})` : name;
}

function inUnit(metric: string, value: number): string {
  const unit = ruleUnits[metric] ?? '';
  if (unit === 'ratio') return `${(100 * value).toFixed(1)} %`;
  if (unit === 's') return duration(value);
  return `${Number(value.toPrecision(4))} ${unit}`;
}

function duration(seconds: number): string {
  const rounded = Math.round(seconds);
  const units: [number, string][] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
  ];
  for (const [size, name] of units) if (rounded >= 2 * size) return `${Number((rounded / size).toFixed(1))} ${name}`;
  return `${rounded} s`;
}
