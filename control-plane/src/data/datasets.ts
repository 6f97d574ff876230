// Immutable, content-hashed dataset versions, made of uploaded tables, earlier versions and labelled samples.
import type { Readable } from 'node:stream';
import type { Dataset, DatasetBuild, DatasetImport, DatasetVersion, Split } from '@edgeloop/shared/api/data';
import type { Page } from '@edgeloop/shared/api/paging';
import { AppError } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Database } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { DatasetStore } from './dataset-store.ts';
import { type CleanedRows, classesOf, clean, countBySplit, digestOf, eachRow, type RawRow } from './rows.ts';
import type { SampleStore } from './sample-store.ts';
import { readSplits, storeSplits } from './split-files.ts';
import { readTable } from './tables.ts';

export interface DatasetsDeps {
  database: Database;
  datasetStore: DatasetStore;
  sampleStore: Pick<SampleStore, 'labelledSamples'>;
  blobs: Blobs;
  now: () => number;
  /** For files that are being made. */
  scratchDir: string;
  /** Feature names of a model version's newest manifest, in the order of captured samples. */
  featuresOf: (model: string) => Promise<string[]>;
}

type Lineage = DatasetVersion['lineage'];

export function createDatasets(deps: DatasetsDeps) {
  const { database, datasetStore, blobs, now } = deps;

  async function publish(actor: string, name: string, made: CleanedRows, lineage: Lineage): Promise<DatasetVersion> {
    if (made.rows.labels.length === 0)
      throw new AppError('invalid_request', `no usable row is left; dropped: ${JSON.stringify(made.dropped)}`);
    const files = await storeSplits(deps, made.rows);
    const content = contentOf(made);
    return database.transact(async (tx) => {
      if ((await datasetStore.dataset(tx, name)) === undefined)
        await datasetStore.insertDataset(tx, { name, description: '', createdAt: now() });
      const newest = (await datasetStore.versions(tx, [name])).at(-1);
      const version: DatasetVersion = {
        dataset: name,
        version: (newest?.version ?? 0) + 1,
        ...content,
        lineage,
        createdAt: now(),
        createdBy: actor,
      };
      if (newest?.digest === version.digest) return newest;
      await datasetStore.insertVersion(tx, version, files);
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
    const found = await datasetStore.version(database.read, name, number);
    if (found === undefined) throw new AppError('not_found', `there is no version ${number} of dataset "${name}"`);
    return found;
  }

  async function newest(name: string): Promise<DatasetVersion | undefined> {
    return (await datasetStore.versions(database.read, [name])).at(-1);
  }

  return {
    /** @throws AppError `conflict` when the name is taken */
    async createDataset(actor: string, { name, description }: { name: string; description: string }): Promise<Dataset> {
      await database.transact(async (tx) => {
        if (!(await datasetStore.insertDataset(tx, { name, description, createdAt: now() })))
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

    async datasets(query: { cursor?: string | undefined; limit: number }): Promise<Page<Dataset>> {
      const rows = await datasetStore.listDatasets(database.read, {
        after: decodeCursor(z.string(), query.cursor),
        limit: query.limit,
      });
      const page = toPage(rows, query.limit, (row) => row.name);
      const versions = await datasetStore.versions(
        database.read,
        page.items.map((row) => row.name),
      );
      const versionsOf = (name: string) => versions.filter((each) => each.dataset === name);
      return { ...page, items: page.items.map((row) => ({ ...row, versions: versionsOf(row.name) })) };
    },

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
      const field = await fieldRows(deps, build);
      if (base === undefined && field === undefined)
        throw new AppError('invalid_request', 'base or fromField: at least one must say where rows come from');
      const features = base?.version.schema.features ?? field?.features ?? [];
      if (field !== undefined && field.features.join('\0') !== features.join('\0'))
        throw new AppError(
          'invalid_request',
          `fromField.model: "${build.fromField?.model}" has other features than version ${build.base} of "${name}"`,
        );
      const baseRows: RawRow[] = base === undefined ? [] : [...eachRow(await readSplits(blobs, base.files))];
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

function contentOf({ rows, dropped }: CleanedRows): Pick<DatasetVersion, 'digest' | 'rows' | 'dropped' | 'schema'> {
  return {
    digest: digestOf(rows),
    rows: countBySplit(rows),
    dropped,
    schema: { features: rows.features, label: 'label', classes: classesOf(rows) },
  };
}

async function fieldRows({ database, sampleStore, now, featuresOf }: DatasetsDeps, { fromField }: DatasetBuild) {
  if (fromField === undefined) return undefined;
  const { model, from = 0, to = now(), maxRows = 100_000 } = fromField;
  const rows = await sampleStore.labelledSamples(database.read, { model, from, to, maxRows });
  return { features: await featuresOf(model), rows, lineage: { model, rows: rows.length, from, to } };
}
