// Drives monitoring: notices what came in, judges the rule windows that closed, moves alerts on, and passes the word.
// Everything it needs to know after a restart is in the database.
import { isDeepStrictEqual } from 'node:util';
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import type { Alert } from '@edgeloop/shared/api/alerts';
import { pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import type { Database, Transaction } from '../../database/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { driveAlert, isWindowRule, type WindowRule } from '../alerts/alert-driver.ts';
import type { AlertRules } from '../alerts/alert-rules.ts';
import { consideredWindows } from '../alerts/alert-state.ts';
import type { AlertRecord, AlertStore } from '../alerts/alert-store.ts';
import { type FleetFigures, type ReadFleetFigures, rolloutsOf } from '../alerts/fleet-figures.ts';
import type { createHandOver } from '../alerts/hand-over.ts';
import { type Replacement, replacementOf } from '../alerts/replacement.ts';
import type { References } from '../references/references.ts';
import { type Arrival, createArrivals } from './arrivals.ts';
import { createDueWindows, graceMs, windowStartOf } from './due-windows.ts';
import type { EvaluationStore } from './evaluation-store.ts';
import type { Judge, RuleWindow } from './judge.ts';

export interface WatchDeps {
  database: Pick<Database, 'transact' | 'writable'>;
  telemetry: Pick<Telemetry, 'activity' | 'labelActivity' | 'versionsSince' | 'onStored'>;
  alertStore: AlertStore;
  evaluationStore: EvaluationStore;
  alertRules: Pick<AlertRules, 'all' | 'ensureDefaults' | 'ensureFleetDefaults'>;
  judge: Judge;
  references: Pick<References, 'frozen'>;
  fleetFigures: ReadFleetFigures;
  /** Evaluates the rules that measure again and again. */
  measure: { look: (rules: readonly AlertRule[]) => Promise<void> };
  handOver: ReturnType<typeof createHandOver>;
  notifications: { look: () => Promise<void>; close: () => Promise<void> };
  now: () => number;
  /** Says that an alert has changed. */
  tell: (alert: AlertRecord) => void;
  log: Logger;
}

interface Subject {
  rule: WindowRule;
  version: number;
  replacedBy: Replacement | undefined;
  broughtBy: readonly string[];
}

const tickMs = 1000;
const day = 86_400_000;
/** Rule windows without requests after which a version counts as replaced. */
const quietWindows = 3;

export function createWatch(deps: WatchDeps) {
  const { database, telemetry, alertStore, evaluationStore, alertRules, judge, now, log } = deps;
  const arrivals = createArrivals();
  const due = createDueWindows();
  /** Rules whose past was compared with what was judged, with the specification they had then. */
  const scanned = new Map<string, WindowRule['spec']>();
  const replacementSeen = new Map<string, number>();
  const stopped = new AbortController();
  let running: Promise<void> | undefined;
  let seeded = false;

  return {
    start(signal: AbortSignal): void {
      telemetry.onStored((stored) => arrivals.add(stored));
      running = run(AbortSignal.any([signal, stopped.signal]));
    },
    async close(): Promise<void> {
      stopped.abort();
      await running;
      await deps.notifications.close();
    },
    tick,
  };

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await database.writable(signal);
      try {
        await tick();
      } catch (error) {
        // What had arrived is found again by comparing everything.
        scanned.clear();
        log.error({ err: error }, 'monitoring could not look; it looks again');
      }
      await pause(tickMs, signal);
    }
  }

  /** One look at everything. */
  async function tick(): Promise<void> {
    const arrived = arrivals.take();
    const seen = seeded ? arrived : await telemetry.versionsSince(now() - day);
    seeded = true;
    await alertRules.ensureFleetDefaults();
    await alertRules.ensureDefaults(seen);
    const enabled = (await alertRules.all()).filter(({ spec }) => spec.enabled);
    const rules = enabled.filter(isWindowRule);
    for (const rule of rules) await scan(rule);
    for (const rule of rules) {
      for (const arrival of arrived) {
        const { version, at } = arrival;
        if (concerns(rule, arrival) && isJudgeable(rule, at, now())) due.add(keyOf(rule, version, at));
      }
    }
    for (const window of due.take(rules, now())) await judgeOne(window);
    await reviewOpen(rules);
    await deps.measure.look(enabled);
    await deps.handOver.look();
    await deps.notifications.look();
  }

  /** Finds what came while nobody looked: windows with other evidence than they were judged by. */
  async function scan(rule: WindowRule): Promise<void> {
    if (isDeepStrictEqual(scanned.get(rule.id), rule.spec)) return;
    const from = windowStartOf(Math.max(0, now() - lookback(rule)), rule.spec.windowSeconds);
    const range = { model: rule.spec.model, from, to: now(), stepMs: rule.spec.windowSeconds * 1000 };
    const judged = await evaluationStore.evaluationsBetween({ ruleIds: [rule.id], from, to: now() });
    const known = new Map(judged.map((each) => [`${each.version} ${each.windowStart}`, each.detail.evidence]));
    for (const { version, at, evidence } of await evidenceOf(telemetry, rule, range)) {
      if (known.get(`${version} ${at}`) !== evidence) due.add(keyOf(rule, version, at));
    }
    scanned.set(rule.id, rule.spec);
  }

  async function judgeOne(window: RuleWindow): Promise<void> {
    const { rule, version, windowStart } = window;
    try {
      const evaluation = await judge(window);
      const subject = await subjectOf(rule, version);
      const changed = await database.transact(async (tx) => {
        await evaluationStore.upsertEvaluation(tx, evaluation);
        return drive(tx, subject);
      });
      tell(changed);
    } catch (error) {
      log.error({ err: error, rule: rule.id, version, windowStart }, 'a window could not be judged; it is tried again');
      due.add({ ruleId: rule.id, version, windowStart });
    }
  }

  /** Alerts of versions that were taken out of service, or that nothing comes in of, get no windows that could say so. */
  async function reviewOpen(rules: readonly WindowRule[]): Promise<void> {
    const byId = new Map(rules.map((rule) => [rule.id, rule]));
    for (const alert of await alertStore.openAlerts()) {
      const rule = byId.get(alert.ruleId);
      if (rule === undefined || alert.version === null || !isTimeToCheck(alert, rule)) continue;
      const subject = await subjectOf(rule, alert.version);
      tell(await database.transact((tx) => drive(tx, subject)));
    }
  }

  async function subjectOf(rule: WindowRule, version: number): Promise<Subject> {
    const fleet: FleetFigures = await deps.fleetFigures();
    const { model, windowSeconds } = rule.spec;
    const closed = windowStartOf(Math.max(0, now() - graceMs(windowSeconds)), windowSeconds);
    const from = closed - quietWindows * windowSeconds * 1000;
    const replacedBy = await replacementOf({ telemetry, fleet }, { model, version, from, now: now() });
    return { rule, version, replacedBy, broughtBy: rolloutsOf(fleet, model, version) };
  }

  /** Moves the alert on, by what was judged last. */
  async function drive(tx: Transaction, subject: Subject): Promise<AlertRecord | undefined> {
    const { rule, version } = subject;
    const of = { ruleId: rule.id, model: rule.spec.model, version };
    const judged = await evaluationStore.newestJudged(tx, of, consideredWindows);
    // What was judged by a former reference says nothing of the present one.
    const since = await frozenAt(rule, version);
    const recent = judged.filter(({ windowStart }) => windowStart + rule.spec.windowSeconds * 1000 > since);
    const newest = await evaluationStore.newest(tx, of);
    return driveAlert(tx, alertStore, { ...subject, recent, newest, now: now() });
  }

  async function frozenAt({ spec }: WindowRule, version: number): Promise<number> {
    return spec.kind === 'drift' ? ((await deps.references.frozen(spec.model, version))?.frozenAt ?? 0) : 0;
  }

  function isTimeToCheck({ id }: Alert, { spec }: WindowRule): boolean {
    if ((replacementSeen.get(id) ?? 0) + graceMs(spec.windowSeconds) > now()) return false;
    if (replacementSeen.size > 1000) replacementSeen.clear();
    replacementSeen.set(id, now());
    return true;
  }

  function tell(alert: AlertRecord | undefined): void {
    if (alert !== undefined) deps.tell(alert);
  }
}

/** How far back data that comes late still has its window judged. */
function lookback({ spec }: WindowRule): number {
  return Math.max(day, 8 * spec.windowSeconds * 1000);
}

function keyOf(rule: WindowRule, version: number, at: number) {
  return { ruleId: rule.id, version, windowStart: windowStartOf(at, rule.spec.windowSeconds) };
}

function concerns({ spec }: WindowRule, { model, kind }: Arrival): boolean {
  return model === spec.model && kind === (spec.kind === 'drift' ? 'window' : 'label');
}

/** Neither older than what is looked back on nor, by a device's wrong clock, more than a day ahead. */
function isJudgeable(rule: WindowRule, at: number, now: number): boolean {
  return at >= now - lookback(rule) && at <= now + day;
}

/** What there is to judge of each version and window, in the words of an evaluation's `evidence`. */
async function evidenceOf(
  telemetry: Pick<Telemetry, 'activity' | 'labelActivity'>,
  { spec }: WindowRule,
  range: Parameters<Telemetry['activity']>[0],
): Promise<{ version: number; at: number; evidence: string }[]> {
  if (spec.kind === 'drift') {
    const activity = await telemetry.activity(range);
    return activity.map(({ version, at, windows }) => ({ version, at, evidence: String(windows) }));
  }
  const activity = await telemetry.labelActivity(range);
  return activity.map(({ version, at, labels, correct }) => ({ version, at, evidence: `${correct}/${labels}` }));
}
