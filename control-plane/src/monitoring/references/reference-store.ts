// SQL of references that were frozen in the field.
import { ReferenceSource } from '@edgeloop/shared/api/monitoring';
import { ReferenceProfile } from '@edgeloop/shared/profile';
import { and, desc, eq } from 'drizzle-orm';
import type { Database, Reader, Transaction } from '../../database/open.ts';

export interface FrozenReference {
  id: string;
  model: string;
  version: number;
  source: Exclude<ReferenceSource, 'manifest'>;
  profile: ReferenceProfile;
  fromAt: number;
  toAt: number;
  frozenAt: number;
  frozenBy: string;
  why: string;
  alertId: string | null;
}

export type ReferenceStore = ReturnType<typeof createReferenceStore>;

export function createReferenceStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { monitoringReferences: table } = tables;
  const Source = ReferenceSource.exclude(['manifest']);
  return {
    async insert(tx: Transaction, reference: FrozenReference): Promise<void> {
      await tx.insert(table).values(reference);
    },

    /** Which one holds, without its profile. */
    async newestId(model: string, version: number, source: Reader | Transaction = read): Promise<string | undefined> {
      const [row] = await source
        .select({ id: table.id })
        .from(table)
        .where(and(eq(table.model, model), eq(table.version, version)))
        .orderBy(desc(table.frozenAt), desc(table.id))
        .limit(1);
      return row?.id;
    },

    async reference(id: string): Promise<FrozenReference | undefined> {
      const [row] = await read.select().from(table).where(eq(table.id, id));
      return row && { ...row, source: Source.parse(row.source), profile: ReferenceProfile.parse(row.profile) };
    },
  };
}
