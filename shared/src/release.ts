// A release is everything a device needs to know of one model version, as one content-addressed, signed document: the
// signature covers the document's hash, and the document names the hash of the model file, so nothing can be swapped.
import { z } from 'zod';
import { Acceptance } from './acceptance.ts';
import { GoldenSamples } from './golden.ts';
import { ModelName, ModelVersion, Sha256 } from './identifiers.ts';
import { Manifest } from './manifest.ts';
import { SegmentManifest } from './segments.ts';
import { ModelSignature } from './tensors.ts';
import { plainVariant, SignedRequirements, SignedTolerance, VariantName, VariantSelection } from './variants.ts';

const Artifact = z.object({ digest: Sha256, sizeBytes: z.number().int().min(1), segments: SegmentManifest });
export type Artifact = z.infer<typeof Artifact>;

/** One without an artifact is the plain file. */
const ReleaseVariant = z.object({
  name: VariantName,
  artifact: Artifact.optional(),
  requires: SignedRequirements.default({}),
  tolerance: SignedTolerance.optional(),
});

/** What former agents do not know stands beside the manifest: in it they would refuse it. They run the plain file. */
export const Release = z.object({
  format: z.literal(1),
  name: ModelName,
  version: ModelVersion,
  artifact: Artifact,
  signature: ModelSignature,
  manifest: Manifest,
  golden: GoldenSamples,
  acceptance: Acceptance.optional(),
  /** In the order in which a device prefers them. */
  variants: z.array(ReleaseVariant).min(1).max(17).optional(),
  select: VariantSelection.optional(),
});
export type Release = z.infer<typeof Release>;

/** A variant with its file. */
export type Variant = Omit<z.infer<typeof ReleaseVariant>, 'artifact'> & { artifact: Artifact };

/** All variants in their order: of a release without any, the plain file. */
export function variantsOf({ artifact: plain, variants = [] }: Pick<Release, 'artifact' | 'variants'>): Variant[] {
  const named = variants.map(({ artifact = plain, ...variant }) => ({ ...variant, artifact }));
  const isThere = named.some(({ name }) => name === plainVariant);
  return isThere ? named : [...named, { name: plainVariant, requires: {}, artifact: plain }];
}

/** What is signed: a domain prefix, so that the key's signature means nothing elsewhere, and the document's SHA-256. */
export function releaseSigningInput(releaseDigest: Sha256): Uint8Array {
  return new TextEncoder().encode(`edgeloop-release-v1\n${releaseDigest}`);
}
