// Changes of alert rules and channels, each with its audit entry, and the rules that a model gets without asking.
import { type AlertRule, AlertRuleSpec } from '@edgeloop/shared/api/alert-rules';
import type { AlertResolution } from '@edgeloop/shared/api/alerts';
import { AppError } from '@edgeloop/shared/errors';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { v7 as uuid } from 'uuid';
import { recordAudit } from '../../access/audit.ts';
import type { Database, Transaction } from '../../database/open.ts';
import { ended } from './alert-record.ts';
import type { AlertStore } from './alert-store.ts';
import { defaultRules } from './default-rules.ts';
import type { RulesStore } from './rules-store.ts';

interface AlertRulesDeps {
  database: Database;
  alertStore: AlertStore;
  rulesStore: RulesStore;
  /** Drops what was judged by a rule. */
  forgetJudged: (tx: Transaction, ruleId: string) => Promise<void>;
  reference: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  /** Names and ids of the channels that there are. */
  channels: (tx: Transaction) => Promise<{ id: string; name: string }[]>;
  /** @throws AppError `invalid_request` naming what cannot be measured */
  check: (spec: AlertRuleSpec) => Promise<void>;
  now: () => number;
}

export type AlertRules = ReturnType<typeof createAlertRules>;

export function createAlertRules(deps: AlertRulesDeps) {
  const { database, alertStore, rulesStore, forgetJudged, reference, channels, check, now } = deps;
  /** Model versions whose need for default rules is settled for the life of the process. */
  const settled = new Set<string>();

  return {
    all: () => rulesStore.rules(),
    /** @throws AppError `invalid_request` naming what cannot be measured, or a channel that is none */
    async create(actor: string, spec: AlertRuleSpec): Promise<AlertRule> {
      await check(spec);
      return database.transact((tx) => insert(tx, actor, { id: uuid(), createdAt: now(), spec }));
    },
    replace,
    remove,
    ensureDefaults,
    ensureFleetDefaults,
  };

  /**
   * With `create` it is made where there is none.
   * @throws AppError `not_found`; `conflict` when kind or model would change
   */
  async function replace(
    actor: string,
    id: string,
    { spec, create }: { spec: AlertRuleSpec; create: boolean },
  ): Promise<AlertRule> {
    await check(spec);
    return database.transact(async (tx) => {
      if (create && (await rulesStore.rule(tx, id)) === undefined) {
        await rulesStore.purgeRule(tx, id);
        return insert(tx, actor, { id, createdAt: now(), spec });
      }
      const before = await existing(tx, id);
      if (before.spec.kind !== spec.kind || before.spec.model !== spec.model) {
        const is = `${before.spec.kind} of ${before.spec.model === undefined ? 'any model' : `model ${before.spec.model}`}`;
        throw new AppError('conflict', `kind and model of a rule cannot change (it is ${is}); create another rule`);
      }
      checkChannels(await channels(tx), spec);
      const rule = { ...before, spec };
      await rulesStore.updateRule(tx, rule);
      // Windows of another length cannot be told together with these.
      if (windowOf(before.spec) !== windowOf(spec)) await forgetJudged(tx, id);
      if (!spec.enabled) await endAlerts(tx, id, { kind: 'rule_disabled', summary: 'the rule was disabled' });
      await audit(tx, { actor, action: 'alert_rule.replace', id, before: before.spec, after: spec });
      return rule;
    });
  }

  /** @throws AppError `not_found` */
  function remove(actor: string, id: string): Promise<AlertRule> {
    return database.transact(async (tx) => {
      const rule = await existing(tx, id);
      await rulesStore.deleteRule(tx, id, now());
      await forgetJudged(tx, id);
      await endAlerts(tx, id, { kind: 'rule_deleted', summary: 'the rule was deleted' });
      await audit(tx, { actor, action: 'alert_rule.delete', id, before: rule.spec });
      return rule;
    });
  }

  /**
   * A model that answers requests and has no rule gets a drift rule, against a first period in the field where it has no reference
   * profile, and an accuracy rule when its profile has an accuracy, so that nobody has to think of it. Default rules that were
   * deleted do not come back.
   */
  async function ensureDefaults(seen: readonly { model: string; version: number }[]): Promise<void> {
    for (const { model, version } of seen) {
      const key = `${model} ${version}`;
      if (settled.has(key)) continue;
      const profile = await reference(model, version);
      await database.transact((tx) => createDefaults(tx, model, profile));
      settled.add(key);
    }
  }

  async function createDefaults(tx: Transaction, model: string, profile: ReferenceProfile | undefined): Promise<void> {
    const rules = await rulesStore.rules(tx);
    if (rules.some(({ spec }) => spec.kind !== 'metric' && spec.model === model)) return;
    const kinds = profile?.accuracy === undefined ? (['drift'] as const) : (['drift', 'accuracy'] as const);
    for (const kind of kinds) {
      const id = `default-${kind}-${model}`;
      if (await rulesStore.wasDeleted(tx, id)) continue;
      const spec = AlertRuleSpec.parse({ kind, model, ...budgetOf(kind) });
      await insert(tx, 'system', { id, createdAt: now(), spec });
    }
  }

  /** The rules that hold in every fleet; those that were deleted do not come back. */
  async function ensureFleetDefaults(): Promise<void> {
    const known = new Set((await rulesStore.rules()).map(({ id }) => id));
    const missing = defaultRules.filter(({ id }) => !known.has(id) && !settled.has(id));
    if (missing.length === 0) return;
    await database.transact(async (tx) => {
      for (const { id, spec } of missing) {
        const gone = (await rulesStore.wasDeleted(tx, id)) || (await rulesStore.rule(tx, id)) !== undefined;
        if (!gone) await insert(tx, 'system', { id, createdAt: now(), spec });
      }
    });
    for (const { id } of missing) settled.add(id);
  }

  async function insert(tx: Transaction, actor: string, rule: AlertRule): Promise<AlertRule> {
    checkChannels(await channels(tx), rule.spec);
    await rulesStore.insertRule(tx, rule);
    await audit(tx, { actor, action: 'alert_rule.create', id: rule.id, after: rule.spec });
    return rule;
  }

  async function existing(tx: Transaction, id: string): Promise<AlertRule> {
    const rule = await rulesStore.rule(tx, id);
    if (rule === undefined) throw new AppError('not_found', `there is no alert rule "${id}"`);
    return rule;
  }

  async function endAlerts(tx: Transaction, ruleId: string, resolution: AlertResolution): Promise<void> {
    for (const alert of await alertStore.openAlertsOfRule(tx, ruleId))
      await alertStore.updateAlert(tx, ended(alert, resolution, now()));
  }

  function audit(
    tx: Transaction,
    entry: { actor: string; action: string; id: string; before?: unknown; after?: unknown },
  ): Promise<void> {
    const { actor, action, id, before, after } = entry;
    return recordAudit(database.tables, tx, { at: now(), actor, action, subject: `alert-rule/${id}`, before, after });
  }
}

/** What the rule of a model that nobody set up may cost. */
function budgetOf(kind: AlertRuleSpec['kind']): { falseAlarmsPerMonth?: number } {
  return kind === 'drift' ? { falseAlarmsPerMonth: 1 } : {};
}

/** @throws AppError `invalid_request` naming the first channel that is none */
function checkChannels(channels: readonly { id: string; name: string }[], spec: AlertRuleSpec): void {
  const missing = spec.channels.find((wanted) => !channels.some(({ id, name }) => wanted === id || wanted === name));
  if (missing === undefined) return;
  const known = channels.map(({ name }) => name).join(', ') || 'none';
  throw new AppError('invalid_request', `channels: there is no channel "${missing}" (there are: ${known})`);
}

function windowOf(spec: AlertRuleSpec): number | undefined {
  return spec.kind === 'metric' ? undefined : spec.windowSeconds;
}
