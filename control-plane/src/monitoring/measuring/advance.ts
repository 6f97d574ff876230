// What becomes of the open alerts of a rule by what was measured: pure, so that it can be done again inside the transaction that
// writes it.
import type { AlertRule, MetricRule } from '@edgeloop/shared/api/alert-rules';
import type { Alert } from '@edgeloop/shared/api/alerts';
import { replacementText } from '../alerts/alert-driver.ts';
import { ended, fired, fresh, opened, stale, withPoint } from '../alerts/alert-record.ts';
import type { AlertRecord } from '../alerts/alert-store.ts';
import { type FleetFigures, rolloutsOf } from '../alerts/fleet-figures.ts';
import type { Replacement } from '../alerts/replacement.ts';
import { nextMeasuredStep } from './measured-state.ts';
import { type Reading, subjectOf } from './reading.ts';
import { judgeReading, type MeasuredVerdict } from './verdict.ts';

export interface MeasuredRule extends AlertRule {
  spec: MetricRule;
}

export interface Measurement {
  rule: MeasuredRule;
  readings: readonly Reading[];
  /** What is not among the readings any more is well, or no longer there: so it is with figures of the fleet. */
  absentIsCalm: boolean;
  fleet: FleetFigures;
  /** By subject: which devices show it. */
  scopes: ReadonlyMap<string, Alert['scope']>;
  /** By `model version`: what answers instead. */
  replaced: ReadonlyMap<string, Replacement>;
  now: number;
}

export interface Advanced {
  changed: { before: AlertRecord | undefined; after: AlertRecord }[];
  insufficient: number;
  leftOut: number;
}

/** Alerts that a rule has open at most. */
const mostOpen = 200;

export function advance(measurement: Measurement, open: readonly AlertRecord[]): Advanced {
  const { rule, readings } = measurement;
  const bySubject = new Map(open.map((alert) => [alert.subject, alert]));
  const result: Advanced = { changed: [], insufficient: 0, leftOut: 0 };
  let count = open.length;
  for (const reading of readings) {
    const subject = subjectOf(reading.labels);
    const before = bySubject.get(subject);
    bySubject.delete(subject);
    const judged = judgeReading(rule.spec, reading, before?.baseline ?? null);
    if (judged.verdict === 'insufficient') result.insufficient += 1;
    if (before === undefined && judged.verdict !== 'suspicious') continue;
    if (before === undefined && count >= mostOpen) {
      result.leftOut += 1;
      continue;
    }
    const after = next(measurement, { before, reading, judged });
    if (after === undefined) continue;
    if (before === undefined) count += 1;
    result.changed.push({ before, after });
  }
  for (const before of bySubject.values()) result.changed.push({ before, after: without(measurement, before) });
  return result;
}

interface Step {
  before: AlertRecord | undefined;
  reading: Reading;
  judged: MeasuredVerdict;
}

function next(measurement: Measurement, { before, reading, judged }: Step): AlertRecord | undefined {
  const { rule, now } = measurement;
  const { forSeconds, calmSeconds } = rule.spec;
  const replaced = replacementOf(measurement, before ?? begun(measurement, reading));
  if (replaced !== undefined) return before && endedBy(before, replaced, now);
  let alert = before;
  for (;;) {
    const status = alert?.status === 'resolved' ? undefined : alert?.status;
    const state = alert && status && { status, startedAt: alert.startedAt, calmSince: alert.calmSince };
    const times = { now, forMs: forSeconds * 1000, calmMs: calmSeconds * 1000 };
    const step = nextMeasuredStep({ alert: state, verdict: judged.verdict, ...times });
    if (step.kind === 'open') alert = begun(measurement, reading);
    else if (alert === undefined) return undefined;
    else if (step.kind === 'fire') alert = fired(alert, now);
    else if (step.kind === 'resolve') {
      const told = withPoint(alert, { at: now, value: judged.value, bound: judged.bound });
      return ended(told, { kind: 'calm', summary: `calm again: ${judged.summary}` }, now);
    } else return told(measurement, { ...alert, calmSince: step.calmSince }, { reading, judged });
  }
}

function begun({ rule, fleet, now }: Measurement, reading: Reading): AlertRecord {
  const { labels } = reading;
  const model = labels.model ?? rule.spec.model ?? null;
  const version = labels.version === undefined ? (rule.spec.version ?? null) : Number(labels.version);
  const device = fleet.devices.find(({ id }) => id === labels.device);
  const alert = opened({
    ...{ rule, model, version, startedAt: now, subject: subjectOf(labels) },
    labels: { ...device?.labels, ...labels },
  });
  const causedBy = model === null || version === null ? [] : rolloutsOf(fleet, model, version);
  return { ...alert, links: { ...alert.links, causedBy } };
}

/** With its newest numbers; what it says of its cause is of when it was last suspicious. */
function told(measurement: Measurement, alert: AlertRecord, { reading, judged }: Omit<Step, 'before'>): AlertRecord {
  const { now, scopes } = measurement;
  if (judged.verdict === 'insufficient') return lacking(alert, judged.summary, now);
  const followed = { ...withPoint(fresh(alert, now), { at: now, value: judged.value, bound: judged.bound }) };
  if (judged.verdict !== 'suspicious') return followed;
  const devices = [...reading.devices];
  const known = devices.length === 0 ? alert.scope : { ...alert.scope, devices, detail: reading.detail };
  const single = reading.labels.device === undefined ? known : { ...known, kind: 'device' as const };
  const { value, bound, baseline, summary } = judged;
  const scope = scopes.get(alert.subject) ?? single;
  return { ...followed, value, bound, baseline: alert.baseline ?? baseline, summary, scope };
}

function lacking(alert: AlertRecord, why: string, now: number): AlertRecord {
  const { state, since, numbersAt } = alert.evidence;
  return stale(alert, { since: state === 'insufficient' ? since : now, numbersAt, why });
}

/** Nothing was measured of what the alert is about. */
function without(measurement: Measurement, alert: AlertRecord): AlertRecord {
  const { now, absentIsCalm } = measurement;
  if (absentIsCalm) return ended(alert, { kind: 'gone', summary: 'it is no longer so, or no longer there' }, now);
  const replaced = replacementOf(measurement, alert);
  return replaced === undefined ? lacking(alert, 'nothing came in', now) : endedBy(alert, replaced, now);
}

function replacementOf({ replaced }: Measurement, { model, version }: AlertRecord): Replacement | undefined {
  return model === null || version === null ? undefined : replaced.get(`${model} ${version}`);
}

function endedBy(alert: AlertRecord, by: Replacement, now: number): AlertRecord {
  const links = { ...alert.links, resolvedBy: by.rollouts };
  return ended({ ...alert, links }, { kind: 'replaced', summary: replacementText(alert.version ?? 0, by) }, now);
}
