// Recent answers by inference id, so that a label finds its prediction also after a restart. Bounded; the oldest go.
import { desc, eq, lte, sql } from 'drizzle-orm';
import type { Reader } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import { predictions } from '../database/schema.ts';
import type { JournalRecord } from './record.ts';

type Prediction = typeof predictions.$inferSelect;

export interface Predictions {
  /** Keeps the successful ones, in the caller's transaction; those already there stay as they are. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  find(reader: Reader, inferenceId: string): Prediction | undefined;
  setLabel(transaction: Reader, inferenceId: string, label: string): void;
}

const rowBytes = 200;

export function createPredictions(database: DeviceDatabase, budgetBytes: number): Predictions {
  const rowsAtMost = Math.max(1000, Math.floor(budgetBytes / rowBytes));
  // Prepared once, because every answer of the device comes this way; it runs within the caller's transaction, which
  // is on the same connection.
  const insert = database
    .insert(predictions)
    .values({
      inferenceId: sql.placeholder('inferenceId'),
      model: sql.placeholder('model'),
      version: sql.placeholder('version'),
      predicted: sql.placeholder('predicted'),
      at: sql.placeholder('at'),
      release: sql.placeholder('release'),
    })
    .onConflictDoNothing()
    .prepare();

  function trim(transaction: Reader): void {
    const newest = transaction.select().from(predictions).orderBy(desc(predictions.ordinal)).limit(1).get();
    const through = (newest?.ordinal ?? 0) - rowsAtMost;
    if (through > 0) transaction.delete(predictions).where(lte(predictions.ordinal, through)).run();
  }

  return {
    keep(transaction, records) {
      for (const record of records)
        if (record.outcome === 'ok' && record.shadow === undefined) insert.run(rowOf(record));
      trim(transaction);
    },
    find: (reader, inferenceId) =>
      reader.select().from(predictions).where(eq(predictions.inferenceId, inferenceId)).get(),
    setLabel: (transaction, inferenceId, label) =>
      void transaction.update(predictions).set({ label }).where(eq(predictions.inferenceId, inferenceId)).run(),
  };
}

function rowOf({ inferenceId, model, version, release, at, rows, predicted, value }: JournalRecord) {
  const said = predicted?.[0] ?? (value === undefined || Number.isNaN(value) ? undefined : String(value));
  const label = rows === 1 ? (said ?? null) : null;
  return { inferenceId, model, version, release: release ?? null, at, predicted: label };
}
