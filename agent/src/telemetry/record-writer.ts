// Appends records to the journal before their callers can see the answers: what was said in one turn of the event loop
// goes out in one write at the turn's end. Answers never wait for the disk, and never fail because of it.
import { closeSync, fstatSync, fsync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
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
}

export interface RecordWriter {
  /** Takes a record; it is in the page cache when the microtasks that are queued now have run. */
  append(record: JournalRecord): void;
  /** Appends to this file from now on; resolves when the former one is complete and on disk. */
  switchTo(path: string): Promise<void>;
  /** Writes what is left, syncs and closes. */
  close(): Promise<void>;
  status(): { failedWrites: number; lostRecords: number; pendingBytes: number };
}

interface JournalFile {
  fd: number;
  /** End of the last whole record. */
  sizeBytes: number;
  /** A failed write may have left a piece of a record behind the end. */
  torn: boolean;
}

const syncToDisk = promisify(fsync);

/** A writer without a file: it holds records in memory until `switchTo`. */
export function createRecordWriter({ onFailure, nowMs }: RecordWriterOptions): RecordWriter {
  let file: JournalFile | undefined;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let scheduled = false;
  let failing = false;
  let retryAtMs = 0;
  let failedWrites = 0;
  let lostRecords = 0;

  const flush = (): void => {
    scheduled = false;
    if (!file || pending.length === 0 || (failing && nowMs() < retryAtMs)) return;
    try {
      const [first] = pending;
      writeWhole(file, pending.length === 1 && first ? first : Buffer.concat(pending, pendingBytes));
      pending = [];
      pendingBytes = 0;
      failing = false;
    } catch (error) {
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
        return;
      }
      pending.push(bytes);
      pendingBytes += bytes.length;
      if (scheduled) return;
      scheduled = true;
      queueMicrotask(flush);
    },
    async switchTo(path) {
      const next = openJournal(path);
      flushNow();
      const former = file;
      file = next;
      flushNow();
      if (former) await complete(former);
    },
    async close() {
      flushNow();
      const former = file;
      file = undefined;
      if (former) await complete(former);
    },
    status: () => ({ failedWrites, lostRecords, pendingBytes }),
  };
}

function openJournal(path: string): JournalFile {
  const fd = openSync(path, 'a');
  return { fd, sizeBytes: fstatSync(fd).size, torn: false };
}

/** Writes all of `bytes` or leaves the file as if nothing had been written. */
function writeWhole(file: JournalFile, bytes: Buffer): void {
  if (file.torn) ftruncateSync(file.fd, file.sizeBytes);
  file.torn = true;
  for (let offset = 0; offset < bytes.length; ) offset += writeSync(file.fd, bytes, offset);
  file.torn = false;
  file.sizeBytes += bytes.length;
}

async function complete(file: JournalFile): Promise<void> {
  try {
    if (file.torn) ftruncateSync(file.fd, file.sizeBytes);
    await syncToDisk(file.fd);
  } finally {
    closeSync(file.fd);
  }
}
