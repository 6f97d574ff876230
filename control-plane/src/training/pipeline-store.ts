// All SQL of pipelines.
import { Pipeline, type PipelineSpec } from '@edgeloop/shared/api/training';
import { parse } from '@edgeloop/shared/errors';
import { asc, eq, gt } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export type PipelineStore = ReturnType<typeof createPipelineStore>;

export function createPipelineStore({ pipelines }: Schema) {
  const toPipeline = (row: typeof pipelines.$inferSelect): Pipeline => parse(Pipeline, row, 'pipeline', 'internal');
  return {
    async pipeline(reader: Reader, name: string): Promise<Pipeline | undefined> {
      const [row] = await reader.select().from(pipelines).where(eq(pipelines.name, name));
      return row === undefined ? undefined : toPipeline(row);
    },

    /** Sorted by name; all without a limit. */
    async list(reader: Reader, query: { afterName?: string | undefined; limit?: number }): Promise<Pipeline[]> {
      const found = reader
        .select()
        .from(pipelines)
        .where(query.afterName === undefined ? undefined : gt(pipelines.name, query.afterName))
        .orderBy(asc(pipelines.name));
      return (await (query.limit === undefined ? found : found.limit(query.limit))).map(toPipeline);
    },

    async upsert(tx: Transaction, spec: PipelineSpec, at: number): Promise<void> {
      await tx
        .insert(pipelines)
        .values({ name: spec.name, spec, createdAt: at, updatedAt: at })
        .onConflictDoUpdate({ target: pipelines.name, set: { spec, updatedAt: at } });
    },
  };
}
