// Telemetry on disk, numbered, until the control plane says that it stored it. Numbers are given once and never again
// within an epoch; an item that was sent is never changed, because it may be stored already.
import { inflateRawSync } from 'node:zlib';
import { parseJson } from '@edgeloop/shared/errors';
import {
  type LabelledPrediction,
  type TelemetryAck,
  type TelemetryBatch,
  TelemetryItem,
} from '@edgeloop/shared/telemetry';
import { and, asc, count, desc, eq, gt, isNotNull, lte, sum } from 'drizzle-orm';
import type { Logger } from 'pino';
import { type Reader, readCount, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import { outbox } from '../database/schema.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { deflated } from './block-parts.ts';
import type { DeviceClock } from './device-clock.ts';
import { createEpochs, type Epochs } from './epochs.ts';
import { countGivenUp, type Lost as GivenUp } from './given-up.ts';
import { sizeOf, splitWindow } from './merge.ts';
import { addedLoss, giveUpOld, type Lost, type OutboxItem, shrink } from './shrink.ts';

/** An item, with its number around it, must fit into a message. */
const maxItemBytes = 150 * 1024;
const batchBytes = 200 * 1024;
const batchItems = 500;
const labelsPerItem = 200;
/** An item that gets further labels is written again. */
const joinedBytes = 2048;
const labelsJoined = 20;
const mostUndeleted = 50;
const sentAhead = 30;
/** Before this there was no agent: a device without a battery counts from 1970 until its clock is set. */
const clocksSetFrom = Date.UTC(2025, 0);

export interface Outbox {
  /**
   * What is added from now on gets an epoch of its own. A copy of this disk may live elsewhere: what both held when it was copied has
   * one number for both, what either adds later is its own. Called once the journals of former starts are folded.
   */
  beginEpoch(): void;
  /** Adds items within the caller's transaction. */
  add(transaction: Reader, items: readonly TelemetryItem[]): void;
  addLabels(transaction: Reader, labels: readonly LabelledPrediction[]): void;
  /** Keeps the budgets of bytes and of age, in a transaction of its own; cheap when there is room and nothing is old. */
  trim(): void;
  /** The oldest items that fit one message, marked as sent; undefined when there are none. */
  take(): TelemetryBatch | undefined;
  /** Deletes what is acknowledged; false for an acknowledgement of another epoch. */
  acknowledge(ack: TelemetryAck): boolean;
  /** More waits than one message takes. */
  isBehind(): boolean;
  /** The clock is so far from the server's now. */
  clockRead(offsetMs: number): void;
  status(): { pendingItems: number; pendingBytes: number; droppedItems: number };
}

export interface OutboxOptions {
  database: DeviceDatabase;
  clock: DeviceClock;
  writes: PendingWrites;
  budgetBytes: number;
  /** What tells of longer ago is given up; nothing when unset. */
  mostAgeMs?: number;
  log: Logger;
}

export function createOutbox(options: OutboxOptions): Outbox {
  const { database, clock, writes, budgetBytes, mostAgeMs = Number.POSITIVE_INFINITY, log } = options;
  const epochs = createEpochs(database, nextRow(database));
  // Both hold here before they are on disk: sending makes room, so it must not wait for room.
  let sentThrough = Math.min(readCount(database, 'outbox_sent'), nextRow(database) - 1);
  let notedThrough = sentThrough;
  let storedThrough = 0;
  let deletedThrough = 0;
  /** By which stretch of the clock rows of this start are dated, from each of these on. */
  const dated: { from: number; stretch: number }[] = [];

  /** Some ahead, so that not every batch costs a commit: after a restart what may have been sent counts as sent. */
  function noteSent(last: number): void {
    if (last <= notedThrough) return;
    notedThrough = last + sentAhead;
    const through = notedThrough;
    writes.write('outbox_sent', () => writeFact(database, 'outbox_sent', through));
  }

  /** Also what was deleted before: the transaction that did it may have been undone. */
  function deleteStored(transaction: Reader): void {
    if (storedThrough === 0) return;
    transaction.delete(outbox).where(lte(outbox.sequence, storedThrough)).run();
    deletedThrough = storedThrough;
  }

  function addAll(transaction: Reader, items: readonly TelemetryItem[]): void {
    deleteStored(transaction);
    epochs.opened(transaction, nextRow(transaction));
    for (const item of items) {
      const row = nextRow(transaction);
      const stretch = clock.stretchOf(item.kind === 'window' ? item.endedAt : Date.now());
      if (dated.at(-1)?.stretch !== stretch) dated.push({ from: row, stretch });
      add(transaction, [item]);
    }
  }

  /** How far the clock that dated a row was from the server's. */
  function offsetOf(row: number): number | undefined {
    const own = dated.findLast(({ from }) => from <= row);
    return own === undefined ? epochs.of(row).offsetMs : clock.offsetOf(own.stretch);
  }

  /** By the server's clock, as far as it is known; a clock that was never set says nothing of age. */
  function isTooOld({ sequence, at }: Pick<Row, 'sequence' | 'at'>): boolean {
    const now = Date.now();
    const then = (at ?? 0) - (offsetOf(sequence) ?? 0);
    const age = now - (clock.offsetOf(clock.stretchOf(now)) ?? 0) - then;
    return at !== null && then > clocksSetFrom && age > mostAgeMs;
  }

  /** Whether the oldest that may still be given up is too old. */
  function holdsOld(): boolean {
    const dated = and(gt(outbox.sequence, Math.max(sentThrough, storedThrough)), isNotNull(outbox.at));
    const columns = { sequence: outbox.sequence, at: outbox.at };
    const first = database.select(columns).from(outbox).where(dated).orderBy(asc(outbox.sequence)).limit(1).get();
    return first !== undefined && isTooOld(first);
  }

  return {
    beginEpoch: epochs.begin,
    add: addAll,
    addLabels(transaction, labels) {
      // What former starts added may be told by another device, too, as it was.
      if (!joinLast(transaction, labels, Math.max(sentThrough, epochs.presentFrom() - 1)))
        addAll(transaction, labelItems(labels));
    },
    trim() {
      if (pendingBytes(database, storedThrough) <= budgetBytes && !holdsOld()) return;
      const work = (transaction: Reader) => {
        epochs.opened(transaction, nextRow(transaction));
        shrinkTo(transaction, { sentThrough, budgetBytes, isTooOld, epochOf: (row) => epochs.of(row).epoch, log });
      };
      database.transaction(work, { behavior: 'immediate' });
    },
    take() {
      const { epoch, rows } = ofOneEpoch(oldest(database, storedThrough), epochs);
      const last = rows.at(-1)?.sequence;
      if (last === undefined || epoch === undefined) return undefined;
      if (last > sentThrough) {
        sentThrough = last;
        noteSent(last);
      }
      return {
        epoch: epoch.epoch,
        items: rows.map((row) => numbered(row, epoch.numberOf(row.sequence), offsetOf(row.sequence))),
      };
    },
    acknowledge({ epoch: of, sequence }) {
      const through = epochs.rowOf(of, sequence);
      if (through === undefined) return false;
      // Nothing that was not sent can have been stored.
      storedThrough = Math.max(storedThrough, Math.min(through, sentThrough));
      // Deleted with what is written next; sent again after a restart, it is not stored again.
      if (storedThrough - deletedThrough >= mostUndeleted)
        writes.write('outbox_stored', () => database.transaction((transaction) => deleteStored(transaction)));
      return true;
    },
    isBehind: () => pendingBytes(database, storedThrough) > batchBytes,
    clockRead(offsetMs) {
      clock.read(offsetMs);
      writes.write('outbox_epochs', () => epochs.clockRead(offsetMs));
    },
    status() {
      const held = gt(outbox.sequence, storedThrough);
      const pendingItems = database.select({ items: count() }).from(outbox).where(held).get()?.items ?? 0;
      const droppedItems = readCount(database, 'outbox_dropped');
      return { pendingItems, pendingBytes: pendingBytes(database, storedThrough), droppedItems };
    },
  };
}

/** Rows count up over all epochs, so that their order is that of their making. */
function nextRow(reader: Reader): number {
  return Math.max(1, readCount(reader, 'outbox_next'));
}

function numbered({ item }: BatchItem, sequence: number, clockOffsetMs: number | undefined): BatchItem {
  return clockOffsetMs === undefined ? { sequence, item } : { sequence, item, clockOffsetMs };
}

/** A message is of one epoch. */
function ofOneEpoch(rows: readonly BatchItem[], epochs: Epochs) {
  const [first] = rows;
  if (first === undefined) return { epoch: undefined, rows: [] };
  const epoch = epochs.of(first.sequence);
  return { epoch, rows: rows.filter(({ sequence }) => epochs.of(sequence).epoch === epoch.epoch) };
}

function add(transaction: Reader, items: readonly TelemetryItem[]): void {
  let sequence = nextRow(transaction);
  for (const item of items.flatMap(fitting)) {
    transaction
      .insert(outbox)
      .values({ sequence, kind: item.kind, bytes: sizeOf(item), ...storedOf(item) })
      .run();
    sequence += 1;
  }
  writeFact(transaction, 'outbox_next', sequence);
}

type BatchItem = TelemetryBatch['items'][number];

/** Adds the labels to the last item if that holds labels, has room and was not sent. */
function joinLast(transaction: Reader, labels: readonly LabelledPrediction[], sentThrough: number): boolean {
  const last = transaction.select().from(outbox).orderBy(desc(outbox.sequence)).limit(1).get();
  const open = last !== undefined && last.sequence > sentThrough ? itemOf(last).item : undefined;
  if (last === undefined || open?.kind !== 'labels' || last.bytes > joinedBytes || labels.length > labelsJoined)
    return false;
  const joined: TelemetryItem = { kind: 'labels', labels: [...open.labels, ...labels] };
  const set = { ...storedOf(joined), bytes: sizeOf(joined) };
  transaction.update(outbox).set(set).where(eq(outbox.sequence, last.sequence)).run();
  return true;
}

function labelItems(labels: readonly LabelledPrediction[]): TelemetryItem[] {
  const pieces = Array.from({ length: Math.ceil(labels.length / labelsPerItem) }, (_, at) => at * labelsPerItem);
  return pieces.map((at) => ({ kind: 'labels', labels: labels.slice(at, at + labelsPerItem) }));
}

interface Shrinking {
  sentThrough: number;
  budgetBytes: number;
  isTooOld(row: Pick<Row, 'sequence' | 'at'>): boolean;
  epochOf(row: number): number;
  log: Logger;
}

/** Of what was not sent: drops what is too old, merges, then drops, until all of it fits. */
function shrinkTo(transaction: Reader, { sentThrough: sent, budgetBytes, isTooOld, epochOf, log }: Shrinking): void {
  const held = transaction
    .select({ bytes: sum(outbox.bytes) })
    .from(outbox)
    .where(lte(outbox.sequence, sent))
    .get();
  const rows = transaction.select().from(outbox).where(gt(outbox.sequence, sent)).orderBy(asc(outbox.sequence)).all();
  // Some room below the budget, so that not every new window makes it necessary again.
  const room = Math.max(0, budgetBytes * 0.9 - Number(held?.bytes ?? 0));
  const items = rows.map((row) => ({ ...itemOf(row), epoch: epochOf(row.sequence) }));
  const tooOld = new Set(rows.filter(isTooOld).map(({ sequence }) => sequence));
  const young = giveUpOld(items, ({ sequence }) => tooOld.has(sequence));
  const { kept, lost } = shrink(young.kept, room, maxItemBytes);
  replace(transaction, items, kept);
  const all = addedLoss(young.lost, lost);
  const dropped = all.windows + all.labels;
  if (dropped === 0) return;
  writeFact(transaction, 'outbox_dropped', readCount(transaction, 'outbox_dropped') + dropped);
  countGivenUp(transaction, [...givenUp(young.lost, 'age'), ...givenUp(lost, 'budget')]);
  add(transaction, [{ kind: 'loss', ...all }]);
  log.error(
    all,
    'telemetry is older than EDGELOOP_BUFFER_DAYS or more than EDGELOOP_BUFFER_MB, and the oldest was dropped',
  );
}

function givenUp({ windows, requests, labels }: Lost, reason: GivenUp['reason']): GivenUp[] {
  return [
    { kind: 'window', reason, count: windows },
    { kind: 'request', reason, count: requests },
    { kind: 'label', reason, count: labels },
  ];
}

/** The oldest items that are not known to be stored and fit one message. */
function oldest(database: Reader, storedThrough: number): BatchItem[] {
  const held = gt(outbox.sequence, storedThrough);
  const rows = database.select().from(outbox).where(held).orderBy(asc(outbox.sequence)).limit(batchItems).all();
  let size = 0;
  return rows
    .filter((row) => {
      size += row.bytes + 40;
      return size <= batchBytes || row === rows[0];
    })
    .map(itemOf)
    .map(({ sequence, item }) => ({ sequence, item }));
}

function fitting(item: TelemetryItem): TelemetryItem[] {
  return item.kind === 'window' ? splitWindow(item, maxItemBytes) : [item];
}

function pendingBytes(database: Reader, storedThrough: number): number {
  const row = database
    .select({ bytes: sum(outbox.bytes) })
    .from(outbox)
    .where(gt(outbox.sequence, storedThrough))
    .get();
  return Number(row?.bytes ?? 0);
}

type Row = typeof outbox.$inferSelect;

function replace(transaction: Reader, before: readonly OutboxItem[], kept: readonly OutboxItem[]): void {
  const after = new Map(kept.map((item) => [item.sequence, item]));
  for (const former of before) {
    const present = after.get(former.sequence);
    if (present === former) continue;
    if (present === undefined) transaction.delete(outbox).where(eq(outbox.sequence, former.sequence)).run();
    else {
      const set = { bytes: present.bytes, ...storedOf(present.item) };
      transaction.update(outbox).set(set).where(eq(outbox.sequence, former.sequence)).run();
    }
  }
}

/** Labels are few and come one by one; a window is two thirds air. */
function storedOf(item: TelemetryItem): Pick<Row, 'item' | 'packed' | 'at'> {
  const at = instantOf(item);
  if (item.kind === 'window') return { item: '', packed: deflated(item), at };
  return { item: JSON.stringify(item), packed: null, at };
}

function instantOf(item: TelemetryItem): number | null {
  if (item.kind === 'window') return item.endedAt;
  return item.kind === 'labels' ? (item.labels.at(-1)?.labelledAt ?? null) : null;
}

function itemOf({ sequence, bytes, item, packed }: Row): OutboxItem {
  const text = packed === null ? item : inflateRawSync(packed).toString('utf8');
  return { sequence, bytes, item: parseJson(TelemetryItem, text, `outbox item ${sequence}`, 'integrity') };
}
