// All SQL of models and their versions.
import {
  Lineage,
  type ModelVersionDetail,
  type UnknownRelease,
  VariantSummary,
  type VersionSummary,
} from '@edgeloop/shared/api/models';
import { parse } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import { ModelSignature } from '@edgeloop/shared/tensors';
import { and, asc, count, desc, eq, gt, inArray, isNull } from 'drizzle-orm';
import { z } from 'zod';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export type ModelRow = Schema['models']['$inferSelect'];
export type VersionRow = Schema['modelVersions']['$inferSelect'];
export type RegistryStore = ReturnType<typeof createRegistryStore>;

const Metrics = z.record(z.string(), z.number());
const Variants = z.array(VariantSummary);
const summaryColumns = ({ modelVersions: t }: Schema) => ({
  model: t.model,
  version: t.version,
  digest: t.digest,
  sizeBytes: t.sizeBytes,
  lineage: t.lineage,
  metrics: t.metrics,
  createdAt: t.createdAt,
  createdBy: t.createdBy,
  release: t.release,
  variants: t.variants,
});
type SummaryRow = Pick<VersionRow, keyof ReturnType<typeof summaryColumns>>;

export function createRegistryStore(tables: Schema) {
  const { models, modelVersions, unknownReleases, devices } = tables;
  return {
    async model(reader: Reader, name: string): Promise<ModelRow | undefined> {
      const [row] = await reader.select().from(models).where(eq(models.name, name));
      return row;
    },

    /** Sorted by name, beginning after `afterName`. */
    async models(reader: Reader, query: { afterName?: string | undefined; limit: number }): Promise<ModelRow[]> {
      const rows = reader.select().from(models);
      const wanted = query.afterName === undefined ? rows : rows.where(gt(models.name, query.afterName));
      return wanted.orderBy(asc(models.name)).limit(query.limit);
    },

    async insertModel(tx: Transaction, row: ModelRow): Promise<void> {
      await tx.insert(models).values(row);
    },

    /** Newest first. */
    async summaries(reader: Reader, names: readonly string[]): Promise<VersionSummary[]> {
      if (names.length === 0) return [];
      const rows = await reader
        .select(summaryColumns(tables))
        .from(modelVersions)
        .where(inArray(modelVersions.model, [...names]))
        .orderBy(asc(modelVersions.model), desc(modelVersions.version));
      return rows.map(toSummary);
    },

    async version(reader: Reader, model: string, version: number): Promise<ModelVersionDetail | undefined> {
      const [row] = await reader
        .select()
        .from(modelVersions)
        .where(and(eq(modelVersions.model, model), eq(modelVersions.version, version)));
      return row === undefined ? undefined : toDetail(row);
    },

    /** What devices that may connect run of these models and is not registered. */
    async unknownReleases(reader: Reader, names: readonly string[]): Promise<(UnknownRelease & { model: string })[]> {
      const { model, version, release, deviceId } = unknownReleases;
      if (names.length === 0) return [];
      const rows = await reader
        .select({ model, version, release, devices: count() })
        .from(unknownReleases)
        .innerJoin(devices, eq(devices.id, deviceId))
        .where(and(inArray(model, [...names]), isNull(devices.revokedAt)))
        .groupBy(model, version, release)
        .orderBy(asc(model), asc(version), asc(release));
      return rows.map((row) => ({ ...row, release: row.release === '' ? null : row.release }));
    },

    /** Versions of the model with this artifact. */
    async withArtifact(reader: Reader, model: string, digest: string): Promise<ModelVersionDetail[]> {
      const rows = await reader
        .select()
        .from(modelVersions)
        .where(and(eq(modelVersions.model, model), eq(modelVersions.digest, digest)))
        .orderBy(asc(modelVersions.version));
      return rows.map(toDetail);
    },

    async insertVersion(tx: Transaction, row: VersionRow): Promise<void> {
      await tx.insert(modelVersions).values(row);
    },
  };
}

function toSummary(row: SummaryRow): VersionSummary {
  const what = `model ${row.model} version ${row.version}`;
  return {
    model: row.model,
    version: row.version,
    digest: row.digest,
    sizeBytes: row.sizeBytes,
    release: row.release,
    createdAt: row.createdAt,
    createdBy: row.createdBy,
    lineage: parse(Lineage, row.lineage, `${what}: lineage`, 'internal'),
    metrics: parse(Metrics, row.metrics, `${what}: metrics`, 'internal'),
    ...(row.variants === null ? {} : { variants: parse(Variants, row.variants, `${what}: variants`, 'internal') }),
  };
}

export function toDetail(row: VersionRow): ModelVersionDetail {
  const what = `model ${row.model} version ${row.version}`;
  return {
    ...toSummary(row),
    signature: row.signature,
    io: parse(ModelSignature, row.io, `${what}: io`, 'internal'),
    manifest: parse(Manifest, row.manifest, `${what}: manifest`, 'internal'),
    goldenSamples: row.goldenSamples,
  };
}
