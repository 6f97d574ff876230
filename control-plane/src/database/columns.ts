// A vocabulary of columns with an implementation for each engine, so that the schema is written once. The types are
// SQLite's.
import * as pg from 'drizzle-orm/pg-core';
import * as lite from 'drizzle-orm/sqlite-core';
import { pack, unpack } from './packed.ts';

/** In a column of text, since it was JSON once: SQLite keeps bytes there as they are. */
const packedText = lite.customType<{ data: unknown; driverData: Buffer | string }>({
  dataType: () => 'text',
  toDriver: pack,
  fromDriver: unpack,
});

/** Milliseconds since the epoch. Fits a double exactly until the year 287396. */
export const sqliteColumns = {
  table: lite.sqliteTable,
  text: () => lite.text(),
  integer: () => lite.integer(),
  real: () => lite.real(),
  blob: () => lite.blob({ mode: 'buffer' }),
  json: () => lite.text({ mode: 'json' }).$type<unknown>(),
  /** As `json`, in fewer bytes; no query looks into it. */
  packed: () => packedText(),
  instant: () => lite.integer(),
  bool: () => lite.integer({ mode: 'boolean' }),
  index: lite.index,
  uniqueIndex: lite.uniqueIndex,
  primaryKey: lite.primaryKey,
};
export type Columns = typeof sqliteColumns;

const bytea = pg.customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' });

const packedBytes = pg.customType<{ data: unknown; driverData: Buffer }>({
  dataType: () => 'bytea',
  toDriver: pack,
  fromDriver: unpack,
});

const postgres = {
  table: pg.pgTable,
  text: () => pg.text(),
  integer: () => pg.bigint({ mode: 'number' }),
  real: () => pg.doublePrecision(),
  blob: () => bytea(),
  json: () => pg.jsonb().$type<unknown>(),
  packed: () => packedBytes(),
  instant: () => pg.bigint({ mode: 'number' }),
  bool: () => pg.boolean(),
  index: pg.index,
  uniqueIndex: pg.uniqueIndex,
  primaryKey: pg.primaryKey,
};

/** The only place where the two engines meet in one type: drizzle's builders agree in the subset that the stores use. */
export const postgresColumns = postgres as unknown as Columns;
