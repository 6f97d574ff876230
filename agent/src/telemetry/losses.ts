// The sum of answered requests that telemetry lacks, and its way into the outbox. What a process has lost is added once,
// whoever dies meanwhile: the sum in its note says up to where it was added, the database up to where it was told of all.
import { open } from 'node:fs/promises';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { type Reader, readCount, readFact, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import type { Problems } from '../problems.ts';
import { type LostSum, type Missing, readLostSum, readMissing, writeLostSum } from './missing-note.ts';
import type { Outbox } from './outbox.ts';
import { decodeRecords } from './record.ts';

export interface LossesOptions {
  /** Of the notes, one for each serving process. */
  paths: readonly string[];
  /** The file of a journal's number. */
  journalPath(number: number): string;
  database: DeviceDatabase;
  outbox: Pick<Outbox, 'add'>;
  problems: Problems;
}

/** Processes are named by their places. */
export interface Losses {
  /** What a process that runs says every second; it counts where the note could not be made. */
  heard(missing: Missing, process: number): void;
  /** Adds what processes that run have given up. */
  addGivenUp(): void;
  /** Adds all that a process has lost that is gone; of all when none is named. Before its journal is folded: what lies there is not lost. */
  addAll(process?: number): Promise<void>;
  /** Puts what was not told yet into the outbox, in the caller's transaction. */
  tell(transaction: Reader): void;
  /** The transaction of `tell` is committed. */
  told(): void;
  /** Requests that were lost and not told yet. */
  untold(): number;
  /** Requests that were lost, ever. */
  total(): number;
}

interface Note {
  path: string;
  /** What its process said last. */
  spoken: Missing | undefined;
  sum: LostSum;
}

export function createLosses({ paths, journalPath, database, outbox, problems }: LossesOptions): Losses {
  const notes = paths.map((path): Note => {
    const sum = readLostSum(path) ?? { total: 0, told: 0, life: 0, ofLife: 0 };
    return { path, spoken: undefined, sum };
  });
  const [first] = notes;
  const total = () => notes.reduce((all, { sum }) => all + sum.total, 0);
  // A note may have been made anew.
  if (first) first.sum = { ...first.sum, total: first.sum.total + Math.max(0, toldIn(database) - total()) };

  function toldIn(reader: Reader): number {
    if (readFact(reader, 'losses_told') !== undefined) return readCount(reader, 'losses_told');
    return notes.reduce((all, { sum }) => all + sum.told, 0);
  }

  /** A process that says more than its note could not write it. */
  function present({ path, spoken }: Note): Missing | undefined {
    const noted = readMissing(path);
    return spoken === undefined || noted?.life === spoken.life ? noted : spoken;
  }

  function add(note: Note, life: number, lost: number): void {
    const { sum } = note;
    const known = sum.life === life ? sum.ofLife : 0;
    if (lost <= known) return;
    note.sum = { ...sum, total: sum.total + lost - known, life, ofLife: lost };
    writeLostSum(note.path, note.sum);
    say();
  }

  async function addAllOf(note: Note): Promise<void> {
    const missing = present(note);
    note.spoken = undefined;
    if (missing === undefined) return;
    const written = missing.pending === 0 ? 0 : await recordsBehind(journalPath(missing.file), missing.sizeBytes);
    add(note, missing.life, missing.lost + Math.max(0, missing.pending - written));
  }

  function untold(): number {
    return Math.max(0, total() - toldIn(database));
  }

  function say(): void {
    const requests = untold();
    if (requests === 0) problems.clear('lost');
    else problems.set('lost', `${requests} requests were answered and are missing in telemetry, for want of disk`);
  }

  return {
    heard(missing, process) {
      const note = notes[process];
      if (note) note.spoken = missing;
    },
    addGivenUp() {
      for (const note of notes) {
        const missing = present(note);
        if (missing !== undefined) add(note, missing.life, missing.lost);
      }
    },
    async addAll(process) {
      for (const [place, note] of notes.entries()) if (process === undefined || place === process) await addAllOf(note);
    },
    tell(transaction) {
      const requests = total() - toldIn(transaction);
      if (requests <= 0) return;
      outbox.add(transaction, [{ kind: 'loss', windows: 0, requests, labels: 0 }]);
      writeFact(transaction, 'losses_told', total());
    },
    told() {
      const told = toldIn(database);
      if (notes.every(({ sum }) => sum.told === sum.total) || told < total()) return;
      // All is told: what each has lost is part of it.
      for (const note of notes) {
        note.sum = { ...note.sum, told: note.sum.total };
        writeLostSum(note.path, note.sum);
      }
      say();
    },
    untold,
    total,
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
