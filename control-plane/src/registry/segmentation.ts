// Where a file is cut into segments, so that a device which holds another version fetches little more than what has changed.
// The numbers of each large tensor begin and end a segment. Within them, and in files that are no ONNX models, the content
// says where to cut: whatever is put in before it moves the cuts along, instead of making all that follows something new. Where
// the file holds several, each of them begins a segment.
import { bundledIn } from '@edgeloop/shared/node/model-bundle';
import type { ByteSource, Place } from '@edgeloop/shared/onnx/fields';
import { tensorPlaces } from '@edgeloop/shared/onnx/tensor-places';

/** Smaller tensors are left in the segments of what lies around them: each segment adds a hundred bytes to the release. */
const tensorBytes = 8 * 1024;
/** Changing one of these makes all versions strangers to those registered before. */
const leastBytes = 16 * 1024;
const usualBytes = 64 * 1024;
export const mostBytes = 256 * 1024;

/** Bits that have to be 0 for a cut, the harder condition up to the usual size: 18 bits, then 14. The highest have seen most bytes. */
const hardMask = 0xffffc000;
const easyMask = 0xfffc0000;

/** A random number for each byte, the same on every machine: splitmix32 from 1. */
const gear = createGear();

function createGear(): Uint32Array {
  let state = 1;
  return Uint32Array.from({ length: 256 }, () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return mixed ^ (mixed >>> 15);
  });
}

/** Ascending places in the file where a segment has to end, whatever the content says; the end of the file is the last. */
export function boundariesOf(source: ByteSource): number[] {
  const files = bundledIn(source) ?? [{ headerAt: 0, at: 0, sizeBytes: source.size }];
  const ends = files.flatMap(({ headerAt, at, sizeBytes }) => {
    const places = placesIn(partOf(source, { at, sizeBytes }));
    return [headerAt, ...places.flatMap(({ start, end }) => [at + start, at + end])];
  });
  return [...new Set([...ends, source.size])].filter((end) => end > 0).sort((a, b) => a - b);
}

function partOf(source: ByteSource, { at, sizeBytes }: { at: number; sizeBytes: number }): ByteSource {
  return {
    size: sizeBytes,
    read: (start, length) => source.read(at + start, Math.max(0, Math.min(length, sizeBytes - start))),
  };
}

/** None of a file that cannot be read as a model, which somebody else has to judge. */
function placesIn(source: ByteSource): Place[] {
  try {
    return tensorPlaces(source, tensorBytes);
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
}

/**
 * How many of the bytes make the next segment, at most `mostBytes`; all of them where they are few.
 * FastCDC with normalised chunking: Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
 * Deduplication", USENIX ATC 2016.
 */
export function segmentLength(bytes: Uint8Array): number {
  const end = Math.min(bytes.length, mostBytes);
  let hash = 0;
  for (let at = leastBytes; at < end; at++) {
    hash = ((hash << 1) + (gear[bytes[at] ?? 0] ?? 0)) | 0;
    if ((hash & (at < usualBytes ? hardMask : easyMask)) === 0) return at + 1;
  }
  return end;
}
