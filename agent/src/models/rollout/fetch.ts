// Brings a release to this disk: the signed document first, then the segments of the model file that no version here
// has. Whatever arrived whole stays, so a broken transfer goes on where it stopped.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { sha256 } from '@edgeloop/shared/node/digests';
import { verifyRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import { bytesOf, type DevicePort } from '../../identity/device-port.ts';
import type { ModelStore } from '../store.ts';
import { copyFromVersions, missingFrom, type PlacedSegment, placed } from './segments-on-disk.ts';

export interface FetchSource {
  port: DevicePort;
  store: ModelStore;
  /** Ed25519 public key pinned at enrolment, SPKI PEM. */
  fleetKey: string;
}

const releaseBytes = 160 * 1024 * 1024;
const rangeBytes = 8 * 1024 * 1024;
/** Left free on the disk for everything else. */
const reserveBytes = 32 * 1024 * 1024;
const triesPerSegment = 3;

/**
 * Fetches `target` until all bytes are on disk, not yet verified as a whole.
 * @throws AppError `integrity` for tampered bytes, `insufficient_storage`, `unavailable` when the transfer broke
 */
export async function fetchModel(source: FetchSource, target: DesiredModel, signal: AbortSignal): Promise<void> {
  const { store } = source;
  const release = await fetchRelease(source, target, signal);
  if (await store.isComplete(target.name, target.version)) return;
  const file = await openPartial(store.partialPath(target.name, target.version));
  try {
    const { sizeBytes } = release.artifact;
    const absent = await missingFrom(file, placed(release.artifact.segments));
    await requireSpace(source, target, absent);
    const missing = await copyFromVersions(store, target, file, absent);
    await download(source.port, { path: `/device/v1/blobs/${release.artifact.digest}`, file, missing, signal });
    await file.truncate(sizeBytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Checks everything on disk against what is desired: document hash, signature, whole file; then names it complete.
 * @throws AppError `integrity`; the version's folder is removed, so that a later try starts clean
 */
export async function verifyModel({ store, fleetKey }: FetchSource, target: DesiredModel): Promise<void> {
  const { name, version } = target;
  try {
    const document = await store.readRelease(name, version);
    if (document === undefined) throw new AppError('integrity', `the release of ${name} ${version} is not on disk`);
    const release = checkRelease(document, target, fleetKey);
    const complete = await store.isComplete(name, version);
    const path = complete ? join(store.folderOf(name, version), 'model.onnx') : store.partialPath(name, version);
    if ((await sha256OfFile(path)) !== release.artifact.digest)
      throw new AppError(
        'integrity',
        `the file of ${name} ${version} does not have the SHA-256 that its release names`,
      );
    if (!complete) await store.complete(name, version);
  } catch (error) {
    await store.remove(name, version);
    throw error;
  }
}

async function fetchRelease(source: FetchSource, target: DesiredModel, signal: AbortSignal): Promise<Release> {
  const { store, port, fleetKey } = source;
  const { name, version } = target;
  const present = await store.readRelease(name, version);
  if (present !== undefined && sha256(present) === target.release) return checkRelease(present, target, fleetKey);
  // Another release under the same number: nothing of it may be mistaken for this one.
  if (present !== undefined) await store.remove(name, version);
  const answer = await port.send({ method: 'GET', path: `/device/v1/blobs/${target.release}`, signal });
  const document = await bytesOf(answer, releaseBytes).catch((cause) => interrupted(cause, signal));
  const release = checkRelease(document, target, fleetKey);
  await store.writeRelease(name, version, document, release);
  return release;
}

/** The signature covers the document's hash, and the document names the hash of the file. */
function checkRelease(document: Buffer, target: DesiredModel, fleetKey: string): Release {
  const what = `release of ${target.name} ${target.version}`;
  const digest = sha256(document);
  if (digest !== target.release) throw new AppError('integrity', `the ${what} does not have the desired SHA-256`);
  if (!verifyRelease(digest, target.signature, fleetKey))
    throw new AppError('integrity', `the ${what} is not signed by the fleet key that this device knows`);
  const release = parseJson(Release, document.toString('utf8'), what, 'integrity');
  if (release.name !== target.name || release.version !== target.version)
    throw new AppError('integrity', `the ${what} is one of ${release.name} ${release.version}`);
  const sum = release.artifact.segments.reduce((total, segment) => total + segment.sizeBytes, 0);
  if (sum !== release.artifact.sizeBytes)
    throw new AppError('integrity', `the segments in the ${what} do not add up to its size`);
  return release;
}

async function requireSpace({ store }: FetchSource, { name, version }: DesiredModel, absent: readonly PlacedSegment[]) {
  const needed = absent.reduce((total, segment) => total + segment.sizeBytes, 0);
  const free = await store.freeBytes();
  if (free - reserveBytes >= needed) return;
  throw new AppError(
    'insufficient_storage',
    `${name} ${version} needs ${megabytes(needed + reserveBytes)} MB of disk, ${megabytes(free)} MB are free`,
  );
}

interface Download {
  path: string;
  file: FileHandle;
  missing: readonly PlacedSegment[];
  signal: AbortSignal;
}

async function download(port: DevicePort, { path, file, missing, signal }: Download): Promise<void> {
  let left = [...missing];
  for (let tries = 0; left.length > 0; tries += 1) {
    if (tries === triesPerSegment)
      throw new AppError('integrity', `${left.length} segments arrived with wrong bytes ${tries} times`);
    const wrong: PlacedSegment[] = [];
    for (const range of ranges(left))
      wrong.push(...(await downloadRange(port, { path, file, missing: range, signal })));
    left = wrong;
  }
}

/** Runs of neighbouring segments, each short enough that little is lost with a connection. */
function ranges(segments: readonly PlacedSegment[]): PlacedSegment[][] {
  const runs: PlacedSegment[][] = [];
  for (const segment of segments) {
    const run = runs.at(-1);
    const first = run?.[0];
    const last = run?.at(-1);
    const joins =
      first !== undefined &&
      last !== undefined &&
      last.offset + last.sizeBytes === segment.offset &&
      segment.offset + segment.sizeBytes - first.offset <= rangeBytes;
    if (joins) run?.push(segment);
    else runs.push([segment]);
  }
  return runs;
}

/** Writes each segment of one run as it is whole; returns those whose bytes were wrong. */
async function downloadRange(port: DevicePort, { path, file, missing, signal }: Download): Promise<PlacedSegment[]> {
  const start = missing[0]?.offset ?? 0;
  const end = missing.reduce((_, segment) => segment.offset + segment.sizeBytes, start);
  const headers = { range: `bytes=${start}-${end - 1}` };
  const answer = await port.send({ method: 'GET', path, headers, signal });
  // A server that does not know ranges sends the file from its beginning.
  let skip = answer.statusCode === 206 ? 0 : start;
  const queue = [...missing];
  const wrong: PlacedSegment[] = [];
  let buffered = Buffer.alloc(0);
  try {
    for await (const piece of answer.body) {
      const skipped = Math.min(skip, piece.length);
      skip -= skipped;
      buffered = Buffer.concat([buffered, piece.subarray(skipped)]);
      for (let segment = queue[0]; segment !== undefined && buffered.length >= segment.sizeBytes; segment = queue[0]) {
        const bytes = buffered.subarray(0, segment.sizeBytes);
        if (sha256(bytes) === segment.digest) await file.write(bytes, 0, bytes.length, segment.offset);
        else wrong.push(segment);
        buffered = buffered.subarray(segment.sizeBytes);
        queue.shift();
      }
      if (queue.length === 0) break;
    }
  } catch (cause) {
    return interrupted(cause, signal);
  }
  if (queue.length > 0)
    throw new AppError('unavailable', `the transfer of ${path} ended ${queue.length} segments early`);
  return wrong;
}

function interrupted(cause: unknown, signal: AbortSignal): never {
  signal.throwIfAborted();
  if (cause instanceof AppError) throw cause;
  throw new AppError('unavailable', 'the connection to the control plane broke during a transfer', { cause });
}

async function openPartial(path: string): Promise<FileHandle> {
  const created = await open(path, 'a');
  await created.close();
  return open(path, 'r+');
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece);
  return hash.digest('hex');
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}
