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
import type { Outbox } from './outbox.ts';
import { decodeRecords, type JournalRecord } from './record.ts';
import { createWindowSet, type ManifestOf, type WindowSet } from './window.ts';

export interface JournalOptions {
  folder: string;
  database: DeviceDatabase;
  outbox: Outbox;
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
  /** Reads what was appended; bytes in the present file so far. */
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

const chunkBytes = 4 * 1024 * 1024;

export function createJournal(options: JournalOptions): Journal {
  const { folder, database, outbox, log } = options;
  let fold: Fold | undefined;
  const turn = createTurn();

  const pathOf = (number: number) => join(folder, `${String(number).padStart(10, '0')}.journal`);
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
    database.transaction((transaction) => options.keep(transaction, records), { behavior: 'immediate' });
    for (const record of records) into.windows.add(record);
  }

  /** Folds every closed file up to `last`, in order: a number is only marked after all before it. */
  async function foldThrough(last: number, recovered: boolean): Promise<void> {
    const folded = readCount(database, 'journal_folded');
    for (const number of numbersIn(folder)) {
      if (number > last) break;
      if (number > folded) await foldFile(number, recovered);
      rmSync(pathOf(number), { force: true });
    }
    outbox.trim();
  }

  async function foldFile(number: number, recovered: boolean): Promise<void> {
    const closed = fold?.number === number ? fold : begin(number);
    await read(closed);
    const left = (await sizeOf(pathOf(number), log)) - closed.offset;
    if (left > 0) log.warn({ number, bytes: left }, 'the journal ends with a record that is not whole');
    database.transaction(
      (transaction) => {
        outbox.add(transaction, closed.windows.windows(recovered || left > 0));
        writeFact(transaction, 'journal_folded', number);
      },
      { behavior: 'immediate' },
    );
    if (fold === closed) fold = undefined;
  }

  function nextNumber(): number {
    return Math.max(readCount(database, 'journal_folded'), fold?.number ?? 0, ...numbersIn(folder)) + 1;
  }

  return {
    open: () =>
      turn.run(async () => {
        const number = nextNumber();
        fold = begin(number);
        await options.switchTo(pathOf(number));
      }),
    tail: () =>
      turn.run(async () => {
        if (fold !== undefined) await read(fold);
        return fold?.offset ?? 0;
      }),
    rotate: () =>
      turn.run(async () => {
        if (fold === undefined) return;
        await read(fold);
        if (fold.offset === 0) return;
        const number = nextNumber();
        await options.switchTo(pathOf(number));
        await foldThrough(number - 1, false);
        fold = begin(number);
      }),
    foldAll: (recovered) =>
      turn.run(async () => {
        await foldThrough(Number.MAX_SAFE_INTEGER, recovered);
        fold = undefined;
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
