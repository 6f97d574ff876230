// Evaluates metric rules, each when it is due. A rule costs a few questions to the rolled-up history, whatever the number of its
// groups, which are only summed and judged in memory; of the time at most a twentieth goes into one rule.
import { isDeepStrictEqual } from 'node:util';
import { type AlertRule, FleetFigure, type ListedAlertRule } from '@edgeloop/shared/api/alert-rules';
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { MetricQuery, MetricResult } from '@edgeloop/shared/api/metrics';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import type { Database } from '../../database/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { AlertRecord, AlertStore } from '../alerts/alert-store.ts';
import type { FleetFigures, ReadFleetFigures } from '../alerts/fleet-figures.ts';
import { type Replacement, replacementOf } from '../alerts/replacement.ts';
import { type Advanced, advance, type MeasuredRule } from './advance.ts';
import { checkFleetGroups, readFleet } from './fleet-readings.ts';
import { type Reading, subjectOf } from './reading.ts';
import { scopeOf } from './scope.ts';
import { checkAskable, readByDevice, readTelemetry } from './telemetry-readings.ts';
import { judgeReading } from './verdict.ts';

export interface MeasureDeps {
  database: Pick<Database, 'transact' | 'read'>;
  telemetry: Pick<Telemetry, 'activity'> & { query: (asked: MetricQuery) => Promise<MetricResult> };
  alertStore: AlertStore;
  fleetFigures: ReadFleetFigures;
  now: () => number;
  tell: (alert: AlertRecord) => void;
  log: Logger;
}

type Evaluation = NonNullable<ListedAlertRule['evaluation']>;

const between = { leastMs: 1000, mostMs: 60_000, shareOfWindow: 0.1, timesItsCost: 20 };
/** Nobody looked for so long: the machine slept, or nothing could be written. Devices may have come and gone meanwhile. */
const gapMs = 60_000;
/** Alerts of one evaluation whose devices are asked for. */
const mostScopes = 20;
/** Traffic elsewhere for so many windows tells that a version was replaced, where devices say nothing. */
const quietWindows = 3;

export function createMeasure(deps: MeasureDeps) {
  const { database, telemetry, alertStore, fleetFigures, now, tell, log } = deps;
  const due = new Map<string, number>();
  const evaluations = new Map<string, Evaluation>();
  const specs = new Map<string, AlertRule['spec']>();
  let lookedAt: number | undefined;
  let listeningSince = now();

  return {
    /** Evaluates what is due. */
    async look(rules: readonly AlertRule[]): Promise<void> {
      const at = now();
      if (lookedAt === undefined || at - lookedAt > gapMs) listeningSince = at;
      lookedAt = at;
      const measured = rules.filter(isMeasured);
      const ids = new Set(measured.map(({ id }) => id));
      for (const id of due.keys()) if (!ids.has(id)) forget(id);
      for (const rule of measured) {
        if (!isDeepStrictEqual(specs.get(rule.id), rule.spec)) forget(rule.id);
        specs.set(rule.id, rule.spec);
        if ((due.get(rule.id) ?? 0) <= now()) await evaluate(rule);
      }
    },

    /** How the last evaluation went. */
    evaluationOf: (ruleId: string): Evaluation | null => evaluations.get(ruleId) ?? null,

    /** @throws AppError `invalid_request` naming what cannot be measured */
    async check(spec: AlertRule['spec']): Promise<void> {
      if (spec.kind !== 'metric') return;
      const figure = FleetFigure.safeParse(spec.metric);
      if (!figure.success) return checkAskable({ query: telemetry.query, rule: spec, now: now() });
      checkFleetGroups(figure.data, spec);
      if (spec.condition.is !== 'above' && spec.condition.is !== 'below')
        throw new AppError('invalid_request', `condition: of ${spec.metric} no past is kept; use is=above or is=below`);
    },
  };

  function forget(id: string): void {
    due.delete(id);
    evaluations.delete(id);
    specs.delete(id);
  }

  async function evaluate(rule: MeasuredRule): Promise<void> {
    const began = performance.now();
    let outcome: Pick<Evaluation, 'groups' | 'insufficient' | 'leftOut' | 'error'>;
    try {
      outcome = { ...(await evaluateNow(rule)), error: null };
    } catch (error) {
      outcome = { groups: 0, insufficient: 0, leftOut: 0, error: messageOf(error) };
      if (evaluations.get(rule.id)?.error !== outcome.error)
        log.error({ err: error, rule: rule.id }, 'a rule could not be evaluated; it is tried again');
    }
    const milliseconds = performance.now() - began;
    evaluations.set(rule.id, { at: now(), ...outcome, milliseconds: Math.round(milliseconds * 10) / 10 });
    const usual = Math.min(between.mostMs, rule.spec.overSeconds * 1000 * between.shareOfWindow);
    due.set(rule.id, now() + Math.max(between.leastMs, usual, milliseconds * between.timesItsCost));
  }

  async function evaluateNow(rule: MeasuredRule): Promise<Pick<Evaluation, 'groups' | 'insufficient' | 'leftOut'>> {
    const fleet = await fleetFigures();
    const figure = FleetFigure.safeParse(rule.spec.metric);
    const at = now();
    const asking = { query: telemetry.query, rule: rule.spec, now: at, listeningSince, fleet };
    const readings = figure.success ? readFleet(figure.data, asking) : await readTelemetry(asking);
    const verdicts = readings.map((reading) => judgeReading(rule.spec, reading).verdict);
    const suspicious = readings.filter((_, i) => verdicts[i] === 'suspicious');
    const insufficient = verdicts.filter((verdict) => verdict === 'insufficient').length;
    const open = await alertStore.openAlertsOfRule(database.read, rule.id);
    if (suspicious.length === 0 && open.length === 0) return { groups: readings.length, insufficient, leftOut: 0 };
    const scopes = figure.success ? new Map() : await scopesOf(asking, { suspicious, open });
    const replaced = await replacements(rule, { fleet, at, readings: suspicious, open });
    const measurement = { rule, readings, absentIsCalm: figure.success, fleet, scopes, replaced, now: at };
    const advanced = await write(rule, (current) => advance(measurement, current));
    return { groups: readings.length, insufficient, leftOut: advanced.leftOut };
  }

  async function write(rule: MeasuredRule, work: (open: AlertRecord[]) => Advanced): Promise<Advanced> {
    const advanced = await database.transact(async (tx) => {
      const result = work(await alertStore.openAlertsOfRule(tx, rule.id));
      for (const { before, after } of result.changed) {
        if (before === undefined) await alertStore.insertAlert(tx, after);
        else if (!isDeepStrictEqual(before, after)) await alertStore.updateAlert(tx, after);
      }
      return result;
    });
    for (const { before, after } of advanced.changed) {
      if (before?.status !== after.status || before.evidence.state !== after.evidence.state) tell(after);
    }
    return advanced;
  }

  /** Of what is new or about to fire: which devices show it. */
  async function scopesOf(
    asking: Parameters<typeof readByDevice>[0] & { fleet: FleetFigures },
    { suspicious, open }: { suspicious: readonly Reading[]; open: readonly AlertRecord[] },
  ): Promise<Map<string, Alert['scope']>> {
    const known = new Set(open.filter(({ firedAt }) => firedAt !== null).map(({ subject }) => subject));
    const asked = suspicious.filter((each) => !known.has(subjectOf(each.labels)) && each.labels.device === undefined);
    const scopes = new Map<string, Alert['scope']>();
    for (const reading of asked.slice(0, mostScopes))
      scopes.set(subjectOf(reading.labels), await scope(asking, reading));
    return scopes;
  }

  async function scope(
    asking: Parameters<typeof readByDevice>[0] & { fleet: FleetFigures },
    reading: Reading,
  ): Promise<Alert['scope']> {
    const { rule, fleet } = asking;
    if (rule.condition.is === 'absent') return { kind: 'unknown', devices: [], detail: '' };
    try {
      const labels = new Map(fleet.devices.map((device) => [device.id, device.labels]));
      const byDevice = await readByDevice(asking, reading);
      const past = judgeReading(rule, reading).baseline;
      return scopeOf(
        byDevice.map((each) => ({
          id: each.labels.device ?? '',
          labels: labels.get(each.labels.device ?? '') ?? {},
          shows: judgeReading({ ...rule, minEvidence: 1 }, each, past).verdict === 'suspicious',
        })),
      );
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'invalid_request') throw error;
      // Not each metric can be told by device, and not of so many.
      return { kind: 'unknown', devices: [], detail: error.message };
    }
  }

  async function replacements(
    rule: MeasuredRule,
    about: { fleet: FleetFigures; at: number; readings: readonly Reading[]; open: readonly AlertRecord[] },
  ): Promise<Map<string, Replacement>> {
    // Of a version that does not run because it failed there is nothing to replace.
    if (FleetFigure.safeParse(rule.spec.metric).success) return new Map();
    const versions = new Map<string, { model: string; version: number }>();
    const note = (model: string | null | undefined, version: number | null) => {
      if (model != null && version !== null) versions.set(`${model} ${version}`, { model, version });
    };
    for (const { model, version } of about.open) note(model, version);
    for (const { labels } of about.readings)
      note(labels.model ?? rule.spec.model, labels.version === undefined ? null : Number(labels.version));
    const from = Math.max(0, about.at - quietWindows * rule.spec.overSeconds * 1000);
    const found = new Map<string, Replacement>();
    for (const [key, asked] of versions) {
      const replaced = await replacementOf({ telemetry, fleet: about.fleet }, { ...asked, from, now: about.at });
      if (replaced !== undefined) found.set(key, replaced);
    }
    return found;
  }
}

function isMeasured(rule: AlertRule): rule is MeasuredRule {
  return rule.spec.kind === 'metric';
}
