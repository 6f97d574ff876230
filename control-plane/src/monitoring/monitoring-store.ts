// SQL of alerts and of the judged windows they come from.
import { type Alert, Alert as AlertSchema } from '@edgeloop/shared/api/alerts';
import { and, desc, eq, gte, inArray, isNotNull, lt, ne, or } from 'drizzle-orm';
import type { z } from 'zod';
import type { Database, Reader, Transaction } from '../database/open.ts';
import type { JudgedVerdict } from './alerts/alert-state.ts';
import { AlertDetail, EvaluationDetail, VerdictText } from './schemas.ts';
import type { Verdict } from './statistics/drift.ts';

/** An alert as stored: with what only the control plane needs to know. */
export type AlertRecord = Alert & { handedOver: boolean; notifiedAt: number | null };

/** Of one version of a model by one rule. */
export interface Judged {
  ruleId: string;
  model: string;
  version: number;
}
export interface Evaluation extends Judged {
  windowStart: number;
  windowEnd: number;
  samples: number;
  verdict: Verdict;
  detail: EvaluationDetail;
}

type Source = Reader | Transaction;

export type MonitoringStore = ReturnType<typeof createMonitoringStore>;

export function createMonitoringStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { alerts, evaluations } = tables;
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
    upsertEvaluation,
    newestJudged,
    evaluationsBetween,
    deleteEvaluations,
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

  async function openAlert(source: Source, { ruleId, model, version }: Judged): Promise<AlertRecord | undefined> {
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

  /** A window that is judged again, because data of it came late, replaces its former judgement. */
  async function upsertEvaluation(tx: Transaction, evaluation: Evaluation): Promise<void> {
    const { ruleId, model, version, windowStart } = evaluations;
    await tx
      .insert(evaluations)
      .values(evaluation)
      .onConflictDoUpdate({
        target: [ruleId, model, version, windowStart],
        set: {
          windowEnd: evaluation.windowEnd,
          samples: evaluation.samples,
          verdict: evaluation.verdict,
          detail: evaluation.detail,
        },
      });
  }

  /** The newest windows that had enough evidence, newest first. */
  async function newestJudged(
    source: Source,
    { ruleId, model, version }: Judged,
    limit: number,
  ): Promise<{ windowStart: number; verdict: JudgedVerdict; detail: EvaluationDetail }[]> {
    const rows = await source
      .select()
      .from(evaluations)
      .where(
        and(
          eq(evaluations.ruleId, ruleId),
          eq(evaluations.model, model),
          eq(evaluations.version, version),
          ne(evaluations.verdict, 'insufficient'),
        ),
      )
      .orderBy(desc(evaluations.windowStart))
      .limit(limit);
    return rows.map((row) => ({
      windowStart: row.windowStart,
      verdict: VerdictText.exclude(['insufficient']).parse(row.verdict),
      detail: EvaluationDetail.parse(row.detail),
    }));
  }

  async function evaluationsBetween(asked: {
    ruleIds: readonly string[];
    version?: number | undefined;
    from: number;
    to: number;
  }): Promise<Evaluation[]> {
    const rows = await read
      .select()
      .from(evaluations)
      .where(
        and(
          inArray(evaluations.ruleId, [...asked.ruleIds]),
          asked.version === undefined ? undefined : eq(evaluations.version, asked.version),
          gte(evaluations.windowStart, asked.from),
          lt(evaluations.windowStart, asked.to),
        ),
      )
      .orderBy(evaluations.windowStart);
    return rows.map((row) => ({
      ...row,
      verdict: VerdictText.parse(row.verdict),
      detail: EvaluationDetail.parse(row.detail),
    }));
  }

  async function deleteEvaluations(tx: Transaction, ruleId: string): Promise<void> {
    await tx.delete(evaluations).where(eq(evaluations.ruleId, ruleId));
  }

  function recordOf(row: typeof alerts.$inferSelect): AlertRecord {
    const { handedOver, ...detail } = AlertDetail.parse(row.detail);
    return { ...AlertSchema.parse({ ...row, ...detail }), handedOver, notifiedAt: row.notifiedAt };
  }

  function columnsOf(record: AlertRecord): typeof alerts.$inferInsert {
    const { summary, features, scope, value, handedOver, ...columns } = record;
    const detail: z.input<typeof AlertDetail> = { summary, features, scope, value, handedOver };
    return { ...columns, detail };
  }
}
