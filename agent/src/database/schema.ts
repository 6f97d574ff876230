// The device's tables. JSON columns are parsed by their owners, because an older agent may have written them.
import { blob, integer, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';

/** Single values: epoch of the outbox, counters, what is desired. */
export const facts = sqliteTable('facts', { key: text().primaryKey(), value: text().notNull() });

/** One row per model: its activation state, as `models/rollout/model-state.ts` defines it. */
export const modelStates = sqliteTable('model_states', { name: text().primaryKey(), state: text().notNull() });

/** Telemetry that waits for its acknowledgement. */
export const outbox = sqliteTable('outbox', {
  sequence: integer().primaryKey(),
  kind: text({ enum: ['window', 'labels', 'loss'] }).notNull(),
  bytes: integer().notNull(),
  /** As JSON; empty where it is in `packed`, compressed. */
  item: text().notNull(),
  packed: blob({ mode: 'buffer' }),
  /** The last instant that it tells of, by the device's clock; null where it has none, or an agent of before has added it. */
  at: integer(),
});

/** Windows that are still open, see `telemetry/held-windows.ts`. */
export const heldWindows = sqliteTable('held_windows', {
  ordinal: integer().primaryKey({ autoIncrement: true }),
  windows: blob({ mode: 'buffer' }).notNull(),
});

/** Inputs kept for training, see `telemetry/sample-block.ts`. `waiting` ones are uploaded only if their label comes. */
export const sampleBlocks = sqliteTable('sample_blocks', {
  ordinal: integer().primaryKey({ autoIncrement: true }),
  waiting: integer({ mode: 'boolean' }).notNull(),
  count: integer().notNull(),
  /** What they take, with what a row needs. */
  bytes: integer().notNull(),
  fromAt: integer().notNull(),
  toAt: integer().notNull(),
  block: blob({ mode: 'buffer' }).notNull(),
});

/** Recent answers, see `telemetry/prediction-block.ts`. `ordinal` is the age. */
export const predictionBlocks = sqliteTable('prediction_blocks', {
  ordinal: integer().primaryKey({ autoIncrement: true }),
  answers: integer().notNull(),
  block: blob({ mode: 'buffer' }).notNull(),
});

/** Answers that got a label, and those that agents of before have kept. */
export const predictions = sqliteTable('predictions', {
  ordinal: integer().primaryKey({ autoIncrement: true }),
  inferenceId: text('inference_id').notNull().unique(),
  model: text().notNull(),
  version: integer().notNull(),
  predicted: text(),
  at: integer().notNull(),
  label: text(),
  /** SHA-256 of the release document, where it is known; also below. */
  release: text(),
});

/** Those that got a label, and what agents of before have kept. `features` are float32, little endian. */
export const samples = sqliteTable('samples', {
  ordinal: integer().primaryKey({ autoIncrement: true }),
  inferenceId: text('inference_id').notNull().unique(),
  model: text().notNull(),
  version: integer().notNull(),
  at: integer().notNull(),
  reason: text({ enum: ['rate', 'low_confidence', 'labelled', 'waiting', 'disagreement'] }).notNull(),
  features: blob({ mode: 'buffer' }).notNull(),
  predicted: text(),
  score: real(),
  label: text(),
  bytes: integer().notNull(),
  release: text(),
  /** What a shadow said, of a disagreement: an `OtherPrediction`. */
  other: text(),
});

/** Deaths of the serving process while a model file ran, by the file's SHA-256, and on whose word it was there. */
export const deaths = sqliteTable('deaths', {
  digest: text().primaryKey(),
  /** The rollout in a fleet, empty in a folder: another word is another chance. */
  word: text().notNull(),
  name: text().notNull(),
  version: integer().notNull(),
  count: integer().notNull(),
  at: integer().notNull(),
  detail: text().notNull(),
  quarantined: integer({ mode: 'boolean' }).notNull(),
});

/** How a model file runs best on this hardware, as measured. */
export const tunings = sqliteTable(
  'tunings',
  {
    digest: text().notNull(),
    hardware: text().notNull(),
    tuning: text().notNull(),
    at: integer().notNull(),
  },
  (table) => [primaryKey({ columns: [table.digest, table.hardware] })],
);

/** Model files by SHA-256 whose proof held on this device. */
export const proofs = sqliteTable('proofs', { digest: text().primaryKey(), at: integer().notNull() });
