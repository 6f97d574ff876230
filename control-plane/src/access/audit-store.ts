// SQL of the audit log.
import { AuditEntry } from '@edgeloop/shared/api/access';
import { parse } from '@edgeloop/shared/errors';
import { and, desc, eq, lt, type SQL } from 'drizzle-orm';
import { v7 as uuid } from 'uuid';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export interface AuditRecord {
  /** Milliseconds since the epoch. */
  at: number;
  /** `key:NAME`, `device:ID` or `system`. */
  actor: string;
  /** `rollout.create`, `device.enrol`, … */
  action: string;
  /** `rollout/ID`, `model/NAME/3`, … */
  subject: string;
  /** JSON; never a secret. */
  before?: unknown;
  after?: unknown;
}

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
