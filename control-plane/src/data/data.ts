// The data room: samples and labels from the field become immutable, content-hashed dataset versions.
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Dataset, DatasetImport, DatasetVersion, LabelsCreate, Sample, Split } from '@edgeloop/shared/api/data';
import { DatasetBuild, splits } from '@edgeloop/shared/api/data';
import type { Page } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import type { CaptureUpload } from '@edgeloop/shared/telemetry';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Database } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { createDataStore, type DataStore } from './data-store.ts';
import {
  type CleanedRows,
  classesOf,
  clean,
  countBySplit,
  digestOf,
  eachRow,
  isHeldOut,
  type LabelledRows,
  pack,
  type RawRow,
  rowsOf,
} from './rows.ts';
import { readParquet, readTable, writeParquet } from './tables.ts';

export interface DataDeps {
  database: Database;
  blobs: Blobs;
  now: () => number;
  /** For files that are being made. */
  scratchDir: string;
  /** Feature names of a model version's newest manifest, in the order of captured samples. */
  featuresOf: (model: string) => Promise<string[]>;
}
export type Data = ReturnType<typeof createData>;

type Lineage = DatasetVersion['lineage'];

export function createData(deps: DataDeps) {
  const { database, blobs, now } = deps;
  const store = createDataStore(database.tables);

  async function publish(actor: string, name: string, made: CleanedRows, lineage: Lineage): Promise<DatasetVersion> {
    if (made.rows.labels.length === 0)
      throw new AppError('invalid_request', `no usable row is left; dropped: ${JSON.stringify(made.dropped)}`);
    const files = await storeFiles(deps, made.rows);
    return database.transact(async (tx) => {
      if ((await store.dataset(tx, name)) === undefined)
        await store.insertDataset(tx, { name, description: '', createdAt: now() });
      const newest = (await store.versions(tx, [name])).at(-1);
      const version: DatasetVersion = {
        dataset: name,
        version: (newest?.version ?? 0) + 1,
        digest: digestOf(made.rows),
        rows: countBySplit(made.rows),
        dropped: made.dropped,
        schema: { features: made.rows.features, label: 'label', classes: classesOf(made.rows) },
        lineage,
        createdAt: now(),
        createdBy: actor,
      };
      if (newest?.digest === version.digest) return newest;
      await store.insertVersion(tx, version, files);
      const after = { digest: version.digest, rows: version.rows };
      await recordAudit(database.tables, tx, {
        at: now(),
        actor,
        action: 'dataset.version',
        subject: `dataset/${name}/${version.version}`,
        after,
      });
      return version;
    });
  }

  async function version(name: string, number: number) {
    const found = await store.version(database.read, name, number);
    if (found === undefined) throw new AppError('not_found', `there is no version ${number} of dataset "${name}"`);
    return found;
  }

  async function newest(name: string): Promise<DatasetVersion | undefined> {
    return (await store.versions(database.read, [name])).at(-1);
  }

  return {
    /** Stores what a device captured; storing it again changes nothing. */
    async capture(deviceId: string, { samples }: CaptureUpload): Promise<number> {
      await database.transact((tx) => store.insertSamples(tx, deviceId, samples, now()));
      return samples.length;
    },

    samples: (query: SampleList) => listSamples(store, database, query),

    /** Labels samples by inference id, and says which ids are unknown. */
    async label(
      actor: string,
      { labels }: z.infer<typeof LabelsCreate>,
    ): Promise<{ stored: number; unknown: string[] }> {
      return database.transact(async (tx) => {
        const unknown: string[] = [];
        for (const { inferenceId, label } of labels) {
          if (!(await store.label(tx, inferenceId, label, now()))) unknown.push(inferenceId);
        }
        const stored = labels.length - unknown.length;
        await recordAudit(database.tables, tx, {
          at: now(),
          actor,
          action: 'labels.create',
          subject: 'labels',
          after: { stored, unknown: unknown.length },
        });
        return { stored, unknown };
      });
    },

    /** Labelled samples of predictions made at or after `from`. */
    labelledSince: (model: string, from: number): Promise<number> =>
      store.countLabelled(database.read, { model, from }),

    /** Field samples of predictions made at or after `from` that no dataset version trains on, oldest first. Labels are empty. */
    async heldOutField(model: string, from: number): Promise<LabelledRows> {
      const features = await deps.featuresOf(model);
      const query = { model, from, to: now(), maxRows: 20_000 };
      const { split } = DatasetBuild.parse({});
      const rows = (await store.fieldValues(database.read, query)).filter(
        (values) => values.length === features.length && isHeldOut(values, split),
      );
      return pack(
        features,
        rows.map((values) => ({ values, label: '', split: 'test' })),
      );
    },

    /** @throws AppError `conflict` when the name is taken */
    async createDataset(actor: string, { name, description }: { name: string; description: string }): Promise<Dataset> {
      await database.transact(async (tx) => {
        if (!(await store.insertDataset(tx, { name, description, createdAt: now() })))
          throw new AppError('conflict', `name: the dataset "${name}" exists`);
        await recordAudit(database.tables, tx, {
          at: now(),
          actor,
          action: 'dataset.create',
          subject: `dataset/${name}`,
        });
      });
      return { name, description, createdAt: now(), versions: [] };
    },

    datasets: (query: { cursor?: string | undefined; limit: number }) => listDatasets(store, database, query),

    newest,
    version: async (name: string, number: number): Promise<DatasetVersion> => (await version(name, number)).version,

    /** Makes a version of an uploaded table. The same rows as the newest version give that one again. */
    async importTable(
      actor: string,
      name: string,
      upload: { path: string; fileDigest: string; options: DatasetImport },
    ): Promise<DatasetVersion> {
      const { format, label, splitColumn, split } = upload.options;
      const { features, rows } = await readTable({ path: upload.path, format, label, splitColumn });
      return publish(actor, name, clean(features, rows, split), {
        base: null,
        import: { fileDigest: upload.fileDigest, format },
        field: null,
      });
    },

    /** Makes a version of an earlier one and labelled samples from the field. */
    async build(actor: string, name: string, build: DatasetBuild): Promise<DatasetVersion> {
      const base = build.base === undefined ? undefined : await version(name, build.base);
      const field = await fieldRows(deps, store, build);
      if (base === undefined && field === undefined)
        throw new AppError('invalid_request', 'base or fromField: at least one must say where rows come from');
      const features = base?.version.schema.features ?? field?.features ?? [];
      if (field !== undefined && field.features.join('\0') !== features.join('\0'))
        throw new AppError(
          'invalid_request',
          `fromField.model: "${build.fromField?.model}" has other features than version ${build.base} of "${name}"`,
        );
      const baseRows: RawRow[] = base === undefined ? [] : [...eachRow(await readAllSplits(blobs, base.files))];
      const made = clean(features, [...baseRows, ...(field?.rows ?? [])], build.split);
      return publish(actor, name, made, { base: build.base ?? null, import: null, field: field?.lineage ?? null });
    },

    /** Where the Parquet file of each split lies. */
    async files(name: string, number: number): Promise<Record<Split, string>> {
      const { files } = await version(name, number);
      return { train: blobs.path(files.train), validation: blobs.path(files.validation), test: blobs.path(files.test) };
    },

    async export(name: string, number: number, split: Split): Promise<{ stream: Readable; sizeBytes: number }> {
      const { files } = await version(name, number);
      return { stream: await blobs.open(files[split]), sizeBytes: await blobs.size(files[split]) };
    },
  };
}

async function fieldRows({ database, now, featuresOf }: DataDeps, store: DataStore, { fromField }: DatasetBuild) {
  if (fromField === undefined) return undefined;
  const { model, from = 0, to = now(), maxRows = 100_000 } = fromField;
  const rows = await store.labelledSamples(database.read, { model, from, to, maxRows });
  return { features: await featuresOf(model), rows, lineage: { model, rows: rows.length, from, to } };
}

async function storeFiles({ blobs, scratchDir }: DataDeps, rows: LabelledRows): Promise<Record<Split, string>> {
  const folder = join(scratchDir, uuid());
  await mkdir(folder, { recursive: true });
  try {
    const files = { train: '', validation: '', test: '' };
    for (const split of splits) {
      const path = join(folder, `${split}.parquet`);
      await writeParquet(path, rowsOf(rows, split));
      files[split] = (await blobs.putFile(path)).digest;
    }
    return files;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readAllSplits(blobs: Blobs, files: Record<Split, string>): Promise<LabelledRows> {
  const parts = await Promise.all(splits.map((split) => readParquet(blobs.path(files[split]), split)));
  const width = parts[0]?.features.length ?? 0;
  const values = new Float32Array(parts.reduce((sum, part) => sum + part.labels.length, 0) * width);
  let offset = 0;
  for (const part of parts) {
    values.set(part.values, offset);
    offset += part.values.length;
  }
  return {
    features: parts[0]?.features ?? [],
    values,
    labels: parts.flatMap((part) => part.labels),
    splits: parts.flatMap((part) => part.splits),
  };
}

export interface SampleList {
  model?: string | undefined;
  labelled?: 'true' | 'false' | undefined;
  cursor?: string | undefined;
  limit: number;
}

const SampleCursor = z.object({ predictedAt: z.number(), inferenceId: z.string() });

async function listSamples(store: DataStore, database: Database, query: SampleList): Promise<Page<Sample>> {
  const after = decodeCursor(SampleCursor, query.cursor);
  const labelled = query.labelled === undefined ? undefined : query.labelled === 'true';
  const rows = await store.listSamples(database.read, { model: query.model, labelled, after, limit: query.limit });
  return toPage(rows, query.limit, ({ predictedAt, inferenceId }) => ({ predictedAt, inferenceId }));
}

async function listDatasets(
  store: DataStore,
  database: Database,
  query: { cursor?: string | undefined; limit: number },
): Promise<Page<Dataset>> {
  const rows = await store.listDatasets(database.read, {
    after: decodeCursor(z.string(), query.cursor),
    limit: query.limit,
  });
  const page = toPage(rows, query.limit, (row) => row.name);
  const versions = await store.versions(
    database.read,
    page.items.map((row) => row.name),
  );
  const versionsOf = (name: string) => versions.filter((each) => each.dataset === name);
  return { ...page, items: page.items.map((row) => ({ ...row, versions: versionsOf(row.name) })) };
}
