// SQL of messages that were not understood: the last few of each device, numbered so that the highest says how many came.
import { asc, desc, eq, inArray } from 'drizzle-orm';
import { inChunks } from '../database/chunks.ts';
import type { Database, Transaction } from '../database/open.ts';

interface MalformedRow {
  at: number;
  channel: string;
  reason: string;
  bytes: number;
  /** How it begins. */
  head: Buffer;
}
export interface Arrived {
  /** How many came. */
  count: number;
  /** The last of them, at most as many as are kept. */
  latest: MalformedRow[];
}

/** Kept of each device. */
const keptRows = 10;

export function createQuarantineStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { malformed } = tables;
  const { deviceId, slot, number } = malformed;

  /** The newest of each. */
  async function newest(
    tx: Transaction,
    devices: readonly string[],
  ): Promise<Map<string, { number: number; slot: number }>> {
    const rows = await tx
      .select({ deviceId, slot, number })
      .from(malformed)
      .where(inArray(deviceId, [...devices]))
      .orderBy(asc(number));
    return new Map(rows.map((row) => [row.deviceId, row]));
  }

  return {
    /** Adds to what there is of each device. */
    async add(tx: Transaction, arrived: ReadonlyMap<string, Arrived>): Promise<void> {
      await inChunks([...arrived], async (part) => {
        const before = await newest(
          tx,
          part.map(([id]) => id),
        );
        const rows = part.flatMap(([id, { count, latest }]) => {
          const last = before.get(id) ?? { number: 0, slot: 0 };
          return latest.map((row, i) => ({
            ...{ ...row, deviceId: id, slot: (last.slot + 1 + i) % keptRows },
            number: last.number + count - latest.length + 1 + i,
          }));
        });
        for (const row of rows)
          await tx
            .insert(malformed)
            .values(row)
            .onConflictDoUpdate({ target: [deviceId, slot], set: row });
      });
    },

    /** The newest first. */
    of: (id: string) => read.select().from(malformed).where(eq(deviceId, id)).orderBy(desc(number)),
  };
}
