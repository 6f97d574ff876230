// All SQL of API keys, join tokens and the audit log.
import { AuditEntry } from '@edgeloop/shared/api/access';
import { parse } from '@edgeloop/shared/errors';
import { and, desc, eq, isNull, lt, type SQL } from 'drizzle-orm';
import { v7 as uuid } from 'uuid';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import type { AuditRecord } from './audit.ts';

export type ApiKeyRow = Schema['apiKeys']['$inferSelect'];
export type JoinTokenRow = Schema['joinTokens']['$inferSelect'];

export async function insertAudit(tables: Schema, tx: Transaction, record: AuditRecord): Promise<void> {
  await tx.insert(tables.audit).values({
    id: uuid(),
    at: record.at,
    actor: record.actor,
    action: record.action,
    subject: record.subject,
    before: record.before ?? null,
    after: record.after ?? null,
  });
}

/** Newest first; ids are version 7 UUIDs, so they sort by time. */
export async function listAudit(
  tables: Schema,
  reader: Reader,
  query: { subject?: string | undefined; actor?: string | undefined; beforeId?: string | undefined; limit: number },
): Promise<AuditEntry[]> {
  const { audit } = tables;
  const conditions: SQL[] = [];
  if (query.subject !== undefined) conditions.push(eq(audit.subject, query.subject));
  if (query.actor !== undefined) conditions.push(eq(audit.actor, query.actor));
  if (query.beforeId !== undefined) conditions.push(lt(audit.id, query.beforeId));
  const rows = await reader
    .select()
    .from(audit)
    .where(and(...conditions))
    .orderBy(desc(audit.id))
    .limit(query.limit);
  return rows.map((row) => parse(AuditEntry, row, `audit entry ${row.id}`, 'internal'));
}

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

export async function insertJoinToken(tables: Schema, tx: Transaction, row: JoinTokenRow): Promise<void> {
  await tx.insert(tables.joinTokens).values(row);
}

export async function joinTokenByHash(tables: Schema, reader: Reader, hash: string): Promise<JoinTokenRow | undefined> {
  const [row] = await reader.select().from(tables.joinTokens).where(eq(tables.joinTokens.hash, hash));
  return row;
}

export async function setUsesLeft(tables: Schema, tx: Transaction, id: string, usesLeft: number): Promise<void> {
  await tx.update(tables.joinTokens).set({ usesLeft }).where(eq(tables.joinTokens.id, id));
}

export async function activeAdmins(tables: Schema, reader: Reader): Promise<number> {
  return reader.$count(tables.apiKeys, and(eq(tables.apiKeys.role, 'admin'), isNull(tables.apiKeys.revokedAt)));
}
