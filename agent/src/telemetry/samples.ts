// Captured samples on disk within their budget. They are written in blocks; rows of their own have those that got a label. For want of
// room what waits for a label goes first, then what has none, then the rest, the oldest of each; what was to be uploaded is counted.
import { parseJson } from '@edgeloop/shared/errors';
import { type CapturedSample, OtherPrediction } from '@edgeloop/shared/telemetry';
import { and, asc, eq, gte, inArray, isNotNull, isNull, lte, ne, notInArray, or, sum } from 'drizzle-orm';
import type { Logger } from 'pino';
import type { Reader } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import { sampleBlocks, samples } from '../database/schema.ts';
import { captureReason } from './capture.ts';
import { countGivenUp } from './given-up.ts';
import type { JournalRecord } from './record.ts';
import { blockSamples, bytesOf, decodeSamples, encodeSamples, type KeptSample } from './sample-block.ts';
import type { ManifestOf } from './window.ts';

/** A sample, with the row that it is deleted by where it has one. */
interface StoredSample {
  sample: CapturedSample;
  row: number | undefined;
}

export interface Samples {
  /** Keeps what the policies of the models ask for, in the caller's transaction. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  /** Of what was answered at `at`. */
  setLabel(transaction: Reader, of: { inferenceId: string; at: number }, label: string): void;
  /** Samples whose time for a label is over or that have one, oldest first. */
  ready(now: number): StoredSample[];
  /** Deletes uploaded ones, but for those whose label changed meanwhile. */
  remove(uploaded: readonly StoredSample[]): void;
  /** The control plane does not take them: deletes and counts them. */
  refused(uploaded: readonly StoredSample[]): void;
  /** Gives up some, so that windows have their room on a full disk; whether there were any. */
  makeRoom(): boolean;
}

interface Progress {
  ordinal: number;
  place: number;
}

const uploadAtMost = 200;
const uploadBytes = 512 * 1024;
const rowOverheadBytes = 150;
const blockOverheadBytes = 100;
const evictedAtOnce = 200;
/** What samples give up at a time on a full disk. */
const roomBytes = 512 * 1024;
/** Of features in a block. */
const mostBlockBytes = 128 * 1024;
/** Blocks that were uploaded are deleted with what is written next; sent again after a death, they are not stored again. */
const mostUndeleted = 8;

export interface SamplesOptions {
  database: DeviceDatabase;
  budgetBytes: number;
  /** How long a sample waits for its label before it is uploaded without. */
  waitMs: number;
  manifestOf: ManifestOf;
  /** The share of inputs that wait for a label which is kept; all when unset. */
  keptForLabels?: () => number;
  log: Logger;
  /** A clock that never jumps. */
  nowMs?: () => number;
}

export function createSamples(options: SamplesOptions): Samples {
  const { database, budgetBytes, waitMs, manifestOf, keptForLabels, log, nowMs = () => performance.now() } = options;
  let total = storedBytes(database);
  /** Blocks of this start that may still get labels. */
  let fresh: { ordinal: number; atMs: number }[] = [];
  /** Blocks that were uploaded and are to be deleted, and how far the one after them was. */
  const done = new Set<number>();
  let next: Progress = { ordinal: 0, place: 0 };
  /** Where both are once what was taken last is uploaded. */
  let offered: { done: number[]; next: Progress } = { done: [], next };
  /** What was looked at last. */
  let open: { ordinal: number; samples: KeptSample[] } | undefined;

  function keep(transaction: Reader, records: readonly JournalRecord[]): void {
    deleteDone(transaction);
    const chosen = chosenOf(records);
    for (const waiting of [false, true])
      for (const piece of piecesOf(chosen.filter(({ reason }) => (reason === 'waiting') === waiting)))
        insertBlock(transaction, piece, waiting);
    if (total <= budgetBytes) return;
    // What was added in a transaction that failed is not there.
    total = storedBytes(transaction);
    // Some room below the budget, so that not every new sample makes it necessary again.
    if (total > budgetBytes) evict(transaction, budgetBytes * 0.95, 'budget');
  }

  function chosenOf(records: readonly JournalRecord[]): KeptSample[] {
    const share = keptForLabels?.() ?? 1;
    const chosen = new Map<string, KeptSample>();
    for (const record of records) {
      if (record.shadow !== undefined) {
        // What was kept for another reason is one that they disagree about, too.
        if (record.features !== undefined) chosen.set(record.inferenceId, disagreementOf(record, record.shadow));
        continue;
      }
      const policy = manifestOf(record.model, record.version, record.release)?.capture;
      if (policy === undefined || chosen.has(record.inferenceId)) continue;
      const reason = captureReason(record, { ...policy, labelledRate: policy.labelledRate * share });
      if (reason !== undefined) chosen.set(record.inferenceId, keptOf(record, reason));
    }
    return [...chosen.values()];
  }

  /** Not so large that one block is the whole budget. */
  function* piecesOf(chosen: readonly KeptSample[]): Iterable<KeptSample[]> {
    const most = Math.min(mostBlockBytes, budgetBytes / 16);
    let [piece, bytes]: [KeptSample[], number] = [[], 0];
    for (const each of chosen) {
      bytes += each.features.byteLength + 40;
      piece.push(each);
      if (bytes < most && piece.length < blockSamples) continue;
      yield piece;
      [piece, bytes] = [[], 0];
    }
    if (piece.length > 0) yield piece;
  }

  function insertBlock(transaction: Reader, piece: readonly KeptSample[], waiting: boolean): void {
    const block = encodeSamples(piece);
    const bytes = block.length + blockOverheadBytes;
    const instants = piece.map(({ at }) => at);
    const row = {
      waiting,
      count: piece.length,
      bytes,
      fromAt: least(instants),
      toAt: -least(instants.map((at) => -at)),
    };
    const { ordinal } = transaction
      .insert(sampleBlocks)
      .values({ ...row, block })
      .returning({ ordinal: sampleBlocks.ordinal })
      .get();
    total += bytes;
    if (!waiting) fresh.push({ ordinal, atMs: nowMs() });
  }

  function deleteDone(transaction: Reader): void {
    if (done.size === 0) return;
    total -= removeBlocks(transaction, [...done]);
    done.clear();
  }

  function evict(transaction: Reader, target: number, reason: 'budget' | 'disk'): void {
    let dropped = 0;
    while (total > target) {
      const victims = victimsOf(transaction, total - target);
      if (victims === undefined) break;
      dropped += victims.counted;
      total -= victims.remove();
    }
    if (dropped === 0) return;
    countGivenUp(transaction, [{ kind: 'sample', reason, count: dropped }]);
    log.warn({ dropped }, `captured samples were dropped for want of room; ${adviceFor[reason]}`);
  }

  function blockOf(reader: Reader, ordinal: number): KeptSample[] {
    if (open?.ordinal !== ordinal) {
      const row = reader.select().from(sampleBlocks).where(eq(sampleBlocks.ordinal, ordinal)).get();
      open = { ordinal, samples: row === undefined ? [] : decodeSamples(row.block) };
    }
    return open.samples;
  }

  function inBlocks(reader: Reader, { inferenceId, at }: { inferenceId: string; at: number }): KeptSample | undefined {
    const blocks = reader
      .select({ ordinal: sampleBlocks.ordinal })
      .from(sampleBlocks)
      .where(and(lte(sampleBlocks.fromAt, at), gte(sampleBlocks.toAt, at)))
      .all();
    for (const { ordinal } of blocks) {
      const found = blockOf(reader, ordinal).find((each) => each.inferenceId === inferenceId);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Further samples of one upload, from blocks that get no more labels, in the order of their numbers. */
  function takeFromBlocks(room: number): CapturedSample[] {
    fresh = fresh.filter(({ atMs }) => nowMs() - atMs < waitMs);
    offered = { done: [], next };
    const taken: CapturedSample[] = [];
    let size = 0;
    for (const { ordinal } of room > 0 ? wantedBlocks() : []) {
      if (fresh.some((each) => each.ordinal === ordinal)) break;
      const all = blockOf(database, ordinal);
      for (let place = next.ordinal === ordinal ? next.place : 0; place < all.length; place++) {
        const kept = all[place];
        if (kept === undefined) break;
        size += kept.features.byteLength + rowOverheadBytes;
        if (taken.length >= room || (size > uploadBytes && taken.length > 0)) return taken;
        taken.push(sampleOf(kept));
        offered.next = { ordinal, place: place + 1 };
      }
      offered.done.push(ordinal);
    }
    return taken;
  }

  /** Of which something is to be uploaded; each has one at least. */
  function wantedBlocks(): { ordinal: number }[] {
    const isWanted = eq(sampleBlocks.waiting, false);
    return database
      .select({ ordinal: sampleBlocks.ordinal })
      .from(sampleBlocks)
      .where(done.size === 0 ? isWanted : and(isWanted, notInArray(sampleBlocks.ordinal, [...done])))
      .orderBy(asc(sampleBlocks.ordinal))
      .limit(uploadAtMost)
      .all();
  }

  return {
    keep,
    setLabel(transaction, of, label) {
      const row = eq(samples.inferenceId, of.inferenceId);
      const known = transaction.select({ reason: samples.reason }).from(samples).where(row).get();
      if (known !== undefined) {
        const reason = labelledReason(known.reason);
        transaction.update(samples).set({ label, reason }).where(row).run();
        return;
      }
      const kept = inBlocks(transaction, of);
      if (kept === undefined) return;
      const { features, other, reason, ...rest } = kept;
      const bytes = features.byteLength + rowOverheadBytes;
      transaction
        .insert(samples)
        .values({
          ...rest,
          ...{ label, bytes, reason: labelledReason(reason), features: bytesOf(features) },
          other: other && JSON.stringify(other),
        })
        .run();
      total += bytes;
    },
    ready(now) {
      const rows = readyRows(database, now - waitMs).map(
        (row): StoredSample => ({ sample: sampleOf(keptIn(row), row.label ?? undefined), row: row.ordinal }),
      );
      const told = new Set(rows.map(({ sample }) => sample.inferenceId));
      // What has got a label needs not be told without.
      const others = takeFromBlocks(uploadAtMost - rows.length).filter(({ inferenceId }) => !told.has(inferenceId));
      return [...rows, ...others.map((sample): StoredSample => ({ sample, row: undefined }))];
    },
    remove,
    refused(uploaded) {
      remove(uploaded);
      countGivenUp(database, [{ kind: 'sample', reason: 'refused', count: uploaded.length }]);
    },
    makeRoom() {
      const before = storedBytes(database);
      database.transaction((transaction) => {
        deleteDone(transaction);
        total = storedBytes(transaction);
        evict(transaction, before - roomBytes, 'disk');
      });
      return total < before;
    },
  };

  function remove(uploaded: readonly StoredSample[]): void {
    next = offered.next;
    for (const ordinal of offered.done) done.add(ordinal);
    offered = { done: [], next };
    const labelled = uploaded.filter(({ row }) => row !== undefined);
    if (labelled.length === 0 && done.size < mostUndeleted) return;
    database.transaction((transaction) => {
      for (const each of labelled) total -= removeUploaded(transaction, each);
      deleteDone(transaction);
    });
  }
}

const adviceFor = { budget: 'raise EDGELOOP_CAPTURE_MB', disk: 'free some on the disk' };

function least(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
}

function labelledReason(reason: KeptSample['reason']): KeptSample['reason'] {
  return reason === 'waiting' ? 'labelled' : reason;
}

function storedBytes(reader: Reader): number {
  const inRows = reader
    .select({ bytes: sum(samples.bytes) })
    .from(samples)
    .get();
  const inBlocks = reader
    .select({ bytes: sum(sampleBlocks.bytes) })
    .from(sampleBlocks)
    .get();
  return Number(inRows?.bytes ?? 0) + Number(inBlocks?.bytes ?? 0);
}

function keptOf(record: JournalRecord, reason: KeptSample['reason']): KeptSample {
  const { inferenceId, model, version, release = null, at, features = new Float32Array() } = record;
  const [predicted = null] = record.predicted ?? [];
  const [score = null] = record.scores ?? [];
  return { inferenceId, model, version, release, at, reason, predicted, score, features, other: null };
}

/** What was answered, and what the shadow says instead. */
function disagreementOf(record: JournalRecord, shadow: NonNullable<JournalRecord['shadow']>): KeptSample {
  const { version, release, predicted, scores } = record;
  const score = scores?.[0];
  const other: OtherPrediction = {
    version,
    ...(release === undefined ? {} : { release }),
    ...(predicted?.[0] === undefined ? {} : { predicted: predicted[0] }),
    ...(score === undefined || !Number.isFinite(score) ? {} : { score }),
  };
  const answered = { ...record, version: shadow.version, release: shadow.release };
  const said = { predicted: shadow.predicted, scores: shadow.scores };
  return { ...keptOf({ ...answered, ...said }, 'disagreement'), other };
}

/** As many of the oldest rows as one upload takes: those that have a label, or were taken before `waited`. */
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

interface Victims {
  /** How many of them were to be uploaded. */
  counted: number;
  /** The bytes that were freed. */
  remove(): number;
}

/** What goes next, or undefined when nothing is left. */
function victimsOf(transaction: Reader, excessBytes: number): Victims | undefined {
  const blockIs = (waiting: boolean) => eq(sampleBlocks.waiting, waiting);
  const rowsAre = (waiting: boolean) => (waiting ? eq(samples.reason, 'waiting') : ne(samples.reason, 'waiting'));
  for (const waiting of [true, false]) {
    const block = transaction
      .select({ ordinal: sampleBlocks.ordinal, count: sampleBlocks.count })
      .from(sampleBlocks)
      .where(blockIs(waiting))
      .orderBy(asc(sampleBlocks.ordinal))
      .limit(1)
      .get();
    if (block !== undefined)
      return { counted: waiting ? 0 : block.count, remove: () => removeBlocks(transaction, [block.ordinal]) };
    const rows = transaction
      .select({ ordinal: samples.ordinal, bytes: samples.bytes })
      .from(samples)
      .where(rowsAre(waiting))
      .orderBy(asc(samples.ordinal))
      .limit(evictedAtOnce)
      .all();
    let freed = 0;
    const victims = rows.filter(({ bytes }) => {
      const needed = freed < excessBytes;
      freed += bytes;
      return needed;
    });
    const ordinals = victims.map(({ ordinal }) => ordinal);
    if (ordinals.length > 0)
      return { counted: waiting ? 0 : ordinals.length, remove: () => removeRows(transaction, ordinals) };
  }
  return undefined;
}

function removeRows(transaction: Reader, ordinals: number[]): number {
  const gone = transaction
    .delete(samples)
    .where(inArray(samples.ordinal, ordinals))
    .returning({ bytes: samples.bytes })
    .all();
  return gone.reduce((bytes, row) => bytes + row.bytes, 0);
}

function removeBlocks(transaction: Reader, ordinals: number[]): number {
  const gone = transaction
    .delete(sampleBlocks)
    .where(inArray(sampleBlocks.ordinal, ordinals))
    .returning({ bytes: sampleBlocks.bytes })
    .all();
  return gone.reduce((bytes, row) => bytes + row.bytes, 0);
}

function removeUploaded(transaction: Reader, { row = 0, sample }: StoredSample): number {
  const label = sample.label === undefined ? isNull(samples.label) : eq(samples.label, sample.label);
  const gone = transaction
    .delete(samples)
    .where(and(eq(samples.ordinal, row), label))
    .returning({ bytes: samples.bytes })
    .all();
  return gone.reduce((bytes, row) => bytes + row.bytes, 0);
}

function keptIn({ other, features, ...row }: typeof samples.$inferSelect): KeptSample {
  return {
    ...row,
    features: new Float32Array(Uint8Array.from(features).buffer),
    other: other === null ? null : parseJson(OtherPrediction, other, 'samples.other', 'internal'),
  };
}

function sampleOf(kept: KeptSample, label?: string): CapturedSample {
  const { inferenceId, model, version, release, at, predicted, score, other } = kept;
  return {
    ...{ inferenceId, model, version, predictedAt: at },
    reason: kept.reason === 'waiting' ? 'labelled' : kept.reason,
    features: Array.from(kept.features, (value) => (Number.isFinite(value) ? value : null)),
    ...(release === null ? {} : { release }),
    ...(predicted === null ? {} : { predicted }),
    ...(score === null || !Number.isFinite(score) ? {} : { score }),
    ...(label === undefined ? {} : { label }),
    ...(other === null ? {} : { other }),
  };
}
