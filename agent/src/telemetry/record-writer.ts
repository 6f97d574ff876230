// Appends records to the journal before their callers can see the answers: what was said in one turn of the event loop
// goes out in one write at the turn's end. Answers never wait for the disk, and never fail because of it; what it does not
// take is counted in the missing note, within the same turn.
//
// INVARIANT: a record that a reader of the file may have seen whole is never written again.
import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { type Missing, newLife, writeMissing } from './missing-note.ts';
import { encodeRecord, type JournalRecord } from './record.ts';

/** Memory for records while there is no file yet, or none that takes them. */
const maxPendingBytes = 16 * 1024 * 1024;
/** A disk that refused is tried again so much later. */
const retryMs = 1000;

export interface RecordWriterOptions {
  /** The journal can't be written; called at the first failure of a row of failures. */
  onFailure(error: unknown): void;
  /** A monotonic clock in milliseconds. */
  nowMs(): number;
  /** Of the missing note. */
  notePath?: string | undefined;
}

export interface RecordWriter {
  /** Takes a record; it is in the page cache when the microtasks that are queued now have run. */
  append(record: JournalRecord): void;
  /** Appends to this file from now on; resolves when the former one is complete. */
  switchTo(path: string): Promise<void>;
  /** Tries again what the disk did not take, although nobody asks for anything. */
  retry(): void;
  /** Writes what is left and closes. */
  close(): Promise<void>;
  status(): { failedWrites: number; lostRecords: number; pendingBytes: number; pendingRecords: number };
  /** What the journal lacks now; undefined while it lacks nothing. */
  missing(): Missing | undefined;
}

interface JournalFile {
  fd: number;
  number: number;
  /** End of the last whole record. */
  sizeBytes: number;
  /** End of what was written: a failed write may have left a piece of a record. */
  endBytes: number;
}

/** A writer without a file: it holds records in memory until `switchTo`. */
export function createRecordWriter({ onFailure, nowMs, notePath }: RecordWriterOptions): RecordWriter {
  let file: JournalFile | undefined;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let scheduled = false;
  let failing = false;
  let retryAtMs = 0;
  let failedWrites = 0;
  let lostRecords = 0;
  const life = newLife();
  /** The note says that something is missing that may be written since. */
  let noted = false;

  const missing = (): Missing => {
    const { number = 0, sizeBytes = 0 } = file ?? {};
    return { life, file: number, sizeBytes, pending: pending.length, lost: lostRecords };
  };

  const note = (): void => {
    noted = pending.length > 0;
    if (notePath !== undefined) writeMissing(notePath, missing());
  };

  /** Takes from what waits the records that are whole in the file. */
  const settle = (into: JournalFile): void => {
    let count = 0;
    for (const { length } of pending) {
      if (into.sizeBytes + length > into.endBytes) break;
      into.sizeBytes += length;
      pendingBytes -= length;
      count++;
    }
    pending.splice(0, count);
  };

  const flush = (): void => {
    scheduled = false;
    if (pending.length === 0) return;
    if (!file || (failing && nowMs() < retryAtMs)) {
      note();
      return;
    }
    try {
      const [first] = pending;
      writeWhole(file, pending.length === 1 && first ? first : Buffer.concat(pending, pendingBytes));
      pending = [];
      pendingBytes = 0;
      failing = false;
      if (noted) note();
    } catch (error) {
      settle(file);
      note();
      failedWrites++;
      retryAtMs = nowMs() + retryMs;
      if (!failing) onFailure(error);
      failing = true;
    }
  };

  const flushNow = (): void => {
    retryAtMs = 0;
    flush();
  };

  return {
    append(record) {
      const bytes = encodeRecord(record);
      if (pendingBytes + bytes.length > maxPendingBytes) {
        lostRecords++;
        note();
        return;
      }
      pending.push(bytes);
      pendingBytes += bytes.length;
      if (scheduled) return;
      scheduled = true;
      queueMicrotask(flush);
    },
    retry: flush,
    async switchTo(path) {
      const next = openJournal(path);
      flushNow();
      const former = file;
      file = next;
      if (pending.length > 0) note();
      flushNow();
      if (former) complete(former);
    },
    async close() {
      flushNow();
      const former = file;
      file = undefined;
      if (former) complete(former);
    },
    status: () => ({ failedWrites, lostRecords, pendingBytes, pendingRecords: pending.length }),
    missing: () => (lostRecords > 0 || (failing && pending.length > 0) || noted ? missing() : undefined),
  };
}

function openJournal(path: string): JournalFile {
  const fd = openSync(path, 'a', 0o600);
  const { size } = fstatSync(fd);
  return { fd, number: Number.parseInt(basename(path), 10) || 0, sizeBytes: size, endBytes: size };
}

/** Writes all of `bytes`; when it throws, `endBytes` says how far it came. */
function writeWhole(file: JournalFile, bytes: Buffer): void {
  cutTorn(file);
  for (let offset = 0; offset < bytes.length; ) {
    const written = writeSync(file.fd, bytes, offset);
    offset += written;
    file.endBytes += written;
  }
  file.sizeBytes = file.endBytes;
}

function cutTorn(file: JournalFile): void {
  if (file.endBytes === file.sizeBytes) return;
  ftruncateSync(file.fd, file.sizeBytes);
  file.endBytes = file.sizeBytes;
}

/** It is not synced: what comes of it is, at once, with the commit that it is removed after. */
function complete(file: JournalFile): void {
  try {
    cutTorn(file);
  } finally {
    closeSync(file.fd);
  }
}
