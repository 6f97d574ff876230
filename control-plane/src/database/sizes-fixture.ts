// How large the tables of a SQLite database are. For benches: it reads every page.
import { sql } from 'drizzle-orm';
import type { Database } from './open.ts';

/** Bytes by table, each with its indexes. */
export async function tableBytes({ read }: Database): Promise<Record<string, number>> {
  const name = sql<string>`m.tbl_name`;
  const bytes = sql<number>`sum(d.pgsize)`;
  const pages = sql`dbstat d join sqlite_master m on m.name = d.name where d.aggregate = 1 group by 1`;
  const sizes = await read.select({ name, bytes }).from(pages);
  return Object.fromEntries(sizes.map((each) => [each.name, each.bytes]));
}

/** Which part of what the rollups hold is of single devices: it grows with the fleet. */
export async function deviceShare({ read, tables: { rollups } }: Database): Promise<number> {
  const { deviceId, body, latency } = rollups;
  const held = sql`coalesce(length(${body}), 0) + coalesce(length(${latency}), 0) + 200`;
  const share = sql<number>`coalesce(sum(iif(${deviceId} = '', 0, ${held})) * 1.0 / sum(${held}), 0)`;
  const [found] = await read.select({ share }).from(rollups);
  return found?.share ?? 0;
}
