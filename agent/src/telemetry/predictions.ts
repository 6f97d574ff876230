// Recent answers by inference id, so that a label finds its prediction also after a restart. Bounded; the oldest go. Every answer of
// the device comes this way, so they are written in blocks, each once; rows of their own have those that got a label.
import { asc, count, desc, eq, gt, inArray, lte, sum } from 'drizzle-orm';
import type { Reader } from '../database/facts.ts';
import { predictionBlocks, predictions } from '../database/schema.ts';
import {
  blockRows,
  decodeBlock,
  decodeRow,
  encodeBlock,
  hashesIn,
  hashOf,
  type Prediction,
  placeIn,
} from './prediction-block.ts';
import type { JournalRecord } from './record.ts';

type Found = Omit<Prediction, 'hash'> & { inferenceId: string; label: string | null };

export interface Predictions {
  /** Keeps the successful ones, in the caller's transaction; what was kept before may come again. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  find(reader: Reader, inferenceId: string): Found | undefined;
  setLabel(transaction: Reader, inferenceId: string, label: string): void;
}

/** What one took as a row; blocks take a twelfth of it. */
const answerBytes = 200;
/** Each is looked at when a label comes; the older half become one when there are more. */
const mostBlocks = 4000;

export function createPredictions(budgetBytes: number): Predictions {
  const atMost = Math.max(1000, Math.floor(budgetBytes / answerBytes));
  /** Hashes of blocks by their ordinals, read when they are needed first. */
  const index = new Map<number, BigUint64Array>();
  let indexed = 0;

  function look(reader: Reader): void {
    const present = new Set(
      reader
        .select({ ordinal: predictionBlocks.ordinal })
        .from(predictionBlocks)
        .all()
        .map(({ ordinal }) => ordinal),
    );
    for (const ordinal of index.keys()) if (!present.has(ordinal)) index.delete(ordinal);
    const fresh = reader.select().from(predictionBlocks).where(gt(predictionBlocks.ordinal, indexed)).all();
    for (const { ordinal, block } of fresh) index.set(ordinal, hashesIn(block));
    indexed = Math.max(indexed, ...fresh.map(({ ordinal }) => ordinal));
  }

  function inBlocks(reader: Reader, inferenceId: string): Prediction | undefined {
    look(reader);
    const hash = hashOf(inferenceId);
    for (const [ordinal, hashes] of [...index].reverse()) {
      const place = placeIn(hashes, hash);
      if (place === undefined) continue;
      const row = reader.select().from(predictionBlocks).where(eq(predictionBlocks.ordinal, ordinal)).get();
      if (row !== undefined) return decodeRow(row.block, place);
    }
    return undefined;
  }

  function find(reader: Reader, inferenceId: string): Found | undefined {
    const own = reader.select().from(predictions).where(eq(predictions.inferenceId, inferenceId)).get();
    if (own !== undefined) return own;
    const kept = inBlocks(reader, inferenceId);
    return kept && { ...kept, inferenceId, label: null };
  }

  return {
    find,
    keep(transaction, records) {
      const kept = records.filter(({ outcome, shadow }) => outcome === 'ok' && shadow === undefined).map(predictionOf);
      for (let at = 0; at < kept.length; at += blockRows) insert(transaction, kept.slice(at, at + blockRows));
      if (kept.length > 0) trim(transaction, atMost);
    },
    setLabel(transaction, inferenceId, label) {
      const found = find(transaction, inferenceId);
      if (found === undefined) return;
      const { model, version, release, predicted, at } = found;
      transaction
        .insert(predictions)
        .values({ inferenceId, model, version, release, predicted, at, label })
        .onConflictDoUpdate({ target: predictions.inferenceId, set: { label } })
        .run();
      const newest = transaction.select().from(predictions).orderBy(desc(predictions.ordinal)).limit(1).get();
      transaction
        .delete(predictions)
        .where(lte(predictions.ordinal, (newest?.ordinal ?? 0) - atMost))
        .run();
    },
  };
}

function insert(transaction: Reader, rows: readonly Prediction[]): void {
  transaction
    .insert(predictionBlocks)
    .values({ answers: rows.length, block: encodeBlock(rows) })
    .run();
}

function trim(transaction: Reader, atMost: number): void {
  const all = transaction
    .select({ blocks: count(), answers: sum(predictionBlocks.answers) })
    .from(predictionBlocks)
    .get();
  let answers = Number(all?.answers ?? 0);
  const oldest = () =>
    transaction.select().from(predictionBlocks).orderBy(asc(predictionBlocks.ordinal)).limit(1).get();
  for (let first = oldest(); first !== undefined && answers - first.answers >= atMost; first = oldest()) {
    transaction.delete(predictionBlocks).where(eq(predictionBlocks.ordinal, first.ordinal)).run();
    answers -= first.answers;
  }
  if ((all?.blocks ?? 0) > mostBlocks) putTogether(transaction);
}

/** The older half of the blocks in as few as they fit; they take the places of the last of those that they are of. */
function putTogether(transaction: Reader): void {
  const blocks = transaction
    .select()
    .from(predictionBlocks)
    .orderBy(asc(predictionBlocks.ordinal))
    .limit(mostBlocks / 2)
    .all();
  const rows = blocks.flatMap(({ block }) => decodeBlock(block));
  const ordinals = blocks.map(({ ordinal }) => ordinal);
  transaction.delete(predictionBlocks).where(inArray(predictionBlocks.ordinal, ordinals)).run();
  const pieces = Math.ceil(rows.length / blockRows);
  for (const [place, ordinal] of ordinals.slice(ordinals.length - pieces).entries()) {
    const piece = rows.slice(place * blockRows, (place + 1) * blockRows);
    transaction
      .insert(predictionBlocks)
      .values({ ordinal, answers: piece.length, block: encodeBlock(piece) })
      .run();
  }
}

function predictionOf(record: JournalRecord): Prediction {
  const { inferenceId, model, version, release, at, rows, predicted, value } = record;
  const said = predicted?.[0] ?? (value === undefined || Number.isNaN(value) ? undefined : String(value));
  const label = rows === 1 ? (said ?? null) : null;
  return { hash: hashOf(inferenceId), model, version, release: release ?? null, at, predicted: label };
}
