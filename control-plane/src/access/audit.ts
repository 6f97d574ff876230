// The audit log: every change with who, what, when, before and after, written in the change's own transaction.
import type { AuditEntry, AuditQuery } from '@edgeloop/shared/api/access';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { type AuditRecord, insertAudit, listAudit } from './audit-store.ts';

/** Writes one entry; it stands or falls with the transaction. */
export function recordAudit(tables: Schema, tx: Transaction, record: AuditRecord): Promise<void> {
  return insertAudit(tables, tx, record);
}

/** Newest first. */
export async function auditPage(
  { tables, read }: Pick<Database, 'tables' | 'read'>,
  { limit, cursor, ...asked }: PageQuery & z.output<typeof AuditQuery>,
): Promise<Page<AuditEntry>> {
  const beforeId = decodeCursor(z.string(), cursor);
  const entries = await listAudit(tables, read, { ...asked, beforeId, limit: limit + 1 });
  return toPage(entries, limit, ({ id }) => id);
}
