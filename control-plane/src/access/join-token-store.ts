// SQL of join tokens.
import { desc, eq, lt } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export type JoinTokenRow = Schema['joinTokens']['$inferSelect'];

export async function insertJoinToken(tables: Schema, tx: Transaction, row: JoinTokenRow): Promise<void> {
  await tx.insert(tables.joinTokens).values(row);
}

export async function joinTokenByHash(tables: Schema, reader: Reader, hash: string): Promise<JoinTokenRow | undefined> {
  const [row] = await reader.select().from(tables.joinTokens).where(eq(tables.joinTokens.hash, hash));
  return row;
}

export async function joinTokenById(tables: Schema, reader: Reader, id: string): Promise<JoinTokenRow | undefined> {
  const [row] = await reader.select().from(tables.joinTokens).where(eq(tables.joinTokens.id, id));
  return row;
}

/** Newest first; ids are version 7 UUIDs, so they sort by time. */
export async function listJoinTokens(
  tables: Schema,
  reader: Reader,
  query: { beforeId?: string | undefined; limit: number },
): Promise<JoinTokenRow[]> {
  const { joinTokens } = tables;
  return reader
    .select()
    .from(joinTokens)
    .where(query.beforeId === undefined ? undefined : lt(joinTokens.id, query.beforeId))
    .orderBy(desc(joinTokens.id))
    .limit(query.limit);
}

export async function updateJoinToken(
  tables: Schema,
  tx: Transaction,
  id: string,
  change: Partial<Pick<JoinTokenRow, 'usesLeft' | 'revokedAt'>>,
): Promise<void> {
  await tx.update(tables.joinTokens).set(change).where(eq(tables.joinTokens.id, id));
}
