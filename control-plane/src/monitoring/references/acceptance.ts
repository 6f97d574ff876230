// A drift that is real and harmless: somebody says that what was seen since is the new normal. It becomes the reference of the
// version, and the alert ends with that word, in one transaction.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import { AppError } from '@edgeloop/shared/errors';
import { recordAudit } from '../../access/audit.ts';
import type { Database } from '../../database/open.ts';
import { ended } from '../alerts/alert-record.ts';
import type { AlertRecord, AlertStore } from '../alerts/alert-store.ts';
import { toView } from '../alerts/alert-view.ts';
import type { RulesStore } from '../alerts/rules-store.ts';
import type { References } from './references.ts';

interface AcceptanceDeps {
  database: Database;
  alertStore: AlertStore;
  rulesStore: RulesStore;
  references: Pick<References, 'accept' | 'info'>;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
}

export function createAcceptance({ database, alertStore, rulesStore, references, now, notify }: AcceptanceDeps) {
  /** @throws AppError `not_found`; `conflict` when the alert is not of drift, has ended, or too little came in since it began */
  return async function accept(actor: string, id: string, why: string): Promise<Alert> {
    const asked = acceptable(await alertStore.alert(database.read, id), id);
    const { model, version, ruleId, startedAt } = asked;
    const rule = await rulesStore.rule(database.read, ruleId);
    const minSamples = rule?.spec.kind === 'drift' ? rule.spec.minSamples : 1;
    const before = await references.info(model, version);
    const { reference, insert } = await references.accept(
      { model, version },
      { from: startedAt, minSamples, by: actor, why, alertId: id },
    );
    const accepted = await database.transact(async (tx) => {
      const current = acceptable(await alertStore.alert(tx, id), id);
      const summary = `accepted as the new normal by ${actor}: ${why}`;
      const after = { ...ended(current, { kind: 'accepted', summary }, now()), acknowledgedBy: actor };
      await insert(tx);
      await alertStore.updateAlert(tx, after);
      const { id: referenceId, fromAt, toAt, profile } = reference;
      await recordAudit(database.tables, tx, {
        ...{ at: now(), actor, action: 'alert.accept', subject: `alert/${id}`, before },
        after: { why, model, version, reference: referenceId, from: fromAt, to: toAt, rows: profile.rows },
      });
      return after;
    });
    notify({ type: 'alert', id, state: accepted.status });
    return toView(accepted);
  };
}

type Acceptable = AlertRecord & { model: string; version: number };

function acceptable(alert: AlertRecord | undefined, id: string): Acceptable {
  if (alert === undefined) throw new AppError('not_found', `there is no alert "${id}"`);
  const { model, version } = alert;
  if (alert.kind !== 'drift' || model === null || version === null)
    throw new AppError('conflict', `alert "${id}" is of ${alert.kind}: only a drift can be accepted as the new normal`);
  if (alert.status === 'resolved') throw new AppError('conflict', `alert "${id}" has ended already`);
  return { ...alert, model, version };
}
