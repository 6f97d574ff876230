// Inserts many rows by statements whose text is made once: making it anew costs more than writing the rows does.
import { getTableColumns, sql } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Cell, Transaction } from './open.ts';

/** Rows of one statement: few different numbers, so that few statements are kept compiled. */
const sizes = [64, 8, 1] as const;

/** A cell for every column, as the driver takes it. */
type Row<T extends SQLiteTable> = { readonly [Name in keyof T['$inferSelect']]: Cell };

type RowsInsert<T extends SQLiteTable> = (tx: Transaction, rows: readonly Row<T>[]) => Promise<void>;

/** `conflict`: what the statement says of a row that is there already, in words that both engines have. */
export function createRowsInsert<T extends SQLiteTable>(table: T, conflict = ''): RowsInsert<T> {
  const names: (keyof T['$inferSelect'])[] = Object.keys(getTableColumns(table));
  const texts = new Map<number, string>();
  return async (tx, rows) => {
    let at = 0;
    for (const size of sizes) {
      while (rows.length - at >= size) {
        const cells: Cell[] = [];
        for (const row of rows.slice(at, at + size)) for (const name of names) cells.push(row[name]);
        await tx.run(textFor(tx, size), cells);
        at += size;
      }
    }
  };

  function textFor(tx: Transaction, size: number): string {
    const known = texts.get(size);
    if (known !== undefined) return known;
    const row = Object.fromEntries(names.map((name) => [name, sql.placeholder(String(name))]));
    const insert = tx.insert<SQLiteTable>(table).values(Array.from({ length: size }, () => row));
    const text = `${insert.toSQL().sql} ${conflict}`.trim();
    texts.set(size, text);
    return text;
  }
}
