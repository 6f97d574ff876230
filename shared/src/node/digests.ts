// SHA-256 of files and of their segments.
import { createHash } from 'node:crypto';
import type { Sha256 } from '../identifiers.ts';
import { type Segment, type SegmentManifest, segmentBytes } from '../segments.ts';

/** SHA-256 in lower-case hex. */
export function sha256(bytes: Uint8Array | string): Sha256 {
  return createHash('sha256').update(bytes).digest('hex');
}

export function segmentsOf(bytes: Uint8Array): SegmentManifest {
  const segments: Segment[] = [];
  for (let start = 0; start < bytes.length; start += segmentBytes) {
    const piece = bytes.subarray(start, start + segmentBytes);
    segments.push({ sizeBytes: piece.length, digest: sha256(piece) });
  }
  return segments;
}
