// What a release says of a model file: digest, size, segments.
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { sha256 } from '@edgeloop/shared/node/digests';
import { readFile } from '@edgeloop/shared/node/file-bytes';
import type { Artifact } from '@edgeloop/shared/release';
import { boundariesOf, mostBytes, segmentLength } from './segmentation.ts';

/** Of a file of any size, which is never in memory whole. */
export async function describeArtifact(path: string): Promise<Artifact> {
  const { boundaries, sizeBytes } = readFile(path, (source) => ({
    boundaries: boundariesOf(source),
    sizeBytes: source.size,
  }));
  const whole = createHash('sha256');
  const segments: Artifact['segments'] = [];
  const file = await open(path, 'r');
  try {
    const window = createWindow(file);
    let start = 0;
    for (const boundary of boundaries) {
      while (start < boundary) {
        const bytes = await window(start, Math.min(mostBytes, boundary - start));
        const segment = bytes.subarray(0, segmentLength(bytes));
        whole.update(segment);
        segments.push({ sizeBytes: segment.length, digest: sha256(segment) });
        start += segment.length;
      }
    }
  } finally {
    await file.close();
  }
  return { digest: whole.digest('hex'), sizeBytes, segments };
}

/** Reads ahead: a segment is mostly shorter than what has to be looked at for it. */
const windowBytes = 16 * mostBytes;

function createWindow(file: FileHandle): (start: number, length: number) => Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(windowBytes);
  let at = 0;
  let filled = 0;
  return async (start, length) => {
    if (start < at || start + length > at + filled) {
      at = start;
      filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(buffer, filled, windowBytes - filled, at + filled);
        if (bytesRead === 0)
          throw new RangeError(`the file became shorter than ${start + length} bytes while it was read`);
        filled += bytesRead;
      }
    }
    return buffer.subarray(start - at, start - at + length);
  };
}
