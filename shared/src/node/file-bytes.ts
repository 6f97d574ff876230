// A file's bytes, read where they are asked for.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ByteSource } from '../onnx/fields.ts';

/** What `read` makes of the file, which is open as long. Throws what the system says. */
export function readFile<T>(path: string, read: (source: ByteSource) => T): T {
  const file = openSync(path, 'r');
  try {
    let buffer = new Uint8Array(0);
    return read({
      size: fstatSync(file).size,
      read(at, length) {
        if (buffer.length < length) buffer = new Uint8Array(length);
        return buffer.subarray(0, readSync(file, buffer, 0, length, at));
      },
    });
  } finally {
    closeSync(file);
  }
}
