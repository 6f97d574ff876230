// Changes of alert rules and channels, each with its audit entry, and the rules that a model gets without asking.
import type { AlertRule, AlertRuleSpec, NotificationChannel } from '@edgeloop/shared/api/alerts';
import { AlertRuleSpec as SpecSchema } from '@edgeloop/shared/api/alerts';
import { AppError } from '@edgeloop/shared/errors';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { v7 as uuid } from 'uuid';
import { recordAudit } from '../../access/audit.ts';
import type { Database, Transaction } from '../../database/open.ts';
import type { AlertStore } from './alert-store.ts';
import type { RulesStore } from './rules-store.ts';

interface AlertRulesDeps {
  database: Database;
  alertStore: AlertStore;
  rulesStore: RulesStore;
  /** Drops what was judged by a rule. */
  forgetJudged: (tx: Transaction, ruleId: string) => Promise<void>;
  reference: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  now: () => number;
}

export type AlertRules = ReturnType<typeof createAlertRules>;

export function createAlertRules(deps: AlertRulesDeps) {
  const { database, alertStore, rulesStore, forgetJudged, reference, now } = deps;
  /** Model versions whose need for default rules is settled for the life of the process. */
  const settled = new Set<string>();

  return {
    all: () => rulesStore.rules(),
    create: (actor: string, spec: AlertRuleSpec): Promise<AlertRule> =>
      database.transact((tx) => insert(tx, actor, { id: uuid(), createdAt: now(), spec })),
    replace,
    remove,
    ensureDefaults,
  };

  /** @throws AppError `not_found`; `conflict` when kind or model would change */
  function replace(actor: string, id: string, spec: AlertRuleSpec): Promise<AlertRule> {
    return database.transact(async (tx) => {
      const before = await existing(tx, id);
      if (before.spec.kind !== spec.kind || before.spec.model !== spec.model) {
        const is = `${before.spec.kind} of model ${before.spec.model}`;
        throw new AppError('conflict', `kind and model of a rule cannot change (it is ${is}); create another rule`);
      }
      checkChannels(await rulesStore.channels(tx), spec);
      const rule = { ...before, spec };
      await rulesStore.updateRule(tx, rule);
      // Windows of another length cannot be told together with these.
      if (before.spec.windowSeconds !== spec.windowSeconds) await forgetJudged(tx, id);
      if (!spec.enabled) await endAlerts(tx, id, 'the rule was disabled');
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
      await endAlerts(tx, id, 'the rule was deleted');
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
    if (rules.some(({ spec }) => spec.model === model)) return;
    const kinds = profile?.accuracy === undefined ? (['drift'] as const) : (['drift', 'accuracy'] as const);
    for (const kind of kinds) {
      const id = `default-${kind}-${model}`;
      if (await rulesStore.wasDeleted(tx, id)) continue;
      await insert(tx, 'system', { id, createdAt: now(), spec: SpecSchema.parse({ kind, model, ...budgetOf(kind) }) });
    }
  }

  async function insert(tx: Transaction, actor: string, rule: AlertRule): Promise<AlertRule> {
    checkChannels(await rulesStore.channels(tx), rule.spec);
    await rulesStore.insertRule(tx, rule);
    await audit(tx, { actor, action: 'alert_rule.create', id: rule.id, after: rule.spec });
    return rule;
  }

  async function existing(tx: Transaction, id: string): Promise<AlertRule> {
    const rule = await rulesStore.rule(tx, id);
    if (rule === undefined) throw new AppError('not_found', `there is no alert rule "${id}"`);
    return rule;
  }

  async function endAlerts(tx: Transaction, ruleId: string, summary: string): Promise<void> {
    for (const alert of await alertStore.openAlertsOfRule(tx, ruleId)) {
      await alertStore.updateAlert(tx, { ...alert, status: 'resolved', resolvedAt: now(), summary });
    }
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
function checkChannels(channels: readonly NotificationChannel[], spec: AlertRuleSpec): void {
  const missing = spec.channels.find((wanted) => !channels.some(({ id, name }) => wanted === id || wanted === name));
  if (missing === undefined) return;
  const known = channels.map(({ name }) => name).join(', ') || 'none';
  throw new AppError('invalid_request', `channels: there is no channel "${missing}" (there are: ${known})`);
}
