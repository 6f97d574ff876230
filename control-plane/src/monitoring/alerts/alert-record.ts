// How an alert's record changes: it opens, fires, gets newer numbers, lacks evidence, ends. What it said of its cause is never
// written over by its end. Pure.

import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import type { AlertResolution } from '@edgeloop/shared/api/alerts';
import { v7 as uuid } from 'uuid';
import type { AlertRecord } from './alert-store.ts';

interface Opening {
  rule: AlertRule;
  model: string | null;
  version: number | null;
  subject?: string;
  labels?: Record<string, string>;
  startedAt: number;
}

/** Points of its value that an alert keeps at most. */
const mostPoints = 240;

export function opened({ rule, model, version, subject = '', labels = {}, startedAt }: Opening): AlertRecord {
  const { kind, severity, labels: ofRule } = rule.spec;
  return {
    ...{ id: uuid(), ruleId: rule.id, kind, model, version, subject, severity, labels: { ...ofRule, ...labels } },
    ...{ status: 'pending', startedAt, firedAt: null, resolvedAt: null, calmSince: null },
    ...{ acknowledgedBy: null, acknowledgedAt: null, note: null, silencedUntil: null },
    ...{ notifiedAt: null, handedOver: false, resolution: null, history: [] },
    ...{ summary: '', features: [], scope: { kind: 'unknown', devices: [], detail: '' } },
    ...{ value: null, bound: null, baseline: null },
    evidence: { state: 'fresh', since: startedAt, numbersAt: startedAt, detail: '' },
    links: { causedBy: [], runs: [], rollouts: [], resolvedBy: [] },
  };
}

export function fired(alert: AlertRecord, at: number): AlertRecord {
  return { ...alert, status: 'firing', firedAt: at };
}

export function ended(alert: AlertRecord, resolution: AlertResolution, at: number): AlertRecord {
  return { ...alert, status: 'resolved', resolvedAt: at, calmSince: null, resolution };
}

/** With a point of its value; one of the same instant is written over, older ones are thinned when there are too many. */
export function withPoint(alert: AlertRecord, point: AlertRecord['history'][number]): AlertRecord {
  const before = alert.history.filter(({ at }) => at < point.at);
  const after = alert.history.filter(({ at }) => at > point.at);
  const history = [...before, point, ...after];
  if (history.length <= mostPoints) return { ...alert, history };
  const half = history.length >> 1;
  return { ...alert, history: [...history.slice(0, half).filter((_, i) => i % 2 === 0), ...history.slice(half)] };
}

export function fresh(alert: AlertRecord, at: number): AlertRecord {
  const { state, since } = alert.evidence;
  return { ...alert, evidence: { state: 'fresh', since: state === 'fresh' ? since : at, numbersAt: at, detail: '' } };
}

/** `since`: from when on nothing could be judged; `numbersAt`: of when what the alert says is. */
export function stale(
  alert: AlertRecord,
  { since, numbersAt, why }: { since: number; numbersAt: number; why: string },
): AlertRecord {
  const reason = why === '' ? '' : ` (${why})`;
  const detail = `no new evidence since ${instantText(since)}${reason}; numbers are of ${instantText(numbersAt)}`;
  return { ...alert, evidence: { state: 'insufficient', since, numbersAt, detail } };
}

function instantText(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}
