// Lets go of what is old, a few rows at a time, so that nobody waits for it.
import { type AnyColumn, and, asc, lt, type SQL, sql } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Database, Transaction } from './open.ts';

export interface Expiring {
  table: SQLiteTable;
  /** Its primary key. */
  key: readonly [AnyColumn, ...AnyColumn[]];
  /** How old a row is. */
  at: AnyColumn;
  /** Of these rows only. */
  only?: SQL | undefined;
}

/** What a room lets go of: `expire` deletes some of what is too old, and says how many rows; fewer than asked for when none are left. */
export interface Keeper {
  table: string;
  expire(limit: number): Promise<number>;
}

/** Deletes up to `limit` of the rows from before an instant, the oldest first; returns how many. */
export async function deleteBefore(
  tx: Transaction,
  { table, key, at, only }: Expiring,
  { before, limit }: { before: number; limit: number },
): Promise<number> {
  const columns = sql.join([...key], sql`, `);
  const oldest = tx
    .select({ key: sql`${columns}` })
    .from(table)
    .where(and(lt(at, before), only))
    .orderBy(asc(at))
    .limit(limit);
  const gone = await tx.delete(table).where(sql`(${columns}) in ${oldest}`).returning({ one: sql`1` });
  return gone.length;
}

/** A keeper of rows that are kept for a time. */
export function keeperFor(
  { transact }: Pick<Database, 'transact'>,
  { name, keepMs, now, ...expiring }: Expiring & { name: string; keepMs: number; now: () => number },
): Keeper {
  return {
    table: name,
    expire: (limit) => transact((tx) => deleteBefore(tx, expiring, { before: now() - keepMs, limit })),
  };
}
