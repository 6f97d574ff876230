// Brings a release to this disk: the signed document first, then the segments of the model file that no version here
// has. Whatever arrived whole stays, so a broken transfer goes on where it stopped.
import { type FileHandle, open } from 'node:fs/promises';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { verifyRelease } from '@edgeloop/shared/node/signing';
import { type Artifact, Release, type Variant, variantsOf } from '@edgeloop/shared/release';
import { bytesOf, type DevicePort, Unreached } from '../../identity/device-port.ts';
import { DamagedFile } from '../failure.ts';
import { sha256OfFile } from '../file-check.ts';
import type { ModelStore, ReleaseRef } from '../store.ts';
import { type Bandwidth, createBandwidth } from './bandwidth.ts';
import { download, interrupted } from './download.ts';
import { copyFromDisk, missingFrom, type PlacedSegment, placed } from './segments-on-disk.ts';
import { type AbilitiesOf, variantsWanted } from './variant-choice.ts';

export interface FetchSource {
  /** Undefined until the device has joined; what is on disk already needs none. */
  port: DevicePort | undefined;
  store: ModelStore;
  /** Ed25519 public keys of the fleet, SPKI PEM; undefined before enrolment. */
  trustedKeys: readonly string[] | undefined;
  /** Of this device's link. */
  bandwidth: Bandwidth;
  /** Unset: nothing is known of it, and only variants that need nothing fit. */
  abilities?: AbilitiesOf;
}

/** A release to fetch. Without a signature: one that was verified here before. */
export interface FetchTarget extends ReleaseRef {
  signature?: string;
  /** Fetched no faster than that, whatever the link gives. */
  bandwidthKbps?: number | undefined;
}

export interface FetchOptions {
  /** Releases that must stay on disk. */
  keep: readonly string[];
  signal: AbortSignal;
  /** More of it is on this disk than before. */
  onProgress?: () => void;
}

/** There is no fleet yet whose key a release could be checked with. */
export class NotEnrolled extends AppError {
  constructor() {
    super('unavailable', 'the device is not enrolled yet');
  }
}

const releaseBytes = 160 * 1024 * 1024;
/** Left free on the disk for everything else. */
const reserveBytes = 32 * 1024 * 1024;

/**
 * Fetches `target` until all bytes are on disk, not yet verified as a whole.
 * @throws AppError `integrity` for tampered bytes, `insufficient_storage`, `unavailable` when the transfer broke
 */
export async function fetchModel(source: FetchSource, target: FetchTarget, options: FetchOptions): Promise<void> {
  const release = await fetchRelease(source, target, options);
  for (const variant of await wantedOf(source, target, release)) await fetchFile(source, target, variant, options);
}

/** What is to be on this disk of a release. @throws NoVariantFits */
function wantedOf(
  { store, abilities }: Pick<FetchSource, 'store' | 'abilities'>,
  { name, version, release: digest }: FetchTarget,
  release: Release,
) {
  return variantsWanted(store, { of: { name, version, release: digest }, release, abilities });
}

async function fetchFile(
  source: FetchSource,
  target: FetchTarget,
  { name: variant, artifact }: Variant,
  { signal, onProgress }: FetchOptions,
): Promise<void> {
  const { store } = source;
  if (await store.isComplete(target, variant)) return;
  const file = await openPartial(store.partialPath(target, variant));
  try {
    const { sizeBytes } = artifact;
    const absent = await missingFrom(file, placed(artifact.segments));
    await requireSpace(source, target, absent);
    const missing = await copyFromDisk(store, { ...target, variant }, file, absent);
    const path = `/device/v1/blobs/${artifact.digest}`;
    const bandwidths = [source.bandwidth, createBandwidth(target.bandwidthKbps)];
    if (missing.length > 0)
      await download({ port: portOf(source), path, file, missing, bandwidths, signal, onProgress });
    await file.truncate(sizeBytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Checks everything on disk against what is desired: document hash, signature, whole file; then names it complete.
 * @throws AppError `integrity` when the release itself does not hold; nothing of it stays on disk
 * @throws DamagedFile when the disk does not hold what was fetched; fetching it again mends that
 */
export async function verifyModel(source: FetchSource, target: FetchTarget, signal: AbortSignal): Promise<void> {
  const { store, trustedKeys } = source;
  const { name, version } = target;
  if (trustedKeys === undefined) throw new NotEnrolled();
  const document = await store.readRelease(target);
  if (document === undefined) throw new DamagedFile(`the release of ${name} ${version} is not on disk any more`);
  try {
    const release = checkRelease(document, target, trustedKeys);
    for (const variant of await wantedOf(source, target, release)) await verifyFile(store, target, { variant, signal });
  } catch (error) {
    if (error instanceof DamagedFile) await store.distrust(target);
    else if (error instanceof AppError) await store.remove(target);
    throw error;
  }
}

/** The variants that are wanted here, by name. @throws DamagedFile when the release document is not what was verified */
export async function variantsHere(
  source: Pick<FetchSource, 'store' | 'abilities'>,
  target: FetchTarget,
): Promise<string[]> {
  const document = await source.store.readRelease(target);
  if (document === undefined)
    throw new DamagedFile(`the release of ${target.name} ${target.version} is not on disk any more`);
  const release = parseJson(Release, document.toString('utf8'), 'release', 'integrity');
  return (await wantedOf(source, target, release)).map(({ name }) => name);
}

async function verifyFile(
  store: ModelStore,
  target: FetchTarget,
  { variant: { name: variant, artifact }, signal }: { variant: Variant; signal: AbortSignal },
): Promise<void> {
  const isComplete = await store.isComplete(target, variant);
  const path = isComplete ? store.modelPath(target, variant) : store.partialPath(target, variant);
  const what = `the file of ${target.name} ${target.version}`;
  const found = await sha256OfFile(path, signal).catch((error: unknown) => {
    if (isMissing(error)) throw new DamagedFile(`${what} is not on disk any more`);
    throw error;
  });
  if (found !== artifact.digest) {
    const file = await open(path, 'r');
    const wrong = await missingFrom(file, placed(artifact.segments)).finally(() => file.close());
    if (wrong.length > 0) throw new DamagedFile(`${what} was changed on disk after it was fetched`);
    throw new AppError('integrity', `${what} does not have the SHA-256 that its release names`);
  }
  if (!isComplete) await store.complete(target, variant);
}

async function fetchRelease(
  source: FetchSource,
  target: FetchTarget,
  { keep, signal, onProgress }: FetchOptions,
): Promise<Release> {
  const { store, trustedKeys } = source;
  if (trustedKeys === undefined) throw new NotEnrolled();
  const present = await store.readRelease(target);
  if (present !== undefined) return checkRelease(present, target, trustedKeys);
  const answer = await portOf(source).send({ method: 'GET', path: `/device/v1/blobs/${target.release}`, signal });
  const document = await bytesOf(answer, releaseBytes).catch((cause) => interrupted(cause, signal));
  const release = checkRelease(document, target, trustedKeys);
  await store.claim(target, keep);
  await store.writeRelease(target, document, release);
  onProgress?.();
  return release;
}

function portOf({ port }: FetchSource): DevicePort {
  if (port === undefined) throw new Unreached('there is no connection to the control plane yet');
  return port;
}

/** The signature covers the document's hash, and the document names the hash of the file. */
function checkRelease(document: Buffer, target: FetchTarget, trustedKeys: readonly string[]): Release {
  const what = `release of ${target.name} ${target.version}`;
  const digest = sha256(document);
  if (digest !== target.release) throw new AppError('integrity', `the ${what} does not have the desired SHA-256`);
  if (target.signature !== undefined && !verifyRelease(digest, target.signature, trustedKeys))
    throw new AppError('integrity', `the ${what} is signed by no key that this device trusts`);
  const release = parseJson(Release, document.toString('utf8'), what, 'integrity');
  if (release.name !== target.name || release.version !== target.version)
    throw new AppError('integrity', `the ${what} is one of ${release.name} ${release.version}`);
  if (!variantsOf(release).every(({ artifact }) => addsUp(artifact)))
    throw new AppError('integrity', `the segments in the ${what} do not add up to its size`);
  return release;
}

function addsUp({ segments, sizeBytes }: Artifact): boolean {
  return segments.reduce((total, segment) => total + segment.sizeBytes, 0) === sizeBytes;
}

async function requireSpace({ store }: FetchSource, { name, version }: FetchTarget, absent: readonly PlacedSegment[]) {
  const needed = absent.reduce((total, segment) => total + segment.sizeBytes, 0);
  const free = await store.freeBytes();
  if (free - reserveBytes >= needed) return;
  throw new AppError(
    'insufficient_storage',
    `${name} ${version} needs ${megabytes(needed + reserveBytes)} MB of disk, ${megabytes(free)} MB are free`,
  );
}

async function openPartial(path: string): Promise<FileHandle> {
  const created = await open(path, 'a');
  await created.close();
  return open(path, 'r+');
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}
