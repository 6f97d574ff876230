// SQL of judged windows.
import { and, desc, eq, gte, inArray, lt, ne } from 'drizzle-orm';
import { z } from 'zod';
import type { Database, Transaction } from '../../database/open.ts';
import type { JudgedVerdict } from '../alerts/alert-state.ts';
import { AlertFigures, type AlertSubject } from '../alerts/alert-store.ts';
import type { Verdict } from '../statistics/drift.ts';

const VerdictText = z.enum(['suspicious', 'unsettled', 'calm', 'insufficient']);

/** Column `detail` of evaluations. */
const EvaluationDetail = AlertFigures.extend({
  /** What was judged, so that a restart sees what came later: the number of windows, or of labels and right ones. */
  evidence: z.string(),
  /** PSI of every judged signal. */
  psi: z.record(z.string(), z.number()).default({}),
  /** The smallest shift of every judged signal that would have been seen: in standard deviations, of classes in shares. */
  visible: z.record(z.string(), z.number()).default({}),
  notMonitorable: z.array(z.string()).default([]),
  insufficient: z.array(z.string()).default([]),
});
export type EvaluationDetail = z.infer<typeof EvaluationDetail>;

/** A judged window. */
export interface Evaluation extends AlertSubject {
  windowStart: number;
  windowEnd: number;
  samples: number;
  verdict: Verdict;
  detail: EvaluationDetail;
}

export type EvaluationStore = ReturnType<typeof createEvaluationStore>;

export function createEvaluationStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { evaluations } = tables;
  return { upsertEvaluation, newestJudged, newest, evaluationsBetween, deleteEvaluations };

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
    tx: Transaction,
    { ruleId, model, version }: AlertSubject,
    limit: number,
  ): Promise<{ windowStart: number; verdict: JudgedVerdict; detail: EvaluationDetail }[]> {
    const rows = await tx
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

  /** The newest window, with enough evidence or not. */
  async function newest(
    tx: Transaction,
    { ruleId, model, version }: AlertSubject,
  ): Promise<{ windowStart: number; verdict: Verdict; summary: string } | undefined> {
    const of = [eq(evaluations.ruleId, ruleId), eq(evaluations.model, model), eq(evaluations.version, version)];
    const rows = await tx
      .select()
      .from(evaluations)
      .where(and(...of))
      .orderBy(desc(evaluations.windowStart))
      .limit(1);
    const [row] = rows;
    if (row === undefined) return undefined;
    const { summary } = EvaluationDetail.parse(row.detail);
    return { windowStart: row.windowStart, verdict: VerdictText.parse(row.verdict), summary };
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
}
