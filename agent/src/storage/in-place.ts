// Small files that are overwritten in place: the room on the disk that they were given once stays theirs, so they can be
// written also when it is full. For what a torn write does no harm to.
import { closeSync, constants, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';

/** Fills `path` up to `bytes` with `text` and blanks; makes it, for its owner alone, where it is missing. */
export function writeInPlace(path: string, text: string, bytes: number): void {
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
  try {
    writeSync(file, text.padEnd(bytes), 0);
    if (fstatSync(file).size > bytes) ftruncateSync(file, bytes); // What was there was none of ours.
  } finally {
    closeSync(file);
  }
}
