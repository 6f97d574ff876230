// Single values of the device that must survive a restart, by name.
import { eq } from 'drizzle-orm';
import type { DeviceDatabase } from './open.ts';
import { facts } from './schema.ts';

export type FactName =
  | 'desired'
  | 'hold'
  | 'clean_stop'
  | 'outbox_epoch'
  | 'outbox_epochs'
  | 'outbox_next'
  | 'outbox_sent'
  | 'outbox_dropped'
  | 'journal_folded'
  | 'journal_boot'
  | 'usage'
  | 'samples_dropped'
  | 'given_up'
  | 'losses_told'
  | 'labelled_outcomes';

/** A database or a transaction of one. */
export type Reader = Pick<DeviceDatabase, 'select' | 'insert' | 'update' | 'delete'>;

export function readFact(database: Reader, key: FactName): string | undefined {
  return database.select().from(facts).where(eq(facts.key, key)).get()?.value;
}

/** What is no number counts as none. */
export function readCount(database: Reader, key: FactName): number {
  const count = Number(readFact(database, key) ?? 0);
  return Number.isFinite(count) ? count : 0;
}

export function writeFact(database: Reader, key: FactName, value: string | number): void {
  const text = String(value);
  database
    .insert(facts)
    .values({ key, value: text })
    .onConflictDoUpdate({ target: facts.key, set: { value: text } })
    .run();
}
