// Statements about many rows: both engines bound the number of parameters, and SQLite works on the event loop, so many rows are
// read and written a few at a time.
import { createBreath } from '@edgeloop/shared/node/breath';

/** Ids in one `in (…)`, and rows in one insert. */
const rowsAtOnce = 100;

/** In order, one after the other; between two others get their turn, also in the middle of a transaction. */
export async function inChunks<T>(items: readonly T[], work: (part: T[]) => Promise<unknown>): Promise<void> {
  const breathe = createBreath();
  for (let at = 0; at < items.length; at += rowsAtOnce) {
    if (at > 0) await breathe();
    await work(items.slice(at, at + rowsAtOnce));
  }
}

/** All rows that `read` finds for the parts, in the order of the parts. */
export async function readChunks<T, Row>(items: readonly T[], read: (part: T[]) => Promise<Row[]>): Promise<Row[]> {
  const rows: Row[] = [];
  await inChunks(items, async (part) => {
    for (const row of await read(part)) rows.push(row);
  });
  return rows;
}

/** All rows that `read` gives in pages of at most `limit`, each after the last one of the page before. */
export async function readPages<Row>(limit: number, read: (after: Row | undefined) => Promise<Row[]>): Promise<Row[]> {
  const rows: Row[] = [];
  const breathe = createBreath();
  for (;;) {
    const page = await read(rows.at(-1));
    for (const row of page) rows.push(row);
    if (page.length < limit) return rows;
    await breathe();
  }
}
