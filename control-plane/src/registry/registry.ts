// The registry: models and their versions, each proven to load and run before it gets a number, signed, never changed.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Model, ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import { AppError, parse } from '@edgeloop/shared/errors';
import { GoldenSamples, maxGoldenBytes } from '@edgeloop/shared/golden';
import { ModelName } from '@edgeloop/shared/identifiers';
import { featureNames, Manifest, maxManifestBytes } from '@edgeloop/shared/manifest';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Release } from '@edgeloop/shared/release';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { Logger } from 'pino';
import type { Blobs } from '../blobs/folder.ts';
import type { Database } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { createAliases } from './aliases.ts';
import { describeArtifact } from './artifact.ts';
import {
  commitVersion,
  insertModel,
  type Registration,
  type RegistrationDeps,
  refuseRepetition,
  unknownModel,
} from './registration.ts';
import { createRegistryStore, type ModelRow } from './registry-store.ts';
import { readRelease } from './release-document.ts';
import { artifactOf } from './uploaded-files.ts';
import { createValidator, type ValidationLimits } from './validation.ts';
import { checkBounds, checkInterchangeable, goldenOf, type VariantFile, variantFiles } from './variants.ts';
import { createVersionNumbers, versionKey } from './version-numbers.ts';

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
  /** The fleet's signature of a release document, given its SHA-256. */
  signRelease: (release: string) => string;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  /** Uploads arrive below it. */
  dataDir: string;
  limits?: Partial<RegistryLimits>;
}

export type Registry = ReturnType<typeof createRegistry>;

export function createRegistry(deps: RegistryDeps) {
  const { database, blobs, now, notify, log } = deps;
  const limits: RegistryLimits = { ...defaultLimits, ...deps.limits };
  const scratchDir = join(deps.dataDir, 'tmp', 'uploads');
  const store = createRegistryStore(database.tables);
  const numbers = createVersionNumbers(database.tables);
  const registering: RegistrationDeps = { ...deps, store, numbers };
  const validator = createValidator(limits.validation);
  /** Of versions that were asked for; a version never changes. */
  const featureCounts = new Map<string, number>();
  // Version numbers are given out one at a time; the primary key is the last wall.
  const numbering = createTurn();

  async function version(name: string, number: number): Promise<ModelVersionDetail> {
    const found = await store.version(database.read, name, number);
    if (found !== undefined) return found;
    if ((await store.model(database.read, name)) === undefined) throw unknownModel(name);
    throw new AppError('not_found', `model "${name}" has no version ${number}`);
  }

  const aliases = createAliases({ ...deps, version });

  async function withVersions(rows: readonly ModelRow[]): Promise<Model[]> {
    const names = rows.map((row) => row.name);
    const versions = await store.summaries(database.read, names);
    const unknown = await store.unknownReleases(database.read, names);
    const named = await aliases.of(database.read, names);
    return rows.map((row) => ({
      ...row,
      versions: versions.filter(({ model }) => model === row.name),
      unknownReleases: unknown.flatMap(({ model, ...each }) => (model === row.name ? [each] : [])),
      aliases: named.flatMap(({ model, ...each }) => (model === row.name ? [each] : [])),
    }));
  }

  async function describe(files: readonly VariantFile[] | undefined): Promise<Release['variants']> {
    if (files === undefined) return undefined;
    const described: NonNullable<Release['variants']> = [];
    for (const { path, ...variant } of files)
      described.push(path === undefined ? variant : { ...variant, artifact: await describeArtifact(path) });
    return described;
  }

  /** Each is proven as the plain file is, and whoever asks must not notice which one answers. */
  async function proveVariants(
    files: readonly VariantFile[],
    { manifest, golden, plain }: { manifest: Manifest; golden: GoldenSamples; plain: ModelSignature },
  ): Promise<void> {
    for (const { path, ...variant } of files) {
      if (path === undefined) continue;
      const io = await validator
        .validate({ path, manifest, golden: goldenOf(golden, variant) })
        .catch((error: unknown) => {
          if (!(error instanceof AppError) || error.code !== 'model_rejected') throw error;
          throw new AppError(error.code, `variant "${variant.name}": ${error.message}`, {
            cause: error,
            errors: error.errors,
          });
        });
      checkInterchangeable(plain, io, variant.name);
    }
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
        await insertModel(registering, tx, { actor, ...model });
        return (await store.model(tx, model.name))?.createdAt ?? now();
      });
      notify({ type: 'model', id: model.name, state: 'created' });
      const [created] = await withVersions([{ ...model, createdAt }]);
      if (created === undefined) throw unknownModel(model.name);
      return created;
    },

    /** Sorted by name, each with its versions, newest first. */
    async models({ limit, cursor }: PageQuery): Promise<Page<Model>> {
      const afterName = decodeCursor(ModelName, cursor);
      const rows = await store.models(database.read, { afterName, limit: limit + 1 });
      const page = toPage(rows, limit, (row) => row.name);
      return { ...page, items: await withVersions(page.items) };
    },

    /** @throws AppError `not_found` */
    async model(name: string): Promise<Model> {
      const row = await store.model(database.read, name);
      const [found] = row === undefined ? [] : await withVersions([row]);
      if (found === undefined) throw unknownModel(name);
      return found;
    },

    /** @throws AppError `not_found` */
    version,

    /** The version that an alias of the model names now. @throws AppError `not_found` */
    aliased: (name: string, alias: string): Promise<number> => aliases.aliased(name, alias),

    /** Within the transaction of what moves it. */
    moveAlias: aliases.move,

    /** @throws AppError `not_found` */
    async setAlias(actor: string, moved: { model: string; alias: string; version: number }): Promise<Model> {
      await aliases.set(actor, moved);
      return this.model(moved.model);
    },

    /**
     * The names of a model's features in the order of captured samples, by its newest version; none without versions.
     * Devices have the order from the release document. @throws AppError `not_found`
     */
    async featureNames(name: string): Promise<string[]> {
      if ((await store.model(database.read, name)) === undefined) throw unknownModel(name);
      const newest = await numbers.latest(database.read, name);
      if (newest === 0) return [];
      const { release } = await version(name, newest);
      return featureNames((await readRelease(blobs, release)).manifest);
    },

    /**
     * What devices run the version by, and the digest of its file. Unlike that of `version`, the manifest has its inputs in the
     * order of captured samples. @throws AppError `not_found`
     */
    async contract(name: string, number: number): Promise<{ manifest: Manifest; digest: string }> {
      const { release, digest, manifest } = await version(name, number);
      // The release document holds golden samples, too: it is read only where there is an order to lose.
      const isOrdered = Object.values(manifest.inputs).filter(({ features }) => features !== undefined).length > 1;
      return { manifest: isOrdered ? (await readRelease(blobs, release)).manifest : manifest, digest };
    },

    /** How many values a captured sample of the version has; undefined when there is no such version. */
    async featureCount(name: string, number: number): Promise<number | undefined> {
      const key = versionKey({ model: name, version: number });
      const known = featureCounts.get(key);
      if (known !== undefined) return known;
      const found = await store.version(database.read, name, number);
      if (found === undefined) return undefined;
      const count = featureNames(found.manifest).length;
      featureCounts.set(key, count);
      return count;
    },

    /** The model file, a blob; of a pipeline, a tar with its files. @throws AppError `not_found` */
    async artifact(name: string, number: number, variant?: string): Promise<{ digest: string; isPipeline: boolean }> {
      const { digest, manifest, variants = [] } = await version(name, number);
      const isPipeline = manifest.pipeline !== undefined;
      if (variant === undefined) return { digest, isPipeline };
      const found = variants.find((each) => each.name === variant);
      if (found !== undefined) return { digest: found.digest, isPipeline };
      const names = variants.map((each) => each.name).join(', ');
      const there = names === '' ? 'it has one file only' : `it has ${names}`;
      throw new AppError('not_found', `model "${name}" version ${number} has no variant "${variant}"; ${there}`);
    },

    /** Digests of the blobs that a device needs to run this version: release document and model files. */
    async releaseBlobs(name: string, number: number): Promise<string[]> {
      const { release, digest, variants = [] } = await version(name, number);
      return [release, digest, ...variants.map((each) => each.digest)];
    },

    /**
     * Proves the model in a process of its own, then gives it the next version number, signed.
     * @throws AppError `model_rejected` with the reason; `invalid_request` naming the manifest's field; `conflict` naming
     * the version that is the same; `not_found`
     */
    async register(actor: string, registration: Registration): Promise<ModelVersionDetail> {
      const { model: name, files } = registration;
      const manifest = parse(Manifest, registration.manifest, 'manifest');
      const golden = parse(GoldenSamples, registration.golden ?? { samples: [] }, 'golden');
      if (registration.createModel !== true && (await store.model(database.read, name)) === undefined) {
        throw unknownModel(name);
      }
      checkBounds(manifest);
      const others = variantFiles(manifest, registration.variants ?? []);
      const path = await artifactOf(files, manifest);
      const artifact = await describeArtifact(path);
      if (artifact.sizeBytes > limits.model)
        throw new AppError('payload_too_large', `files: together they are larger than ${limits.model} bytes`);
      const variants = await describe(others);
      await refuseRepetition(registering, name, { artifact, variants, manifest, golden });
      const plain = variants?.find((variant) => variant.artifact === undefined);
      const plainGolden = plain?.tolerance === undefined ? golden : { ...golden, tolerance: plain.tolerance };
      const io = await validator.validate({ path, manifest, golden: plainGolden });
      if (others !== undefined) await proveVariants(others, { manifest, golden, plain: io });
      await blobs.putFile(path);
      for (const each of others ?? []) if (each.path !== undefined) await blobs.putFile(each.path);
      const proven = { artifact, variants, io, manifest, golden };
      const registered = await numbering.run(() => commitVersion(registering, { actor, registration, proven }));
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
