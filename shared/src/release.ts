// A release is everything a device needs to know of one model version, as one content-addressed, signed document: the
// signature covers the document's hash, and the document names the hash of the model file, so nothing can be swapped.
import { z } from 'zod';
import { GoldenSamples } from './golden.ts';
import { ModelName, ModelVersion, Sha256 } from './identifiers.ts';
import { Manifest } from './manifest.ts';
import { SegmentManifest } from './segments.ts';
import { ModelSignature } from './tensors.ts';

export const Release = z.object({
  format: z.literal(1),
  name: ModelName,
  version: ModelVersion,
  artifact: z.object({ digest: Sha256, sizeBytes: z.number().int().min(1), segments: SegmentManifest }),
  signature: ModelSignature,
  manifest: Manifest,
  golden: GoldenSamples,
});
export type Release = z.infer<typeof Release>;

/** What is signed: a domain prefix, so that the key's signature means nothing elsewhere, and the document's SHA-256. */
export function releaseSigningInput(releaseDigest: Sha256): Uint8Array {
  return new TextEncoder().encode(`edgeloop-release-v1\n${releaseDigest}`);
}
