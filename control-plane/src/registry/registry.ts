// The registry: models and their versions, each proven to load and run before it gets a number, signed, never changed.
import type { KeyObject } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Lineage, Model, ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError, parse } from '@edgeloop/shared/errors';
import { GoldenSamples, maxGoldenBytes } from '@edgeloop/shared/golden';
import { ModelName } from '@edgeloop/shared/identifiers';
import { Manifest, type ManifestInput, maxManifestBytes } from '@edgeloop/shared/manifest';
import { signRelease } from '@edgeloop/shared/node/signing';
import { createTurn } from '@edgeloop/shared/node/turn';
import { Release } from '@edgeloop/shared/release';
import type { Logger } from 'pino';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Database, Transaction } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { checkManifest } from './manifest-check.ts';
import { createRegistryStore, toDetail, type VersionRow } from './registry-store.ts';
import { type Artifact, contentDigest, describeArtifact, encodeRelease } from './release-document.ts';
import { createValidator, type ValidationLimits } from './validation.ts';

export interface RegistryLimits {
  /** Largest ONNX file, bytes. */
  model: number;
  manifest: number;
  golden: number;
  validation: ValidationLimits;
}

/** Protobuf itself ends below 2 GiB. */
export const defaultLimits: RegistryLimits = {
  model: 2 ** 31 - 1,
  manifest: maxManifestBytes,
  golden: maxGoldenBytes,
  validation: { timeoutMs: 60_000, maxRssBytes: 2 * 1024 ** 3, maxWaiting: 16 },
};

export interface RegistryDeps {
  database: Database;
  blobs: Blobs;
  /** The Ed25519 private key that signs releases. */
  fleetKey: KeyObject;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  /** Uploads arrive below it. */
  dataDir: string;
  limits?: Partial<RegistryLimits>;
}

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

export type Registry = ReturnType<typeof createRegistry>;

export function createRegistry(deps: RegistryDeps) {
  const { database, blobs, fleetKey, now, notify, log } = deps;
  const limits: RegistryLimits = { ...defaultLimits, ...deps.limits };
  const scratchDir = join(deps.dataDir, 'tmp', 'uploads');
  const store = createRegistryStore(database.tables);
  const validator = createValidator(limits.validation);
  // Version numbers are given out one at a time; the primary key is the last wall.
  const numbering = createTurn();

  async function version(name: string, number: number): Promise<ModelVersionDetail> {
    const found = await store.version(database.read, name, number);
    if (found !== undefined) return found;
    if ((await store.model(database.read, name)) === undefined) throw unknownModel(name);
    throw new AppError('not_found', `model "${name}" has no version ${number}`);
  }

  async function insertModel(tx: Transaction, actor: string, model: { name: string; description: string }) {
    const at = now();
    await store.insertModel(tx, { ...model, createdAt: at });
    const subject = `model/${model.name}`;
    await recordAudit(database.tables, tx, { at, actor, action: 'model.create', subject, after: model });
  }

  /** The same model with the same manifest and golden samples is already there. */
  async function refuseRepetition(name: string, { digest }: Artifact, given: Proof): Promise<void> {
    const wanted = contentDigest(given);
    for (const known of await store.withArtifact(database.read, name, digest)) {
      const release = parse(
        Release,
        JSON.parse((await blobs.read(known.release)).toString('utf8')),
        'release',
        'internal',
      );
      if (contentDigest({ manifest: release.manifest, golden: release.golden }) !== wanted) continue;
      throw new AppError(
        'conflict',
        `model "${name}" has the same file and manifest as version ${known.version} already`,
      );
    }
  }

  async function commit(actor: string, registration: Registration, proven: Proven): Promise<ModelVersionDetail> {
    const { model: name, lineage, metrics = {} } = registration;
    const { artifact, io, manifest, golden } = proven;
    await refuseRepetition(name, artifact, { manifest, golden });
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
        await insertModel(tx, actor, { name, description: manifest.description ?? '' });
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

  return {
    limits,
    scratchDir,

    /** @throws AppError `conflict` when the name is taken */
    async createModel(actor: string, model: { name: string; description: string }): Promise<Model> {
      const createdAt = await database.transact(async (tx) => {
        if ((await store.model(tx, model.name)) !== undefined) {
          throw new AppError('conflict', `there is a model "${model.name}" already; push versions to it`);
        }
        await insertModel(tx, actor, model);
        return (await store.model(tx, model.name))?.createdAt ?? now();
      });
      notify({ type: 'model', id: model.name, state: 'created' });
      return { ...model, createdAt, versions: [] };
    },

    /** Sorted by name, each with its versions, newest first. */
    async models({ limit, cursor }: PageQuery): Promise<Page<Model>> {
      const afterName = decodeCursor(ModelName, cursor);
      const rows = await store.models(database.read, { afterName, limit: limit + 1 });
      const page = toPage(rows, limit, (row) => row.name);
      const names = page.items.map((row) => row.name);
      const versions = await store.summaries(database.read, names);
      const items = page.items.map((row) => ({ ...row, versions: versions.filter(({ model }) => model === row.name) }));
      return { ...page, items };
    },

    /** @throws AppError `not_found` */
    async model(name: string): Promise<Model> {
      const row = await store.model(database.read, name);
      if (row === undefined) throw unknownModel(name);
      return { ...row, versions: await store.summaries(database.read, [name]) };
    },

    /** @throws AppError `not_found` */
    version,

    /** The model file, a blob. @throws AppError `not_found` */
    async artifact(name: string, number: number): Promise<{ digest: string; sizeBytes: number }> {
      const { digest, sizeBytes } = await version(name, number);
      return { digest, sizeBytes };
    },

    /** Digests of the blobs that a device needs to run this version: release document and model file. */
    async releaseBlobs(name: string, number: number): Promise<string[]> {
      const { release, digest } = await version(name, number);
      return [release, digest];
    },

    /**
     * Proves the model in a process of its own, then gives it the next version number, signed.
     * @throws AppError `model_rejected` with the reason; `invalid_request` naming the manifest's field; `conflict` naming
     * the version that is the same; `not_found`
     */
    async register(actor: string, registration: Registration): Promise<ModelVersionDetail> {
      const {
        model: name,
        artifact: { path },
      } = registration;
      const manifest = parse(Manifest, registration.manifest, 'manifest');
      const golden = parse(GoldenSamples, registration.golden ?? { samples: [] }, 'golden');
      if (registration.createModel !== true && (await store.model(database.read, name)) === undefined) {
        throw unknownModel(name);
      }
      const artifact = await describeArtifact(path);
      await refuseRepetition(name, artifact, { manifest, golden });
      const io = await validator.validate({ path, golden });
      checkManifest(manifest, io);
      await blobs.putFile(path);
      const registered = await numbering.run(() => commit(actor, registration, { artifact, io, manifest, golden }));
      log.info({ model: name, version: registered.version, digest: artifact.digest }, 'model version registered');
      notify({ type: 'model', id: name, state: `version ${registered.version}` });
      return registered;
    },

    /** Removes what uploads left behind when the server was ended in their midst. */
    start: (): Promise<void> => rm(scratchDir, { recursive: true, force: true }),
    /** Ends validations that are running. */
    close: (): Promise<void> => validator.close(),
  };
}

interface Proof {
  manifest: Manifest;
  golden: GoldenSamples;
}
interface Proven extends Proof {
  artifact: Artifact;
  io: ModelVersionDetail['io'];
}

function unknownModel(name: string): AppError {
  return new AppError('not_found', `there is no model "${name}"`);
}
