// Folds the serving process's journal into windows. A file is read as it grows; when it is closed, its windows go to
// the outbox and its number is marked as folded in one transaction, so every record is counted exactly once whatever
// dies in between: what is not marked is folded again from its beginning.

import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import { type Reader, readCount, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
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
  /** Takes what is kept of single records, idempotently: they come again after a crash. */
  keep(transaction: Reader, records: readonly JournalRecord[]): void;
  /** Lets the serving process append to another file; resolves when the former one is complete. */
  switchTo(path: string): Promise<void>;
  log: Logger;
}

export interface Journal {
  /** Names a new file to a fresh serving process. */
  open(): Promise<void>;
  /** Reads what was appended, and names a file where `open` failed; bytes in the present file so far. */
  tail(): Promise<number>;
  /** Closes the window: a new file, and the former one's windows into the outbox. */
  rotate(): Promise<void>;
  /** Folds all files of a process that is gone; `recovered` when its end was no orderly one. */
  foldAll(recovered: boolean): Promise<void>;
}

interface Fold {
  number: number;
  offset: number;
  windows: WindowSet;
}

/** The file of a number; the serving process tells the number from its name. */
export function journalPath(folder: string, number: number): string {
  return join(folder, `${String(number).padStart(10, '0')}.journal`);
}

const chunkBytes = 4 * 1024 * 1024;

export function createJournal(options: JournalOptions): Journal {
  const { folder, database, outbox, losses, log } = options;
  let fold: Fold | undefined;
  /** The serving process has no file yet: the disk did not take one. */
  let unopened = false;
  const turn = createTurn();

  const pathOf = (number: number) => journalPath(folder, number);
  const begin = (number: number): Fold => ({ number, offset: 0, windows: createWindowSet(options.manifestOf) });

  async function read(into: Fold): Promise<void> {
    const file = await openOptional(pathOf(into.number), log);
    if (file === undefined) return;
    try {
      for await (const { records, consumedBytes } of piecesFrom(file, into.offset)) {
        if (records.length > 0) take(into, records);
        into.offset += consumedBytes;
      }
    } finally {
      await file.close();
    }
  }

  function take(into: Fold, records: readonly JournalRecord[]): void {
    write((transaction) => options.keep(transaction, records));
    for (const record of records) into.windows.add(record);
  }

  /** Folds every closed file up to `last`, in order: a number is only marked after all before it. */
  async function foldThrough(last: number, closed: Fold | undefined, recovered: boolean): Promise<void> {
    const folded = readCount(database, 'journal_folded');
    for (const number of numbersIn(folder)) {
      if (number > last) break;
      // What a former try left is read from its beginning.
      if (number > folded)
        await (closed?.number === number ? foldFile(closed, recovered) : foldFile(begin(number), true));
      rmSync(pathOf(number), { force: true });
    }
    if (losses.untold() > 0) write((transaction) => losses.tell(transaction));
    losses.told();
    outbox.trim();
  }

  async function foldFile(closed: Fold, recovered: boolean): Promise<void> {
    const { number } = closed;
    await read(closed);
    const left = (await sizeOf(pathOf(number), log)) - closed.offset;
    if (left > 0) log.warn({ number, bytes: left }, 'the journal ends with a record that is not whole');
    write((transaction) => {
      outbox.add(transaction, closed.windows.windows(recovered || left > 0));
      losses.tell(transaction);
      writeFact(transaction, 'journal_folded', number);
    });
  }

  function write(work: (transaction: Reader) => void): void {
    database.transaction(work, { behavior: 'immediate' });
  }

  function nextNumber(): number {
    return Math.max(readCount(database, 'journal_folded'), fold?.number ?? 0, ...numbersIn(folder)) + 1;
  }

  /** The file that was read so far, if any, is closed from now on. */
  async function next(): Promise<void> {
    const number = nextNumber();
    await options.switchTo(pathOf(number));
    fold = begin(number);
    unopened = false;
  }

  return {
    open: () =>
      turn.run(() => {
        unopened = true;
        return next();
      }),
    tail: () =>
      turn.run(async () => {
        if (unopened) await next();
        else if (fold !== undefined) await read(fold);
        return fold?.offset ?? 0;
      }),
    rotate: () =>
      turn.run(async () => {
        const closed = fold;
        if (closed === undefined) return;
        await read(closed);
        losses.addGivenUp();
        if (closed.offset > 0) await next();
        await foldThrough((fold ?? closed).number - 1, closed, false);
      }),
    foldAll: (recovered) =>
      turn.run(async () => {
        const closed = fold;
        fold = undefined;
        unopened = false;
        await losses.addAll();
        await foldThrough(Number.MAX_SAFE_INTEGER, closed, recovered);
      }),
  };
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
