// Folds the journals of the serving processes into windows. Files are read as they grow, those of all processes into the same
// windows; when they are closed, the windows go to the outbox and the files' numbers are marked as folded in one transaction, so
// every record is counted exactly once whatever dies in between: what is not marked is folded again from its beginning.
//
// INVARIANT: between the numbers of a fold there is no file of another; the files of a later fold have higher ones.

import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Window } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import { type Reader, readCount, readFact, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import type { DeviceClock } from './device-clock.ts';
import { areHeld, dropHeld, holdWindows, takeHeld } from './held-windows.ts';
import type { Losses } from './losses.ts';
import type { Outbox } from './outbox.ts';
import { decodeRecords, type JournalRecord } from './record.ts';
import { createWindowSet, type ManifestOf, type WindowSet } from './window.ts';

export interface JournalOptions {
  folder: string;
  database: DeviceDatabase;
  outbox: Outbox;
  losses: Losses;
  manifestOf: ManifestOf;
  clock: Pick<DeviceClock, 'stretchOf'>;
  /** Which start of the machine this is, where the journal does not outlive it. */
  boot?: string | undefined;
  /** Nothing was left open at the last stop. */
  cleanStop?: boolean;
  /** Takes what is kept of single records, idempotently: they come again after a crash. Written with the windows, in one piece. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  /** Adds to windows that close what else was measured of their time, in the transaction that takes them. */
  complete(transaction: Reader, windows: Window[]): Window[];
  /** Lets a serving process append to another file; resolves when the former one is complete. */
  switchTo(path: string, process: number): Promise<void>;
  log: Logger;
}

/** Processes are named by their places. */
export interface Journal {
  /** Names a new file to a fresh serving process. */
  open(process: number): Promise<void>;
  /** Reads what was appended, and names a file where `open` failed; what was read of the present files so far. */
  tail(): Promise<{ bytes: number; requests: number; failed: number }>;
  /** Keeps now what is kept of single records. */
  keepNow(): Promise<void>;
  /** Folds what was read so far and lets the window open: new files, and the former ones are removed. */
  pack(): Promise<void>;
  /** Closes the window: new files, and the former ones' windows into the outbox. */
  rotate(): Promise<void>;
  /** A process is gone that came to no orderly end: what it left goes into the present windows, or all is folded if it was the last. */
  gone(process: number): Promise<void>;
  /** Folds all files; no process is there. `recovered` when the end was no orderly one. */
  foldAll(recovered: boolean): Promise<void>;
}

interface Fold {
  /** How far each file was read, by its number. Those of processes that are gone stay. */
  offsets: Map<number, number>;
  windows: WindowSet;
  /** A process that wrote one of them came to no orderly end. */
  recovered: boolean;
  /** Where its windows are held, once files of it were packed. */
  held: number | undefined;
  /** Records of which nothing is kept yet. */
  unkept: JournalRecord[];
  requests: number;
  failed: number;
}

/** The file of a number; the serving process tells the number from its name. */
export function journalPath(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(10, '0')}.journal`);
}

/** Bounds what is held in memory; at ordinary rates a window has less. */
const mostUnkept = 10_000;
const chunkBytes = 4 * 1024 * 1024;

export function createJournal(options: JournalOptions): Journal {
  const { folder, database, outbox, losses, log } = options;
  let fold: Fold | undefined;
  /** Serving processes that have a file. */
  const present = new Set<number>();
  /** Those that have none yet: the disk did not take one. */
  const unopened = new Set<number>();
  const turn = createTurn();
  /** What was in memory went with the machine: the window that was open then is the next one's. */
  const wentDown =
    options.boot !== undefined && ![undefined, options.boot].includes(readFact(database, 'journal_boot'));
  let cutShort = wentDown && options.cleanStop !== true;

  const pathOf = (number: number) => journalPath(folder, number);
  const begin = (...numbers: number[]): Fold => ({
    offsets: new Map(numbers.map((number) => [number, 0])),
    windows: createWindowSet(options.manifestOf),
    recovered: false,
    held: undefined,
    unkept: [],
    requests: 0,
    failed: 0,
  });

  async function read(into: Fold): Promise<void> {
    for (const number of into.offsets.keys()) await readFile(into, number);
  }

  async function readFile(into: Fold, number: number, offsets = into.offsets): Promise<void> {
    const file = await openOptional(pathOf(number), log);
    if (file === undefined) return;
    try {
      for await (const { records, consumedBytes } of piecesFrom(file, offsets.get(number) ?? 0)) {
        if (records.length > 0) take(into, records);
        offsets.set(number, (offsets.get(number) ?? 0) + consumedBytes);
      }
    } finally {
      await file.close();
    }
  }

  function take(into: Fold, records: readonly JournalRecord[]): void {
    into.requests += records.length;
    into.failed += records.filter(({ outcome }) => outcome !== 'ok').length;
    into.unkept.push(...records);
    if (into.unkept.length >= mostUnkept) keepOf(into);
    for (const record of records) into.windows.add(record, options.clock.stretchOf(record.at));
  }

  function keepOf(into: Fold): void {
    if (into.unkept.length === 0) return;
    write((transaction) => options.keep(transaction, into.unkept));
    into.unkept = [];
  }

  /** Folds every closed file up to `last`, in order: a number is only marked after all before it. */
  async function foldThrough(last: number, closed: Fold | undefined, recovered: boolean): Promise<void> {
    const folded = readCount(database, 'journal_folded');
    let isClosedFolded = false;
    for (const number of numbersIn(folder)) {
      if (number > last) break;
      const isOfClosed = closed?.offsets.has(number) === true;
      if (number > folded && !isOfClosed)
        await foldFiles(begin(number), true); // Left by a former try.
      else if (number > folded && closed !== undefined && !isClosedFolded) await foldFiles(closed, recovered);
      isClosedFolded ||= isOfClosed;
      rmSync(pathOf(number), { force: true });
    }
    // Of folds that nobody closed: of a former start, or their own closing failed.
    if (areHeld(database))
      write((transaction) => outbox.add(transaction, options.complete(transaction, takeHeld(transaction))));
    if (losses.untold() > 0) write((transaction) => losses.tell(transaction));
    losses.told();
    outbox.trim();
  }

  async function foldFiles(closed: Fold, recovered: boolean): Promise<void> {
    await read(closed);
    const isTorn = await areTorn(closed.offsets);
    write((transaction) => {
      options.keep(transaction, closed.unkept);
      const windows = closed.windows.windows(recovered || closed.recovered || isTorn || cutShort);
      dropHeld(transaction, closed.held);
      outbox.add(transaction, options.complete(transaction, windows));
      losses.tell(transaction);
      markFolded(transaction, closed.offsets);
    });
    cutShort = false;
  }

  function markFolded(transaction: Reader, offsets: Fold['offsets']): void {
    writeFact(transaction, 'journal_folded', Math.max(...offsets.keys()));
    if (options.boot !== undefined && readFact(transaction, 'journal_boot') !== options.boot)
      writeFact(transaction, 'journal_boot', options.boot);
  }

  /** Whether files end behind what was read of them. */
  async function areTorn(offsets: Fold['offsets']): Promise<boolean> {
    let isTorn = false;
    for (const [number, offset] of offsets) {
      const left = (await sizeOf(pathOf(number), log)) - offset;
      if (left <= 0) continue;
      isTorn = true;
      log.warn({ number, bytes: left }, 'the journal ends with a record that is not whole');
    }
    return isTorn;
  }

  function write(work: (transaction: Reader) => void): void {
    database.transaction(work, { behavior: 'immediate' });
  }

  function nextNumber(): number {
    return Math.max(readCount(database, 'journal_folded'), ...(fold?.offsets.keys() ?? []), ...numbersIn(folder)) + 1;
  }

  /** The process appends to a file of its own that belongs to the present fold. */
  async function nameFile(process: number, number = nextNumber()): Promise<void> {
    fold ??= begin();
    fold.offsets.set(number, 0);
    try {
      await options.switchTo(pathOf(number), process);
    } catch (error) {
      // Whether the process took it may remain unknown: what is there counts.
      if (!existsSync(pathOf(number))) fold.offsets.delete(number);
      throw error;
    }
    present.add(process);
    unopened.delete(process);
  }

  /** All processes append to other files from now on; the former ones are closed. */
  async function nextFiles(closed: Fold): Promise<void> {
    const first = nextNumber();
    fold = begin();
    try {
      for (const [place, process] of [...present].entries()) await nameFile(process, first + place);
    } catch (error) {
      // Some still append to what was to be closed.
      for (const number of fold.offsets.keys()) closed.offsets.set(number, 0);
      fold = closed;
      throw error;
    }
  }

  /** The files of the present fold are closed and removed, its windows stay open. */
  async function packFiles(into: Fold): Promise<void> {
    const files = into.offsets;
    const folded = readCount(database, 'journal_folded');
    const first = Math.min(...files.keys());
    // What a former try has left is folded before.
    if (numbersIn(folder).some((number) => number > folded && number < first)) return;
    const next = nextNumber();
    let held = into.held;
    into.offsets = new Map();
    try {
      for (const [place, process] of [...present].entries()) await nameFile(process, next + place);
      for (const number of files.keys()) await readFile(into, number, files);
      const isTorn = await areTorn(files);
      into.recovered ||= isTorn;
      write((transaction) => {
        options.keep(transaction, into.unkept);
        held = holdWindows(transaction, into.windows.windows(false), into.held);
        markFolded(transaction, files);
      });
    } catch (error) {
      // They stay files of this fold, as far as they were read.
      for (const [number, offset] of files) into.offsets.set(number, offset);
      throw error;
    }
    into.held = held;
    into.unkept = [];
    for (const number of files.keys()) rmSync(pathOf(number), { force: true });
  }

  async function foldRest(recovered: boolean): Promise<void> {
    const closed = fold;
    fold = undefined;
    present.clear();
    unopened.clear();
    await losses.addAll();
    await foldThrough(Number.MAX_SAFE_INTEGER, closed, recovered);
  }

  return {
    open: (process) =>
      turn.run(() => {
        unopened.add(process);
        return nameFile(process);
      }),
    tail: () =>
      turn.run(async () => {
        for (const process of unopened) await nameFile(process);
        if (fold !== undefined) await read(fold);
        return { bytes: sizeRead(fold), requests: fold?.requests ?? 0, failed: fold?.failed ?? 0 };
      }),
    keepNow: () =>
      turn.run(async () => {
        if (fold === undefined) return;
        await read(fold);
        keepOf(fold);
      }),
    pack: () =>
      turn.run(async () => {
        if (fold === undefined) return;
        await read(fold);
        if (sizeRead(fold) > 0) await packFiles(fold);
      }),
    rotate: () =>
      turn.run(async () => {
        const closed = fold;
        if (closed === undefined) return;
        await read(closed);
        losses.addGivenUp();
        if (sizeRead(closed) > 0 || closed.held !== undefined) await nextFiles(closed);
        await foldThrough(Math.min(...(fold?.offsets.keys() ?? [])) - 1, closed, false);
      }),
    gone: (process) =>
      turn.run(async () => {
        present.delete(process);
        unopened.delete(process);
        if (present.size === 0 && unopened.size === 0) return foldRest(true);
        if (fold === undefined) return;
        fold.recovered = true;
        await losses.addAll(process);
        await read(fold);
      }),
    foldAll: (recovered) => turn.run(() => foldRest(recovered)),
  };
}

function sizeRead(fold: Fold | undefined): number {
  return [...(fold?.offsets.values() ?? [])].reduce((sum, offset) => sum + offset, 0);
}

function numbersIn(folder: string): number[] {
  mkdirSync(folder, { recursive: true });
  const numbers = readdirSync(folder).map((name) => Number(/^(\d+)\.journal$/.exec(name)?.[1] ?? 0));
  return numbers.filter((number) => number > 0).sort((a, b) => a - b);
}

/** The whole records of a file from `offset` on, some at a time. */
async function* piecesFrom(file: FileHandle, offset: number): AsyncGenerator<ReturnType<typeof decodeRecords>> {
  let at = offset;
  for (let size = chunkBytes; ; ) {
    const buffer = Buffer.allocUnsafe(size);
    const { bytesRead } = await file.read(buffer, 0, size, at);
    const piece = decodeRecords(buffer.subarray(0, bytesRead));
    yield piece;
    at += piece.consumedBytes;
    if (bytesRead < size) return;
    if (piece.consumedBytes === 0) {
      // One record larger than the buffer, or a damaged one; the file's size bounds the growth.
      if ((await file.stat()).size - at <= size) return;
      size *= 2;
    }
  }
}

async function sizeOf(path: string, log: Logger): Promise<number> {
  const file = await openOptional(path, log);
  const size = (await file?.stat())?.size ?? 0;
  await file?.close();
  return size;
}

async function openOptional(path: string, log: Logger): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    log.error({ path, reason: messageOf(error) }, 'the journal cannot be read');
    throw error;
  }
}
