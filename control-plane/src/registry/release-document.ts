// The release document of a model version: made once, signed, and never changed.
import { createHash } from 'node:crypto';
import { parseJson } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { Sha256 } from '@edgeloop/shared/identifiers';
import type { Manifest } from '@edgeloop/shared/manifest';
import { type Artifact, Release } from '@edgeloop/shared/release';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Blobs } from '../blobs/folder.ts';

export interface ReleaseParts {
  name: string;
  version: number;
  artifact: Artifact;
  signature: ModelSignature;
  manifest: Manifest;
  golden: GoldenSamples;
  variants: Release['variants'];
}

/** What a manifest says, as a release says it. */
export type Said = Pick<Release, 'manifest' | 'acceptance' | 'select'>;

/** What former agents would refuse in a manifest stands beside it; what it says of variants goes with their files. */
export function saidOf({ acceptance, select, variants: _, ...manifest }: Manifest): Said {
  return { manifest, acceptance, select };
}

/** The bytes whose SHA-256 is signed. */
export function encodeRelease({ manifest, ...parts }: ReleaseParts): Uint8Array {
  const release: Release = { format: 1, ...parts, ...saidOf(manifest) };
  return new TextEncoder().encode(JSON.stringify(release));
}

/** Equal for equal content, whatever the order of keys. */
export function contentDigest(value: unknown): Sha256 {
  return createHash('sha256')
    .update(JSON.stringify(sorted(value)))
    .digest('hex');
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

/** The release document with this digest, as it was made. @throws AppError `not_found` when its blob is lost */
export async function readRelease(blobs: Pick<Blobs, 'read'>, digest: string): Promise<Release> {
  return parseJson(Release, (await blobs.read(digest)).toString('utf8'), 'release', 'internal');
}
