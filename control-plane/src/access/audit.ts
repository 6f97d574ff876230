// The audit log: every change with who, what, when, before and after, written in the change's own transaction.
import type { Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { insertAudit } from './access-store.ts';

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

/** Writes one entry; it stands or falls with the transaction. */
export function recordAudit(tables: Schema, tx: Transaction, record: AuditRecord): Promise<void> {
  return insertAudit(tables, tx, record);
}
