// How a version comes into the registry once it is proven: a repetition is refused, then it gets its number, is signed
// and written down.
import type { Lineage, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { Manifest, ManifestInput } from '@edgeloop/shared/manifest';
import type { Artifact, Release } from '@edgeloop/shared/release';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Database, Transaction } from '../database/open.ts';
import { type RegistryStore, toDetail, type VersionRow } from './registry-store.ts';
import { contentDigest, encodeRelease, readRelease, type Said, saidOf } from './release-document.ts';
import type { UploadedFiles, UploadedVariant } from './uploaded-files.ts';
import { summaryOf } from './variants.ts';
import type { VersionNumbers } from './version-numbers.ts';

export interface Registration {
  model: string;
  files: UploadedFiles;
  /** Further files that the manifest names as variants. */
  variants?: readonly UploadedVariant[];
  manifest: ManifestInput;
  golden?: GoldenSamples | undefined;
  lineage: Lineage;
  /** Held-out metrics. */
  metrics?: Record<string, number>;
  /** Make the model when there is none of that name; otherwise that is `not_found`. */
  createModel?: boolean;
}

export interface RegistrationDeps {
  database: Database;
  store: RegistryStore;
  numbers: VersionNumbers;
  blobs: Blobs;
  /** The fleet's signature of a release document, given its SHA-256. */
  signRelease: (release: string) => string;
  now: () => number;
}

/** What makes a version one of its own. */
export interface Content {
  artifact: Artifact;
  variants: Release['variants'];
  manifest: Manifest;
  golden: GoldenSamples;
}

interface Proven extends Content {
  io: ModelVersionDetail['io'];
}

/** @throws AppError `conflict` when the same model with the same manifest and golden samples is already there */
export async function refuseRepetition(
  { database, store, blobs }: RegistrationDeps,
  name: string,
  { artifact: { digest }, manifest, golden, variants }: Content,
): Promise<void> {
  const wanted = digestOf({ ...saidOf(manifest), golden, variants });
  for (const known of await store.withArtifact(database.read, name, digest)) {
    const release = await readRelease(blobs, known.release);
    if (digestOf(release) !== wanted) continue;
    throw new AppError(
      'conflict',
      `model "${name}" has the same file and manifest as version ${known.version} already`,
    );
  }
}

function digestOf({ manifest, golden, acceptance, variants, select }: Said & Pick<Release, 'golden' | 'variants'>) {
  const files = variants?.map(({ artifact, ...variant }) => ({ ...variant, digest: artifact?.digest }));
  return contentDigest({ manifest, golden, acceptance, variants: files, select });
}

/** Gives the next version number, so one at a time. @throws AppError as `refuseRepetition`; `not_found` */
export async function commitVersion(deps: RegistrationDeps, commit: Commit): Promise<ModelVersionDetail> {
  const { database, numbers } = deps;
  const { model } = commit.registration;
  await refuseRepetition(deps, model, commit.proven);
  for (;;) {
    const row = await signVersion(deps, commit, await numbers.next(database.read, model));
    const isWritten = await database.transact((tx) => insertVersion(deps, tx, commit.registration, row));
    if (isWritten) return toDetail(row);
  }
}

interface Commit {
  actor: string;
  registration: Registration;
  proven: Proven;
}

async function signVersion(
  { blobs, signRelease, now }: RegistrationDeps,
  { actor, registration, proven }: Commit,
  version: number,
): Promise<VersionRow> {
  const { model, lineage, metrics = {} } = registration;
  const { artifact, io, manifest, golden, variants } = proven;
  const parts = { name: model, version, artifact, signature: io, manifest, golden, variants };
  const release = await blobs.put(encodeRelease(parts));
  return {
    ...{ model, version, release, io, manifest, lineage, metrics },
    digest: artifact.digest,
    sizeBytes: artifact.sizeBytes,
    variants: variants === undefined ? null : summaryOf({ artifact, variants }),
    signature: signRelease(release),
    goldenSamples: golden.samples.length,
    createdAt: now(),
    createdBy: actor,
  };
}

/** False, and nothing is written, when a device has named the number meanwhile: it may stand for other bytes there. */
async function insertVersion(
  deps: RegistrationDeps,
  tx: Transaction,
  { createModel, manifest }: Registration,
  row: VersionRow,
): Promise<boolean> {
  const { database, store, numbers } = deps;
  const { model, version, createdBy: actor, digest, sizeBytes, release, lineage, metrics } = row;
  if (row.version !== (await numbers.next(tx, model))) return false;
  if ((await store.model(tx, model)) === undefined) {
    if (createModel !== true) throw unknownModel(model);
    await insertModel(deps, tx, { actor, name: model, description: manifest.description ?? '' });
  }
  await store.insertVersion(tx, row);
  await recordAudit(database.tables, tx, {
    at: row.createdAt,
    actor,
    action: 'model.register',
    subject: `model/${model}/${version}`,
    after: { digest, sizeBytes, release, lineage, metrics },
  });
  return true;
}

export async function insertModel(
  { database, store, now }: RegistrationDeps,
  tx: Transaction,
  { actor, ...model }: { actor: string; name: string; description: string },
): Promise<void> {
  const at = now();
  await store.insertModel(tx, { ...model, createdAt: at });
  const subject = `model/${model.name}`;
  await recordAudit(database.tables, tx, { at, actor, action: 'model.create', subject, after: model });
}

export function unknownModel(name: string): AppError {
  return new AppError('not_found', `there is no model "${name}"`);
}
