// Segments of a fixed size, for files that tests make up.
import { sha256 } from '@edgeloop/shared/node/digests';
import type { SegmentManifest } from '@edgeloop/shared/segments';

export const segmentBytes = 256 * 1024;

export function segmentsOf(bytes: Uint8Array): SegmentManifest {
  return Array.from({ length: Math.ceil(bytes.length / segmentBytes) }, (_, place) => {
    const piece = bytes.subarray(place * segmentBytes, (place + 1) * segmentBytes);
    return { sizeBytes: piece.length, digest: sha256(piece) };
  });
}
