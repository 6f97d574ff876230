// Applies the steps of an alert's life to its row, in the transaction of the judgement that caused them.
import { isDeepStrictEqual } from 'node:util';
import type { AlertRule } from '@edgeloop/shared/api/alerts';
import { v7 as uuid } from 'uuid';
import type { Transaction } from '../../database/open.ts';
import { type JudgedVerdict, nextStep } from './alert-state.ts';
import type { AlertFigures, AlertRecord, AlertStore } from './alert-store.ts';

/** A window that had enough evidence. */
interface JudgedWindow {
  windowStart: number;
  verdict: JudgedVerdict;
  detail: AlertFigures;
}

interface Situation {
  rule: AlertRule;
  version: number;
  /** The windows judged last, newest first. */
  recent: readonly JudgedWindow[];
  /** The versions that answer requests instead of this one; undefined while it still does. */
  replacedBy: readonly number[] | undefined;
  now: number;
}

/** Brings the alert of a rule and version up to its newest verdicts; returns it when its state or words changed. */
export async function driveAlert(
  tx: Transaction,
  alertStore: AlertStore,
  situation: Situation,
): Promise<AlertRecord | undefined> {
  const { rule, version, recent, now } = situation;
  const before = await alertStore.openAlert(tx, { ruleId: rule.id, model: rule.spec.model, version });
  let alert = before;
  for (;;) {
    const status = alert?.status === 'resolved' ? undefined : alert?.status;
    const verdicts = recent.map(({ verdict }) => verdict);
    const step = nextStep({ status, verdicts, replaced: situation.replacedBy !== undefined });
    if (step.kind === 'open') alert = opened(situation);
    else if (step.kind === 'fire' && alert !== undefined) alert = { ...alert, status: 'firing', firedAt: now };
    else if (step.kind === 'resolve' && alert !== undefined) {
      alert = { ...alert, status: 'resolved', resolvedAt: now, summary: endOf(situation) };
    } else break;
    if (alert.status === 'resolved') break;
  }
  return alert && save(tx, alertStore, { before, after: withNewestFigures(alert, recent) });
}

function opened({ rule, version, recent, now }: Situation): AlertRecord {
  const first = recent.filter(({ verdict }) => verdict === 'suspicious').at(-1);
  return {
    ...{ id: uuid(), ruleId: rule.id, kind: rule.spec.kind, model: rule.spec.model, version },
    ...{ status: 'pending', startedAt: first?.windowStart ?? now, firedAt: null, resolvedAt: null },
    ...{ acknowledgedBy: null, silencedUntil: null, notifiedAt: null, handedOver: false },
    ...{ summary: '', features: [], scope: { kind: 'unknown', devices: [], detail: '' }, value: null },
  };
}

/** While it is open, an alert tells of the newest suspicious window. */
function withNewestFigures(alert: AlertRecord, recent: Situation['recent']): AlertRecord {
  const newest = recent.find(({ verdict }) => verdict === 'suspicious');
  if (alert.status === 'resolved' || newest === undefined) return alert;
  const { summary, features, scope, value } = newest.detail;
  return { ...alert, summary, features, scope, value };
}

function endOf({ version, recent, replacedBy }: Situation): string {
  if (replacedBy === undefined) return `calm again: ${recent[0]?.detail.summary ?? 'nothing suspicious'}`;
  return `version ${version} no longer answers requests; version ${replacedBy.join(', ')} does`;
}

async function save(
  tx: Transaction,
  alertStore: AlertStore,
  { before, after }: { before: AlertRecord | undefined; after: AlertRecord },
): Promise<AlertRecord | undefined> {
  if (before === undefined) await alertStore.insertAlert(tx, after);
  else if (!isDeepStrictEqual(before, after)) await alertStore.updateAlert(tx, after);
  else return undefined;
  return after;
}
