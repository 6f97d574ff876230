// The sum of answered requests that telemetry lacks, and its way into the outbox. What a process has lost is added once,
// whoever dies meanwhile: the sum says up to where it was added, the database up to where it was told.
import { open } from 'node:fs/promises';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { type Reader, readCount, readFact, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import type { Problems } from '../problems.ts';
import { type LostSum, type Missing, readLostSum, readMissing, writeLostSum } from './missing-note.ts';
import type { Outbox } from './outbox.ts';
import { decodeRecords } from './record.ts';

export interface LossesOptions {
  /** Of the note. */
  path: string;
  /** The file of a journal's number. */
  journalPath(number: number): string;
  database: DeviceDatabase;
  outbox: Pick<Outbox, 'add'>;
  problems: Problems;
}

export interface Losses {
  /** What the process that runs says every second; it counts where the note could not be made. */
  heard(missing: Missing): void;
  /** Adds what a process that runs has given up. */
  addGivenUp(): void;
  /** Adds all that a process has lost that is gone. Before its journal is folded: what lies there is not lost. */
  addAll(): Promise<void>;
  /** Puts what was not told yet into the outbox, in the caller's transaction. */
  tell(transaction: Reader): void;
  /** The transaction of `tell` is committed. */
  told(): void;
  /** Requests that were lost and not told yet. */
  untold(): number;
}

export function createLosses({ path, journalPath, database, outbox, problems }: LossesOptions): Losses {
  let spoken: Missing | undefined;
  let sum: LostSum = readLostSum(path) ?? { total: 0, told: 0, life: 0, ofLife: 0 };
  // The note may have been made anew.
  sum = { ...sum, total: Math.max(sum.total, toldIn(database)) };

  function toldIn(reader: Reader): number {
    return readFact(reader, 'losses_told') === undefined ? sum.told : readCount(reader, 'losses_told');
  }

  /** A process that says more than its note could not write it. */
  function present(): Missing | undefined {
    const noted = readMissing(path);
    return spoken === undefined || noted?.life === spoken.life ? noted : spoken;
  }

  function add(life: number, lost: number): void {
    const known = sum.life === life ? sum.ofLife : 0;
    if (lost <= known) return;
    sum = { ...sum, total: sum.total + lost - known, life, ofLife: lost };
    writeLostSum(path, sum);
    say();
  }

  function untold(): number {
    return Math.max(0, sum.total - toldIn(database));
  }

  function say(): void {
    const requests = untold();
    if (requests === 0) problems.clear('lost');
    else problems.set('lost', `${requests} requests were answered and are missing in telemetry, for want of disk`);
  }

  return {
    heard(missing) {
      spoken = missing;
    },
    addGivenUp() {
      const missing = present();
      if (missing !== undefined) add(missing.life, missing.lost);
    },
    async addAll() {
      const missing = present();
      spoken = undefined;
      if (missing === undefined) return;
      const written = missing.pending === 0 ? 0 : await recordsBehind(journalPath(missing.file), missing.sizeBytes);
      add(missing.life, missing.lost + Math.max(0, missing.pending - written));
    },
    tell(transaction) {
      const requests = sum.total - toldIn(transaction);
      if (requests <= 0) return;
      outbox.add(transaction, [{ kind: 'loss', windows: 0, requests, labels: 0 }]);
      writeFact(transaction, 'losses_told', sum.total);
    },
    told() {
      if (sum.told === sum.total) return;
      sum = { ...sum, told: toldIn(database) };
      writeLostSum(path, sum);
      say();
    },
    untold,
  };
}

/** Whole records from `offset` on. */
async function recordsBehind(path: string, offset: number): Promise<number> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const bytes = Buffer.alloc(Math.max(0, size - offset));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
      return decodeRecords(bytes.subarray(0, bytesRead)).records.length;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}
