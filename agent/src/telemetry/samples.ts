// Captured samples on disk within their budget: first what waits for a label goes, then the oldest, counted.
import { parseJson } from '@edgeloop/shared/errors';
import { type CapturedSample, OtherPrediction } from '@edgeloop/shared/telemetry';
import { and, asc, eq, inArray, isNotNull, isNull, lte, ne, or, sql, sum } from 'drizzle-orm';
import type { Logger } from 'pino';
import { type Reader, readCount, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import { samples } from '../database/schema.ts';
import { captureReason } from './capture.ts';
import type { JournalRecord } from './record.ts';
import type { ManifestOf } from './window.ts';

/** A sample with the row it is deleted by. */
interface StoredSample {
  ordinal: number;
  sample: CapturedSample;
}

export interface Samples {
  /** Keeps what the policies of the models ask for, in the caller's transaction. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  setLabel(transaction: Reader, inferenceId: string, label: string): void;
  /** Samples whose time for a label is over or that have one, oldest first. */
  ready(now: number): StoredSample[];
  /** Deletes uploaded ones, but for those whose label changed meanwhile. */
  remove(uploaded: readonly StoredSample[]): void;
}

const uploadAtMost = 200;
const uploadBytes = 512 * 1024;
const rowOverheadBytes = 150;
const evictedAtOnce = 200;

export interface SamplesOptions {
  database: DeviceDatabase;
  budgetBytes: number;
  /** How long a sample waits for its label before it is uploaded without. */
  waitMs: number;
  manifestOf: ManifestOf;
  /** The share of inputs that wait for a label which is kept; all when unset. */
  keptForLabels?: () => number;
  log: Logger;
}

export function createSamples({
  database,
  budgetBytes,
  waitMs,
  manifestOf,
  keptForLabels,
  log,
}: SamplesOptions): Samples {
  let total = storedBytes(database);
  const insert = insertion(database);

  function keep(transaction: Reader, records: readonly JournalRecord[]): void {
    const share = keptForLabels?.() ?? 1;
    for (const record of records) {
      if (record.shadow !== undefined) {
        if (record.features !== undefined) total += insert(disagreementOf(record, record.shadow));
        continue;
      }
      const policy = manifestOf(record.model, record.version, record.release)?.capture;
      const reason =
        policy === undefined
          ? undefined
          : captureReason(record, { ...policy, labelledRate: policy.labelledRate * share });
      if (reason !== undefined) total += insert(keptOf(record, reason));
    }
    if (total <= budgetBytes) return;
    // What was added in a transaction that failed is not there.
    total = storedBytes(transaction);
    if (total > budgetBytes) evict(transaction);
  }

  function evict(transaction: Reader): void {
    // Some room below the budget, so that not every new sample makes it necessary again.
    const target = budgetBytes * 0.95;
    let dropped = 0;
    while (total > target) {
      const waiting = oldest(transaction, true, total - target);
      const victims = waiting.length > 0 ? waiting : oldest(transaction, false, total - target);
      if (victims.length === 0) break;
      if (waiting.length === 0) dropped += victims.length;
      total -= removeRows(transaction, victims);
    }
    if (dropped === 0) return;
    writeFact(transaction, 'samples_dropped', readCount(transaction, 'samples_dropped') + dropped);
    log.warn({ dropped }, 'captured samples were dropped for want of room; raise EDGELOOP_CAPTURE_MB');
  }

  return {
    keep,
    setLabel(transaction, inferenceId, label) {
      const of = eq(samples.inferenceId, inferenceId);
      transaction.update(samples).set({ label }).where(of).run();
      transaction
        .update(samples)
        .set({ reason: 'labelled' })
        .where(and(of, eq(samples.reason, 'waiting')))
        .run();
    },
    ready(now) {
      return readyRows(database, now - waitMs).map(sampleOf);
    },
    remove(uploaded) {
      database.transaction((transaction) => {
        for (const { ordinal, sample } of uploaded) {
          const label = sample.label === undefined ? isNull(samples.label) : eq(samples.label, sample.label);
          const gone = transaction
            .delete(samples)
            .where(and(eq(samples.ordinal, ordinal), label))
            .returning({ bytes: samples.bytes })
            .all();
          for (const { bytes } of gone) total -= bytes;
        }
      });
    },
  };
}

function storedBytes(reader: Reader): number {
  const row = reader
    .select({ bytes: sum(samples.bytes) })
    .from(samples)
    .get();
  return Number(row?.bytes ?? 0);
}

type Reason = 'rate' | 'low_confidence' | 'waiting' | 'disagreement';

interface Kept extends Pick<JournalRecord, 'inferenceId' | 'model' | 'version' | 'release' | 'at' | 'features'> {
  reason: Reason;
  predicted: string | undefined;
  score: number | undefined;
  other: OtherPrediction | undefined;
}

function keptOf(record: JournalRecord, reason: Reason): Kept {
  return { ...record, reason, predicted: record.predicted?.[0], score: record.scores?.[0], other: undefined };
}

/** What was answered, and what the shadow says instead. */
function disagreementOf(record: JournalRecord, shadow: NonNullable<JournalRecord['shadow']>): Kept {
  const { version, release, predicted, scores } = record;
  const score = scores?.[0];
  const other: OtherPrediction = {
    version,
    ...(release === undefined ? {} : { release }),
    ...(predicted?.[0] === undefined ? {} : { predicted: predicted[0] }),
    ...(score === undefined || !Number.isFinite(score) ? {} : { score }),
  };
  const answered = { ...record, version: shadow.version, release: shadow.release };
  return { ...answered, reason: 'disagreement', predicted: shadow.predicted?.[0], score: shadow.scores?.[0], other };
}

/**
 * Inserts a sample in the transaction that is open, and says how many bytes that added: none when it was there already.
 * Prepared once, since many answers come this way.
 */
function insertion(database: DeviceDatabase): (kept: Kept) => number {
  const insert = database
    .insert(samples)
    .values({
      inferenceId: sql.placeholder('inferenceId'),
      model: sql.placeholder('model'),
      version: sql.placeholder('version'),
      at: sql.placeholder('at'),
      reason: sql.placeholder('reason'),
      features: sql.placeholder('features'),
      predicted: sql.placeholder('predicted'),
      score: sql.placeholder('score'),
      bytes: sql.placeholder('bytes'),
      release: sql.placeholder('release'),
      other: sql.placeholder('other'),
    })
    .onConflictDoNothing()
    .prepare();
  // What was kept for another reason is one that they disagree about, too.
  const mark = database
    .update(samples)
    .set({ reason: 'disagreement', other: sql`${sql.placeholder('other')}` })
    .where(eq(samples.inferenceId, sql.placeholder('inferenceId')))
    .prepare();
  return (kept) => {
    const numbers = kept.features ?? new Float32Array();
    const features = Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    const bytes = features.length + rowOverheadBytes;
    const { inferenceId, model, version, at, reason, predicted = null, score = null } = kept;
    const release = kept.release ?? null;
    const other = kept.other === undefined ? null : JSON.stringify(kept.other);
    const row = { inferenceId, model, version, release, at, reason, features, predicted, score, bytes, other };
    const { changes } = insert.run(row);
    if (changes === 0 && other !== null) mark.run({ inferenceId, other });
    return changes > 0 ? bytes : 0;
  };
}

/** As many of the oldest as one upload takes: those that have a label, or were taken before `waited`. */
function readyRows(database: DeviceDatabase, waited: number): (typeof samples.$inferSelect)[] {
  const over = or(lte(samples.at, waited), isNotNull(samples.label));
  const rows = database
    .select()
    .from(samples)
    .where(and(ne(samples.reason, 'waiting'), over))
    .orderBy(asc(samples.ordinal))
    .limit(uploadAtMost)
    .all();
  let size = 0;
  return rows.filter(({ bytes }, at) => {
    size += bytes;
    return size <= uploadBytes || at === 0;
  });
}

/** The oldest rows that make up `excessBytes`, or as many as are deleted at once. */
function oldest(transaction: Reader, waiting: boolean, excessBytes: number): number[] {
  const rows = transaction
    .select({ ordinal: samples.ordinal, bytes: samples.bytes })
    .from(samples)
    .where(waiting ? eq(samples.reason, 'waiting') : ne(samples.reason, 'waiting'))
    .orderBy(asc(samples.ordinal))
    .limit(evictedAtOnce)
    .all();
  let freed = 0;
  const victims = rows.filter(({ bytes }) => {
    const needed = freed < excessBytes;
    freed += bytes;
    return needed;
  });
  return victims.map(({ ordinal }) => ordinal);
}

function removeRows(transaction: Reader, ordinals: number[]): number {
  const gone = transaction
    .delete(samples)
    .where(inArray(samples.ordinal, ordinals))
    .returning({ bytes: samples.bytes })
    .all();
  return gone.reduce((bytes, row) => bytes + row.bytes, 0);
}

function sampleOf(row: typeof samples.$inferSelect): StoredSample {
  const { ordinal, inferenceId, model, version, release, at, predicted, score, label, other } = row;
  const numbers = new Float32Array(Uint8Array.from(row.features).buffer);
  const sample: CapturedSample = {
    inferenceId,
    model,
    version,
    predictedAt: at,
    reason: row.reason === 'waiting' ? 'labelled' : row.reason,
    features: Array.from(numbers, (value) => (Number.isFinite(value) ? value : null)),
    ...(release === null ? {} : { release }),
    ...(predicted === null ? {} : { predicted }),
    ...(score === null || !Number.isFinite(score) ? {} : { score }),
    ...(label === null ? {} : { label }),
    ...(other === null ? {} : { other: parseJson(OtherPrediction, other, 'samples.other', 'internal') }),
  };
  return { ordinal, sample };
}
