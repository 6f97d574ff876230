// SQL of backtests.
import { Backtest, BacktestReport } from '@edgeloop/shared/api/backtests';
import { BacktestGate } from '@edgeloop/shared/api/gates';
import { GateVerdict } from '@edgeloop/shared/api/rollouts';
import { parse } from '@edgeloop/shared/errors';
import { and, asc, desc, eq, inArray, isNotNull, isNull, lt, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { describeBacktest } from './words.ts';

const Bounds = BacktestGate.extend({ maxErrorRate: z.number() });
const Failure = z.object({ by: z.enum(['candidate', 'server', 'request']), detail: z.string() });

/** With the bounds of the gate that it is for. */
export interface StoredBacktest extends Backtest {
  bounds: z.infer<typeof Bounds> | null;
  verdict: GateVerdict | null;
}

type Row = Schema['backtests']['$inferSelect'];

const pending = ['queued', 'running'];

export function createBacktestStore({ backtests }: Schema) {
  const ofVersion = (model: string, version: number) => and(eq(backtests.model, model), eq(backtests.version, version));

  return {
    async insert(tx: Transaction, row: typeof backtests.$inferInsert): Promise<void> {
      await tx.insert(backtests).values(row);
    },

    async update(tx: Transaction, id: string, change: Partial<Row>): Promise<void> {
      await tx.update(backtests).set(change).where(eq(backtests.id, id));
    },

    async backtest(read: Reader, id: string): Promise<StoredBacktest | undefined> {
      const [row] = await read.select().from(backtests).where(eq(backtests.id, id));
      return row && toBacktest(row);
    },

    /** The oldest that is not over: one that a former process began, or that waits. */
    async next(read: Reader): Promise<StoredBacktest | undefined> {
      const [row] = await read
        .select()
        .from(backtests)
        .where(inArray(backtests.status, pending))
        .orderBy(asc(backtests.id))
        .limit(1);
      return row && toBacktest(row);
    },

    /** Newest first, beginning before `beforeId`. */
    async list(
      read: Reader,
      {
        model,
        version,
        beforeId,
        limit,
      }: { model: string; version: number; beforeId?: string | undefined; limit: number },
    ): Promise<StoredBacktest[]> {
      const rows = await read
        .select()
        .from(backtests)
        .where(and(ofVersion(model, version), beforeId === undefined ? undefined : lt(backtests.id, beforeId)))
        .orderBy(desc(backtests.id))
        .limit(limit);
      return rows.map(toBacktest);
    },

    /** The newest with a report, else the newest. */
    async newest(read: Reader, model: string, version: number): Promise<StoredBacktest | undefined> {
      const [row] = await read
        .select()
        .from(backtests)
        .where(ofVersion(model, version))
        .orderBy(desc(sql`case when ${backtests.status} = 'done' then 1 else 0 end`), desc(backtests.id))
        .limit(1);
      return row && toBacktest(row);
    },

    /** The newest of the rollout's gate. */
    async ofRollout(read: Reader, rolloutId: string): Promise<StoredBacktest | undefined> {
      const [row] = await read
        .select()
        .from(backtests)
        .where(eq(backtests.rolloutId, rolloutId))
        .orderBy(desc(backtests.id))
        .limit(1);
      return row && toBacktest(row);
    },

    /** Forgets those of the version behind the newest `keep` that are of no rollout. */
    async prune(tx: Transaction, model: string, version: number, keep: number): Promise<void> {
      const free = and(ofVersion(model, version), isNull(backtests.rolloutId), isNotNull(backtests.endedAt));
      const rows = await tx
        .select({ id: backtests.id })
        .from(backtests)
        .where(free)
        .orderBy(desc(backtests.id))
        .limit(keep + 1);
      const oldestKept = rows[keep - 1]?.id;
      if (rows.length > keep && oldestKept !== undefined)
        await tx.delete(backtests).where(and(free, lt(backtests.id, oldestKept)));
    },
  };
}

function toBacktest(row: Row): StoredBacktest {
  const { failure, bounds, verdict, report, ...rest } = row;
  const read = <S extends z.ZodType>(schema: S, value: unknown, what: string) =>
    value === null ? null : parse(schema, value, `backtest ${row.id}: ${what}`, 'internal');
  const stored = {
    ...rest,
    report: read(BacktestReport, report, 'report'),
    error: read(Failure, failure, 'failure')?.detail ?? null,
  };
  const backtest = parse(Backtest, { ...stored, summary: '' }, `backtest ${row.id}`, 'internal');
  return {
    ...backtest,
    summary: describeBacktest(backtest),
    bounds: read(Bounds, bounds, 'bounds'),
    verdict: read(GateVerdict, verdict, 'verdict'),
  };
}
