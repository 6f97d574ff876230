// Applies the steps of an alert's life to its row, in the transaction of the judgement that caused them.
import { isDeepStrictEqual } from 'node:util';
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import { isSensorFault } from '@edgeloop/shared/api/alerts';
import type { Transaction } from '../../database/open.ts';
import type { Verdict } from '../statistics/drift.ts';
import { ended, fired, fresh, opened, stale, withPoint } from './alert-record.ts';
import { type JudgedVerdict, nextStep } from './alert-state.ts';
import type { AlertFigures, AlertRecord, AlertStore } from './alert-store.ts';
import type { Replacement } from './replacement.ts';

/** A window that had enough evidence. */
interface JudgedWindow {
  windowStart: number;
  verdict: JudgedVerdict;
  detail: AlertFigures;
}

/** A rule that judges windows of one model. */
export type WindowRule = AlertRule & { spec: Exclude<AlertRule['spec'], { kind: 'metric' }> };

export function isWindowRule(rule: AlertRule): rule is WindowRule {
  return rule.spec.kind !== 'metric';
}

interface Situation {
  rule: WindowRule;
  version: number;
  /** The windows judged last, newest first. */
  recent: readonly JudgedWindow[];
  /** The newest window, with enough evidence or not; undefined when none was judged. */
  newest: { windowStart: number; verdict: Verdict; summary: string } | undefined;
  /** What answers requests instead of this version; undefined while it still does. */
  replacedBy: Replacement | undefined;
  /** Rollouts that brought the version. */
  broughtBy: readonly string[];
  now: number;
}

/** Brings the alert of a rule and version up to its newest verdicts; returns it when its state or words changed. */
export async function driveAlert(
  tx: Transaction,
  alertStore: AlertStore,
  situation: Situation,
): Promise<AlertRecord | undefined> {
  const { rule, version, recent, now, replacedBy } = situation;
  const before = await alertStore.openAlert(tx, { ruleId: rule.id, model: rule.spec.model, version });
  let alert = before;
  for (;;) {
    const status = alert?.status === 'resolved' ? undefined : alert?.status;
    const verdicts = recent.map(({ verdict }) => verdict);
    const step = nextStep({ status, verdicts, replaced: replacedBy !== undefined });
    if (step.kind === 'open') alert = begun(situation);
    else if (step.kind === 'fire' && alert !== undefined) alert = fired(alert, now);
    else if (step.kind === 'resolve' && alert !== undefined) {
      const links = { ...alert.links, resolvedBy: replacedBy?.rollouts ?? [] };
      alert = ended({ ...alert, links }, { kind: step.reason, summary: endOf(situation) }, now);
    } else break;
    if (alert.status === 'resolved') break;
  }
  return alert && save(tx, alertStore, { before, after: withNewestFigures(alert, situation) });
}

function begun({ rule, version, recent, broughtBy, now }: Situation): AlertRecord {
  const first = recent.filter(({ verdict }) => verdict === 'suspicious').at(-1);
  const alert = opened({ rule, model: rule.spec.model, version, startedAt: first?.windowStart ?? now });
  return { ...alert, links: { ...alert.links, causedBy: [...broughtBy] } };
}

/** While it is open, an alert tells of the newest suspicious window, and whether anything came since that could be judged. */
function withNewestFigures(alert: AlertRecord, { rule, recent, newest, now }: Situation): AlertRecord {
  const [last] = recent;
  if (last === undefined) return alert;
  const followed = withPoint(alert, { at: last.windowStart, value: last.detail.value, bound: null });
  const suspicious = recent.find(({ verdict }) => verdict === 'suspicious');
  if (alert.status === 'resolved' || suspicious === undefined) return followed;
  const { summary, features, scope, value } = suspicious.detail;
  // Whoever was told of a sensor fault is told again when it is one no longer.
  const handedOver = alert.handedOver && (!isSensorFault(alert.scope) || isSensorFault(scope));
  const told = { ...followed, summary, features, scope, value, handedOver };
  const windowMs = rule.spec.windowSeconds * 1000;
  const since = last.windowStart + windowMs;
  const numbersAt = suspicious.windowStart + windowMs;
  const thin = newest !== undefined && newest.verdict === 'insufficient' && newest.windowStart > last.windowStart;
  // By then the next window has been judged, whatever was in it.
  const quiet = now > since + 2 * windowMs;
  if (!thin && !quiet) return fresh(told, numbersAt);
  return stale(told, { since, numbersAt, why: thin ? newest.summary : 'nothing came in' });
}

function endOf({ version, recent, replacedBy }: Situation): string {
  return replacedBy === undefined
    ? `calm again: ${recent[0]?.detail.summary ?? 'nothing suspicious'}`
    : replacementText(version, replacedBy);
}

export function replacementText(version: number, { versions }: Replacement): string {
  return `version ${version} no longer answers requests; version ${versions.join(', ')} does`;
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
