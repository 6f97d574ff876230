// The release document of a model version: made once, signed, and never changed.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { parseJson } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { Sha256 } from '@edgeloop/shared/identifiers';
import type { Manifest } from '@edgeloop/shared/manifest';
import { segmentsOf } from '@edgeloop/shared/node/digests';
import { Release } from '@edgeloop/shared/release';
import { segmentBytes } from '@edgeloop/shared/segments';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Blobs } from '../blobs/folder.ts';

export type Artifact = Release['artifact'];

/** Digest, size and segments of a file of any size, read once. */
export async function describeArtifact(path: string): Promise<Artifact> {
  const whole = createHash('sha256');
  const segments: Artifact['segments'] = [];
  let sizeBytes = 0;
  // A read stream fills its buffer as long as the file goes on, but promises only "at most".
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: segmentBytes })) {
    const bytes: Buffer = chunk;
    whole.update(bytes);
    sizeBytes += bytes.length;
    const joined = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    const full = joined.length - (joined.length % segmentBytes);
    segments.push(...segmentsOf(joined.subarray(0, full)));
    rest = joined.subarray(full);
  }
  segments.push(...segmentsOf(rest));
  return { digest: whole.digest('hex'), sizeBytes, segments };
}

export interface ReleaseParts {
  name: string;
  version: number;
  artifact: Artifact;
  signature: ModelSignature;
  manifest: Manifest;
  golden: GoldenSamples;
}

/** The bytes whose SHA-256 is signed. */
export function encodeRelease(parts: ReleaseParts): Uint8Array {
  const release: Release = { format: 1, ...parts };
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
