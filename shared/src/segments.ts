// The segment manifest of a file: consecutive pieces with known hashes, so that a broken transfer goes on where it
// stopped and pieces that are already on disk are not fetched again.
import { z } from 'zod';
import { Sha256 } from './identifiers.ts';

export const Segment = z.object({ sizeBytes: z.number().int().min(1), digest: Sha256 });
export type Segment = z.infer<typeof Segment>;

/** Segments in the order of the file; their sizes add up to the size of the file. */
export const SegmentManifest = z.array(Segment).max(1_000_000);
export type SegmentManifest = z.infer<typeof SegmentManifest>;
