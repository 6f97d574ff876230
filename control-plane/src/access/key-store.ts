// SQL of API keys.
import { and, desc, eq, isNull, lt } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export type ApiKeyRow = Schema['apiKeys']['$inferSelect'];

export async function insertKey(tables: Schema, tx: Transaction, row: ApiKeyRow): Promise<void> {
  await tx.insert(tables.apiKeys).values(row);
}

export async function keyByHash(tables: Schema, reader: Reader, hash: string): Promise<ApiKeyRow | undefined> {
  const [row] = await reader.select().from(tables.apiKeys).where(eq(tables.apiKeys.hash, hash));
  return row;
}

export async function keyById(tables: Schema, reader: Reader, id: string): Promise<ApiKeyRow | undefined> {
  const [row] = await reader.select().from(tables.apiKeys).where(eq(tables.apiKeys.id, id));
  return row;
}

export async function listKeys(
  tables: Schema,
  reader: Reader,
  query: { beforeId?: string | undefined; limit: number },
): Promise<ApiKeyRow[]> {
  const { apiKeys } = tables;
  return reader
    .select()
    .from(apiKeys)
    .where(query.beforeId === undefined ? undefined : lt(apiKeys.id, query.beforeId))
    .orderBy(desc(apiKeys.id))
    .limit(query.limit);
}

export async function updateKey(
  tables: Schema,
  tx: Transaction,
  id: string,
  change: Partial<Pick<ApiKeyRow, 'lastUsedAt' | 'revokedAt'>>,
): Promise<void> {
  await tx.update(tables.apiKeys).set(change).where(eq(tables.apiKeys.id, id));
}

export async function activeAdmins(tables: Schema, reader: Reader): Promise<number> {
  return reader.$count(tables.apiKeys, and(eq(tables.apiKeys.role, 'admin'), isNull(tables.apiKeys.revokedAt)));
}
