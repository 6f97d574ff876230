// Which segments of a file are already on this disk: in its own partial file from an earlier try, or in any other
// version of any model. Every piece is hashed when it is taken, so a stale or damaged file can only cost time.
import { existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '@edgeloop/shared/node/digests';
import { readIfPresent } from '@edgeloop/shared/node/durable-files';
import { Release, type Variant, variantsOf } from '@edgeloop/shared/release';
import type { Segment } from '@edgeloop/shared/segments';
import type { ModelStore, ReleaseRef } from '../store.ts';
import { fileNameOf } from '../variant-files.ts';

/** A segment with its place in the file. */
export interface PlacedSegment extends Segment {
  offset: number;
}

export function placed(segments: readonly Segment[]): PlacedSegment[] {
  let offset = 0;
  return segments.map((segment) => {
    const at = offset;
    offset += segment.sizeBytes;
    return { ...segment, offset: at };
  });
}

/** The segments that `file` does not hold yet at their place. */
export async function missingFrom(file: FileHandle, segments: readonly PlacedSegment[]): Promise<PlacedSegment[]> {
  const { size } = await file.stat();
  const missing: PlacedSegment[] = [];
  for (const segment of segments) {
    const there = segment.offset + segment.sizeBytes <= size && (await holds(file, segment));
    if (!there) missing.push(segment);
  }
  return missing;
}

/** Copies what other releases on this disk have of `missing` into `target`; returns what is still missing. */
export async function copyFromDisk(
  store: ModelStore,
  { name, release, variant }: ReleaseRef & { variant: string },
  target: FileHandle,
  missing: readonly PlacedSegment[],
): Promise<PlacedSegment[]> {
  let left = [...missing];
  const others = (await store.names()).filter((other) => other !== name);
  // Most likely the newest of the same model, but models share layers, too.
  for (const each of [name, ...others]) {
    for (const other of (await store.list(each)).reverse()) {
      if (left.length === 0) return left;
      const isOwn = other.release === release;
      // Variants share layers, and those that are measured lie beside each other.
      if (isOwn || other.isComplete)
        left = await copyFromFolder(other.folder, isOwn ? variant : undefined, target, left);
    }
  }
  return left;
}

/** From whole files in a folder, but for the one that is being made. */
async function copyFromFolder(
  folder: string,
  except: string | undefined,
  target: FileHandle,
  wanted: readonly PlacedSegment[],
): Promise<PlacedSegment[]> {
  let left = [...wanted];
  for (const { name, artifact } of await variantsIn(folder)) {
    const whole = join(folder, fileNameOf(name));
    // Beside the one that is made, what has come of the others is not verified yet.
    const path = except === undefined || existsSync(whole) ? whole : `${whole}.partial`;
    if (name === except || !existsSync(path)) continue;
    const source = new Map(placed(artifact.segments).map((segment) => [segment.digest, segment]));
    if (!left.some(({ digest }) => source.has(digest))) continue;
    const file = await open(path, 'r');
    try {
      left = await copySegments(file, source, target, left);
    } finally {
      await file.close();
    }
  }
  return left;
}

async function copySegments(
  from: FileHandle,
  source: Map<string, PlacedSegment>,
  to: FileHandle,
  wanted: readonly PlacedSegment[],
): Promise<PlacedSegment[]> {
  const left: PlacedSegment[] = [];
  for (const segment of wanted) {
    const found = source.get(segment.digest);
    const bytes = found === undefined ? undefined : await readSegment(from, found);
    if (bytes === undefined) left.push(segment);
    else await to.write(bytes, 0, bytes.length, segment.offset);
  }
  return left;
}

async function variantsIn(folder: string): Promise<Variant[]> {
  const release = Release.safeParse(jsonOf(await readIfPresent(join(folder, 'release.json'))));
  return release.success ? variantsOf(release.data) : [];
}

function jsonOf(document: string | undefined): unknown {
  try {
    return JSON.parse(document ?? '');
  } catch {
    return undefined; // A damaged version has nothing to copy from.
  }
}

async function holds(file: FileHandle, segment: PlacedSegment): Promise<boolean> {
  return (await readSegment(file, segment)) !== undefined;
}

/** The segment's bytes, or undefined when the file has others there. */
async function readSegment(
  file: FileHandle,
  { offset, sizeBytes, digest }: PlacedSegment,
): Promise<Buffer | undefined> {
  const bytes = Buffer.alloc(sizeBytes);
  const { bytesRead } = await file.read(bytes, 0, sizeBytes, offset);
  return bytesRead === sizeBytes && sha256(bytes) === digest ? bytes : undefined;
}
