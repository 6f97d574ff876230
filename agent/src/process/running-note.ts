// The running note: which model versions run at this moment, in a small file with a slot for each worker thread. After the
// process was killed by a model (a native crash leaves no trace in JavaScript) the file still says which one it was.
// Writing a slot is one pwrite into the page cache (0.6 to 4 us); it survives the process, not a power cut, and need not.
// A thread that runs one version after the other without a pause writes it once; see also `inference/quick-models.ts`.
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { writeInPlace } from '../storage/in-place.ts';
import { isMemory, memoryFolder } from '../storage/memory.ts';
import { isStorageRefusal } from '../storage/refusal.ts';

/** Of one thread. */
export const slotBytes = 128;
/** Of the thread that answers HTTP; worker threads have those that follow. */
export const httpThreadSlot = 0;
const blank = Buffer.alloc(slotBytes, ' ');
/** Slots that have their room on the disk from the start; there are seldom as many threads. */
const slotsMade = 64;

export interface RunningNoteSlot {
  /** Just before native code is entered on behalf of this version. */
  begin(name: string, version: number): void;
  /** When the thread has nothing more to run. */
  rest(): void;
  close(): void;
}

/**
 * Where the note lies: in memory, where the system has some, since the page of a file on disk would be written with every look of
 * the kernel at what changed. There it has no name of its own, so that it goes with this process however that ends; the processes that it
 * starts reach it by this one's. Elsewhere it is `path`.
 */
export function placeRunningNote(path: string): string {
  if (!isMemory(memoryFolder, slotBytes * slotsMade)) return path;
  const made = unlessRefused(() => {
    const folder = mkdtempSync(join(memoryFolder, 'edgeloop-note-'));
    try {
      return openSync(join(folder, 'note'), 'wx+', 0o600);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
  return made === undefined ? path : `/proc/${process.pid}/fd/${made}`;
}

/** Empties the note, in place: its room on the disk is needed again. @throws when the disk refuses */
export function clearRunningNote(path: string): void {
  writeInPlace(path, '', slotBytes * slotsMade);
}

/**
 * The slot of one worker thread. Where the disk has no room for it, nothing is noted: the supervisor has said so, and a death
 * that is laid to nobody is better than a thread that does not run.
 */
export function openRunningNoteSlot(path: string, slot: number): RunningNoteSlot {
  const file = unlessRefused(() => openSync(path, 'r+'));
  const rendered = new Map<string, Buffer>();
  const record = (name: string, version: number): Buffer => {
    const key = `${name}@${version}`;
    const known = rendered.get(key);
    if (known) return known;
    const bytes = Buffer.from(blank);
    bytes.write(JSON.stringify({ name, version }));
    if (rendered.size > 256) rendered.clear();
    rendered.set(key, bytes);
    return bytes;
  };
  let written: Buffer | undefined;
  const write = (bytes: Buffer): void => {
    if (bytes === written || file === undefined) return;
    written = bytes;
    unlessRefused(() => writeSync(file, bytes, 0, slotBytes, slot * slotBytes));
  };
  const rest = (): void => write(blank);
  // A thread that had this slot before may have died in a run.
  rest();
  return {
    begin: (name, version) => write(record(name, version)),
    rest,
    close() {
      rest();
      if (file !== undefined) closeSync(file);
    },
  };
}

function unlessRefused<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isStorageRefusal(error) || isMissing(error)) return undefined;
    throw error;
  }
}
