// SQL of datasets and their versions.
import { DatasetVersion } from '@edgeloop/shared/api/data';
import { parse } from '@edgeloop/shared/errors';
import { Sha256 } from '@edgeloop/shared/identifiers';
import { and, asc, eq, inArray, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

/** Blob digests of a version's Parquet files. */
export const SplitFiles = z.object({ train: Sha256, validation: Sha256, test: Sha256 });
export type SplitFiles = z.infer<typeof SplitFiles>;

export type DatasetStore = ReturnType<typeof createDatasetStore>;

export function createDatasetStore({ datasets, datasetVersions }: Schema) {
  const versionOf = (row: typeof datasetVersions.$inferSelect): DatasetVersion =>
    parse(DatasetVersion, row, `dataset ${row.dataset}`, 'internal');

  return {
    async insertDataset(tx: Transaction, row: typeof datasets.$inferInsert): Promise<boolean> {
      const inserted = await tx.insert(datasets).values(row).onConflictDoNothing().returning();
      return inserted.length > 0;
    },

    async listDatasets(
      read: Reader,
      query: { after?: string | undefined; limit: number },
    ): Promise<(typeof datasets.$inferSelect)[]> {
      return read
        .select()
        .from(datasets)
        .where(query.after === undefined ? undefined : sql`${datasets.name} > ${query.after}`)
        .orderBy(asc(datasets.name))
        .limit(query.limit + 1);
    },

    async dataset(read: Reader, name: string): Promise<typeof datasets.$inferSelect | undefined> {
      const [row] = await read.select().from(datasets).where(eq(datasets.name, name));
      return row;
    },

    /** Of all the named datasets, oldest first. */
    async versions(read: Reader, names: string[]): Promise<DatasetVersion[]> {
      const rows = await read
        .select()
        .from(datasetVersions)
        .where(inArray(datasetVersions.dataset, names))
        .orderBy(asc(datasetVersions.version));
      return rows.map(versionOf);
    },

    async version(
      read: Reader,
      name: string,
      version: number,
    ): Promise<{ version: DatasetVersion; files: SplitFiles } | undefined> {
      const [row] = await read
        .select()
        .from(datasetVersions)
        .where(and(eq(datasetVersions.dataset, name), eq(datasetVersions.version, version)));
      return row === undefined
        ? undefined
        : { version: versionOf(row), files: parse(SplitFiles, row.files, 'dataset files', 'internal') };
    },

    async insertVersion(tx: Transaction, version: DatasetVersion, files: SplitFiles): Promise<void> {
      await tx.insert(datasetVersions).values({ ...version, files });
    },
  };
}
