// SQL of alerts.
import { type Alert, Alert as AlertSchema } from '@edgeloop/shared/api/alerts';
import { and, desc, eq, inArray, isNotNull, lt, ne, or } from 'drizzle-orm';
import { z } from 'zod';
import type { Database, Reader, Transaction } from '../../database/open.ts';

/** What a judged window says of the model, and an alert repeats. */
export const AlertFigures = AlertSchema.pick({ summary: true, features: true, scope: true, value: true });
export type AlertFigures = z.infer<typeof AlertFigures>;

/** Column `detail` of alerts. */
const AlertDetail = AlertFigures.extend({
  /** The word was passed on to whoever acts on a firing alert. */
  handedOver: z.boolean().default(false),
});

/** An alert as stored: with what only the control plane needs to know. */
export type AlertRecord = Alert & { handedOver: boolean; notifiedAt: number | null };

/** What an alert is about: one version of a model by one rule. At most one of them is open. */
export interface AlertSubject {
  ruleId: string;
  model: string;
  version: number;
}

type Source = Reader | Transaction;

export type AlertStore = ReturnType<typeof createAlertStore>;

export function createAlertStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { alerts } = tables;
  return {
    listAlerts,
    alert,
    openAlert,
    openAlertsOfRule: (tx: Transaction, ruleId: string) =>
      alertsWhere(tx, and(eq(alerts.ruleId, ruleId), ne(alerts.status, 'resolved'))),
    openAlerts: () => alertsWhere(read, ne(alerts.status, 'resolved')),
    alertsToNotify,
    insertAlert,
    updateAlert,
    markNotified,
  };

  /** Newest first, up to `limit`, after the alert with id `after`. */
  async function listAlerts(asked: {
    model?: string | undefined;
    status?: Alert['status'] | undefined;
    after: string | undefined;
    limit: number;
  }): Promise<AlertRecord[]> {
    const rows = await read
      .select()
      .from(alerts)
      .where(
        and(
          asked.model === undefined ? undefined : eq(alerts.model, asked.model),
          asked.status === undefined ? undefined : eq(alerts.status, asked.status),
          asked.after === undefined ? undefined : lt(alerts.id, asked.after),
        ),
      )
      .orderBy(desc(alerts.id))
      .limit(asked.limit);
    return rows.map(recordOf);
  }

  async function alert(source: Source, id: string): Promise<AlertRecord | undefined> {
    const [found] = await alertsWhere(source, eq(alerts.id, id));
    return found;
  }

  async function openAlert(source: Source, { ruleId, model, version }: AlertSubject): Promise<AlertRecord | undefined> {
    const of = and(eq(alerts.ruleId, ruleId), eq(alerts.model, model), eq(alerts.version, version));
    const [found] = await alertsWhere(source, and(of, ne(alerts.status, 'resolved')));
    return found;
  }

  /** Every firing one, and those that were told as firing and have resolved since. */
  function alertsToNotify(): Promise<AlertRecord[]> {
    const resolvedSince = and(
      eq(alerts.status, 'resolved'),
      isNotNull(alerts.firedAt),
      isNotNull(alerts.notifiedAt),
      lt(alerts.notifiedAt, alerts.resolvedAt),
    );
    return alertsWhere(read, or(eq(alerts.status, 'firing'), resolvedSince));
  }

  async function alertsWhere(source: Source, condition: ReturnType<typeof and>): Promise<AlertRecord[]> {
    return (await source.select().from(alerts).where(condition).orderBy(alerts.id)).map(recordOf);
  }

  async function insertAlert(tx: Transaction, record: AlertRecord): Promise<void> {
    await tx.insert(alerts).values(columnsOf(record));
  }

  async function updateAlert(tx: Transaction, record: AlertRecord): Promise<void> {
    await tx.update(alerts).set(columnsOf(record)).where(eq(alerts.id, record.id));
  }

  async function markNotified(tx: Transaction, ids: readonly string[], at: number): Promise<void> {
    await tx
      .update(alerts)
      .set({ notifiedAt: at })
      .where(inArray(alerts.id, [...ids]));
  }
}

type Row = Database['tables']['alerts']['$inferSelect'];

function recordOf(row: Row): AlertRecord {
  const { handedOver, ...detail } = AlertDetail.parse(row.detail);
  return { ...AlertSchema.parse({ ...row, ...detail }), handedOver, notifiedAt: row.notifiedAt };
}

function columnsOf(record: AlertRecord): Row {
  const { summary, features, scope, value, handedOver, ...columns } = record;
  const detail: z.input<typeof AlertDetail> = { summary, features, scope, value, handedOver };
  return { ...columns, detail };
}
