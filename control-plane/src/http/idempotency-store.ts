// All SQL of idempotency keys.
import { and, eq, lt } from 'drizzle-orm';
import type { Database } from '../database/open.ts';

/** One key of one actor. */
export interface IdempotencyId {
  actor: string;
  key: string;
}
export type IdempotencyRow = Database['tables']['idempotencyKeys']['$inferSelect'];
export function createIdempotencyStore(database: Database) {
  const { idempotencyKeys: keys } = database.tables;
  const isKey = ({ actor, key }: IdempotencyId) => and(eq(keys.actor, actor), eq(keys.key, key));
  return {
    /** Claims the key; gives the earlier claim instead when there is one made after `since`. */
    claim: (row: IdempotencyRow, since: number): Promise<IdempotencyRow | undefined> =>
      database.transact(async (tx) => {
        await tx.delete(keys).where(lt(keys.createdAt, since));
        const [present] = await tx.select().from(keys).where(isKey(row));
        if (present === undefined) await tx.insert(keys).values(row);
        return present;
      }),

    answer: (id: IdempotencyId, answer: { status: number; body: string }): Promise<void> =>
      database.transact(async (tx) => {
        await tx.update(keys).set(answer).where(isKey(id));
      }),

    release: (id: IdempotencyId): Promise<void> =>
      database.transact(async (tx) => {
        await tx.delete(keys).where(isKey(id));
      }),
  };
}
