// SQL of alerts.
import { type Alert, AlertHistory, Alert as AlertSchema } from '@edgeloop/shared/api/alerts';
import { and, desc, eq, inArray, lt, ne, type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Database, Reader, Transaction } from '../../database/open.ts';

/** What a judged window says of the model, and an alert repeats. */
export const AlertFigures = AlertSchema.pick({ summary: true, features: true, scope: true, value: true });
export type AlertFigures = z.infer<typeof AlertFigures>;

const noLinks = { causedBy: [], runs: [], rollouts: [], resolvedBy: [] };

/** Column `detail` of alerts. What rows of before do not have gets what it was then. */
const AlertDetail = AlertFigures.extend({
  severity: AlertSchema.shape.severity.default('warning'),
  labels: AlertSchema.shape.labels.default({}),
  acknowledgedAt: AlertSchema.shape.acknowledgedAt.default(null),
  note: AlertSchema.shape.note.default(null),
  bound: AlertSchema.shape.bound.default(null),
  baseline: AlertSchema.shape.baseline.default(null),
  evidence: AlertSchema.shape.evidence.optional(),
  resolution: AlertSchema.shape.resolution.default(null),
  links: AlertSchema.shape.links.default(noLinks),
  history: AlertHistory.default([]),
  /** Since when its value is calm while it fires. */
  calmSince: z.number().nullable().default(null),
  /** The word was passed on to whoever acts on a firing alert. */
  handedOver: z.boolean().default(false),
});

/** An alert as stored: with what only the control plane needs to know. */
export type AlertRecord = Alert & {
  history: AlertHistory;
  /** The rest of what it is about, see the schema. */
  subject: string;
  calmSince: number | null;
  handedOver: boolean;
  notifiedAt: number | null;
};

/** What an alert is about, by one rule. At most one of them is open. */
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
    openAlertsOfRule: (source: Source, ruleId: string) =>
      alertsWhere(source, and(eq(alerts.ruleId, ruleId), ne(alerts.status, 'resolved'))),
    openAlerts: () => alertsWhere(read, ne(alerts.status, 'resolved')),
    async hasOpenOfRule(ruleId: string): Promise<boolean> {
      return (await read.$count(alerts, and(eq(alerts.ruleId, ruleId), ne(alerts.status, 'resolved')))) > 0;
    },
    alertsById: (ids: readonly string[]) => (ids.length === 0 ? [] : alertsWhere(read, inArray(alerts.id, [...ids]))),
    insertAlert,
    updateAlert,
    markNotified,
  };

  /** Newest first, up to `limit`, after the alert with id `after`. */
  async function listAlerts(asked: {
    model?: string | undefined;
    status?: Alert['status'] | undefined;
    severity?: Alert['severity'] | undefined;
    rule?: string | undefined;
    after: string | undefined;
    limit: number;
  }): Promise<AlertRecord[]> {
    const { limit, severity } = asked;
    const found: AlertRecord[] = [];
    let { after } = asked;
    for (;;) {
      const rows = await read
        .select()
        .from(alerts)
        .where(
          and(
            asked.model === undefined ? undefined : eq(alerts.model, asked.model),
            asked.status === undefined ? undefined : eq(alerts.status, asked.status),
            asked.rule === undefined ? undefined : eq(alerts.ruleId, asked.rule),
            after === undefined ? undefined : lt(alerts.id, after),
          ),
        )
        .orderBy(desc(alerts.id))
        .limit(limit);
      // The severity is no column; pages are read on until they are full.
      found.push(...rows.map(recordOf).filter((each) => severity === undefined || each.severity === severity));
      after = rows.at(-1)?.id;
      if (rows.length < limit || found.length >= limit) return found.slice(0, limit);
    }
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

  async function alertsWhere(source: Source, condition: SQL | undefined): Promise<AlertRecord[]> {
    return (await source.select().from(alerts).where(condition).orderBy(alerts.id)).map(recordOf);
  }

  async function insertAlert(tx: Transaction, record: AlertRecord): Promise<void> {
    await tx.insert(alerts).values(columnsOf(record));
  }

  async function updateAlert(tx: Transaction, record: AlertRecord): Promise<void> {
    await tx.update(alerts).set(columnsOf(record)).where(eq(alerts.id, record.id));
  }

  async function markNotified(tx: Transaction, ids: readonly string[], at: number): Promise<void> {
    if (ids.length === 0) return;
    await tx
      .update(alerts)
      .set({ notifiedAt: sql`${at}` })
      .where(inArray(alerts.id, [...ids]));
  }
}

type Row = Database['tables']['alerts']['$inferSelect'];

function recordOf(row: Row): AlertRecord {
  const { handedOver, history, calmSince, ...detail } = AlertDetail.parse(row.detail);
  const shown = {
    ...{ ...row, ...detail },
    model: row.model === '' ? null : row.model,
    version: row.version === 0 ? null : row.version,
    evidence: detail.evidence ?? { state: 'fresh', since: row.startedAt, numbersAt: row.startedAt, detail: '' },
  };
  return {
    ...AlertSchema.parse(shown),
    ...{ subject: row.subject, history, calmSince, handedOver, notifiedAt: row.notifiedAt },
  };
}

function columnsOf(record: AlertRecord): Row {
  const { id, ruleId, kind, model, version, subject, status, startedAt, firedAt, resolvedAt, ...others } = record;
  const { acknowledgedBy, silencedUntil, notifiedAt, ...rest } = others;
  const detail: z.input<typeof AlertDetail> = rest;
  return {
    ...{ id, ruleId, kind, model: model ?? '', version: version ?? 0, subject, status, startedAt, firedAt, resolvedAt },
    ...{ acknowledgedBy, silencedUntil, notifiedAt, detail },
  };
}
