// How a version comes into the registry once it is proven: a repetition is refused, then it gets its number, is signed
// and written down.
import type { KeyObject } from 'node:crypto';
import type { Lineage, ModelVersionDetail } from '@edgeloop/shared/api/models';
import { AppError } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import type { Manifest, ManifestInput } from '@edgeloop/shared/manifest';
import { signRelease } from '@edgeloop/shared/node/signing';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Database, Transaction } from '../database/open.ts';
import { type RegistryStore, toDetail, type VersionRow } from './registry-store.ts';
import { type Artifact, contentDigest, encodeRelease, readRelease } from './release-document.ts';

export interface Registration {
  model: string;
  /** `path` is a temporary file of the caller, who removes what is left of it. */
  artifact: { path: string };
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
  blobs: Blobs;
  /** The Ed25519 private key that signs releases. */
  fleetKey: KeyObject;
  now: () => number;
}

/** What makes a version one of its own. */
export interface Content {
  artifact: Artifact;
  manifest: Manifest;
  golden: GoldenSamples;
}

export interface Proven extends Content {
  io: ModelVersionDetail['io'];
}

/** @throws AppError `conflict` when the same model with the same manifest and golden samples is already there */
export async function refuseRepetition(
  { database, store, blobs }: RegistrationDeps,
  name: string,
  { artifact: { digest }, ...given }: Content,
): Promise<void> {
  const wanted = contentDigest(given);
  for (const known of await store.withArtifact(database.read, name, digest)) {
    const release = await readRelease(blobs, known.release);
    if (contentDigest({ manifest: release.manifest, golden: release.golden }) !== wanted) continue;
    throw new AppError(
      'conflict',
      `model "${name}" has the same file and manifest as version ${known.version} already`,
    );
  }
}

/** Gives the next version number, so one at a time. @throws AppError as `refuseRepetition`; `not_found` */
export async function commitVersion(
  deps: RegistrationDeps,
  { actor, registration, proven }: { actor: string; registration: Registration; proven: Proven },
): Promise<ModelVersionDetail> {
  const { database, store, blobs, fleetKey, now } = deps;
  const { model: name, lineage, metrics = {} } = registration;
  const { artifact, io, manifest, golden } = proven;
  await refuseRepetition(deps, name, { artifact, manifest, golden });
  const number = (await store.latest(database.read, name)) + 1;
  const parts = { name, version: number, artifact, signature: io, manifest, golden };
  const release = await blobs.put(encodeRelease(parts));
  const row: VersionRow = {
    model: name,
    version: number,
    digest: artifact.digest,
    sizeBytes: artifact.sizeBytes,
    release,
    signature: signRelease(release, fleetKey),
    io,
    manifest,
    goldenSamples: golden.samples.length,
    lineage,
    metrics,
    createdAt: now(),
    createdBy: actor,
  };
  await database.transact(async (tx) => {
    if ((await store.model(tx, name)) === undefined) {
      if (registration.createModel !== true) throw unknownModel(name);
      await insertModel(deps, tx, { actor, name, description: manifest.description ?? '' });
    }
    await store.insertVersion(tx, row);
    await recordAudit(database.tables, tx, {
      at: row.createdAt,
      actor,
      action: 'model.register',
      subject: `model/${name}/${number}`,
      after: { digest: row.digest, sizeBytes: row.sizeBytes, release, lineage, metrics },
    });
  });
  return toDetail(row);
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
