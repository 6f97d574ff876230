// Opens the database that the configuration names, brings its schema up to date, and hands out the one way to read and
// the one way to write.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type Sqlite from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { type BetterSQLite3Database, drizzle as drizzleSqlite } from 'drizzle-orm/better-sqlite3';
import { migrate as migrateSqlite } from 'drizzle-orm/better-sqlite3/migrator';
import { drizzle as drizzlePostgres } from 'drizzle-orm/node-postgres';
import { migrate as migratePostgres } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';
import { postgresColumns, sqliteColumns } from './columns.ts';
import { defineSchema, type Schema } from './schema.ts';
import { isOutdated } from './schema-state.ts';
import { createSharedCommits } from './shared-commits.ts';
import { damaged, SqliteFile } from './sqlite-file.ts';
import { storageFailure } from './storage-failure.ts';

type Drizzle = BetterSQLite3Database<Record<string, never>>;

/** Reads, outside of any transaction, what has been committed. */
export type Reader = Pick<Drizzle, 'select' | 'selectDistinct' | '$count'>;
/** Reads and writes, inside one transaction. */
export type Transaction = Pick<Drizzle, 'select' | 'selectDistinct' | 'insert' | 'update' | 'delete' | '$count'> & {
  /** Runs a statement that is kept compiled: for those of which only the parameters differ, in the engine's own SQL. */
  run(text: string, parameters: readonly Cell[]): Promise<void>;
};
/** A parameter as both drivers take it. */
export type Cell = string | number | null | Uint8Array;

export interface Database {
  readonly engine: 'sqlite' | 'postgres';
  readonly tables: Schema;
  readonly read: Reader;
  /**
   * Runs `work` in a transaction: committed when it resolves, rolled back when it throws. Keep it short: writers take turns,
   * so one that asks for another transaction inside `work` waits for itself for ever; hand it `tx` instead.
   * @throws AppError `insufficient_storage` when it could not be written down, beside what `work` throws
   */
  transact<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /**
   * As `transact`, for small work of which there may be much at once: it may share its commit with others. Work that depends
   * on anything but what it reads by `tx` may not: it begins before those that share its commit are known to be written.
   */
  share<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Resolves at once while writes work, else when they do again or `signal` aborts: for loops, which have no caller to tell. */
  writable(signal?: AbortSignal): Promise<void>;
  /** Resolves when the database answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

const hooks = new WeakMap<Transaction, (() => void)[]>();

/** Runs `then`, which must not throw, right after the transaction was committed; never when it is rolled back. */
export function afterCommit(tx: Transaction, then: () => void): void {
  const waiting = hooks.get(tx);
  if (waiting === undefined) hooks.set(tx, [then]);
  else waiting.push(then);
}

function committed(tx: Transaction): void {
  const waiting = hooks.get(tx) ?? [];
  hooks.delete(tx);
  for (const then of waiting) then();
}

/** Any number that nothing else in the database locks. */
const writerLock = 7_400_001;
const migrationsFolder = fileURLToPath(new URL('../../src/database/migrations/', import.meta.url));

/**
 * A SQLite file (WAL). Its folder is made when it is missing. With no room on the disk it is open for reading, and writes
 * when there is room.
 * @throws AppError `integrity` for a damaged file, `unsupported` for one of a newer version, `insufficient_storage`
 */
export function openSqlite(path: string): Database {
  const file = new SqliteFile(path, { migrate: migrateFile, check: requireCurrent });
  const writer = transactionOf(
    drizzleSqlite({ client: file.writing, casing: 'snake_case' }),
    async (text, parameters) => {
      file.writing.prepare(text).run(parameters);
    },
  );
  const writers = createTurn();
  const transact: Database['transact'] = (work) =>
    writers.run(async () => {
      file.requireWriting();
      const { writing } = file;
      try {
        writing.exec('BEGIN IMMEDIATE');
        const result = await work(writer);
        writing.exec('COMMIT');
        committed(writer);
        return result;
      } catch (error) {
        hooks.delete(writer);
        if (writing.inTransaction) writing.exec('ROLLBACK');
        throw storageFailure(error) ?? error;
      }
    });
  const shared = createSharedCommits({ transact, apart: (tx, work) => inSavepoint(file.writing, tx, work) });
  return {
    engine: 'sqlite',
    tables: defineSchema(sqliteColumns),
    read: drizzleSqlite({ client: file.reading, casing: 'snake_case' }),
    transact,
    share: shared.run,
    writable: async () => undefined,
    ping: async () => {
      file.reading.prepare('select count(*) from sqlite_master').get();
    },
    close: async () => {
      await shared.idle();
      await writers.idle();
      file.close();
    },
  };
}

/** Undoes what `work` wrote when it fails, and what it waits for, and nothing else of the transaction. */
async function inSavepoint<T>(
  writing: Sqlite.Database,
  tx: Transaction,
  work: () => Promise<T>,
): Promise<{ value: T } | { error: unknown; lost: boolean }> {
  const former = [...(hooks.get(tx) ?? [])];
  writing.exec('SAVEPOINT apart');
  try {
    const value = await work();
    writing.exec('RELEASE apart');
    return { value };
  } catch (cause) {
    const error = storageFailure(cause) ?? cause;
    hooks.set(tx, former);
    // A full disk undoes all of it.
    if (!writing.inTransaction) return { error, lost: true };
    writing.exec('ROLLBACK TO apart; RELEASE apart');
    return { error, lost: false };
  }
}

function migrateFile(client: Sqlite.Database): void {
  if (!isOutdated(`${migrationsFolder}sqlite`, newestOf(client))) return;
  migrateSqlite(drizzleSqlite({ client, casing: 'snake_case' }), { migrationsFolder: `${migrationsFolder}sqlite` });
}

function requireCurrent(client: Sqlite.Database): void {
  if (isOutdated(`${migrationsFolder}sqlite`, newestOf(client)))
    throw new AppError(
      'insufficient_storage',
      'there is no room on the disk to bring the database to this version: free some space and start again',
    );
}

/** Time of the newest migration that was applied. */
function newestOf(client: Sqlite.Database): number | undefined {
  const isNew = client.prepare("select 1 from sqlite_master where name = '__drizzle_migrations'").get() === undefined;
  const at: unknown = isNew ? null : client.prepare('select max(created_at) from __drizzle_migrations').pluck().get();
  return at === null ? undefined : Number(at);
}

/** A PostgreSQL database, `postgres://user:password@host/name`. @throws AppError `unavailable` */
export async function openPostgres(url: string): Promise<Database> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  // A connection that breaks while nobody uses it, or between two queries of a transaction: the pool drops it, and the next
  // query says if the server is gone. Unheard, the event would end the process.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const client = drizzlePostgres({ client: pool, casing: 'snake_case' });
  try {
    if (isOutdated(`${migrationsFolder}postgres`, await newestOfPostgres(pool)))
      await migratePostgres(client, { migrationsFolder: `${migrationsFolder}postgres` });
  } catch (cause) {
    await pool.end();
    if (cause instanceof AppError) throw cause;
    throw new AppError('unavailable', `EDGELOOP_DATABASE_URL: the database cannot be used: ${reasonOf(cause)}`, {
      cause,
    });
  }
  const asSqlite = client as unknown as Drizzle;
  const writers = createTurn();
  const transact: Database['transact'] = (work) =>
    writers.run(async () => {
      // Taken here and not by drizzle, which never gives a connection back whose `begin` failed.
      const connection = await pool.connect();
      try {
        let written: Transaction | undefined;
        const result = await drizzlePostgres({ client: connection, casing: 'snake_case' }).transaction(async (tx) => {
          // One writer at a time, as with SQLite: what a transaction read still holds when it writes.
          await tx.execute(sql`select pg_advisory_xact_lock(${writerLock})`);
          written = transactionOf(tx as unknown as Drizzle, async (text, parameters) => {
            await connection.query({ name: statementName(text), text, values: [...parameters] });
          });
          return work(written);
        });
        if (written !== undefined) committed(written);
        return result;
      } catch (error) {
        throw storageFailure(error) ?? error;
      } finally {
        connection.release();
      }
    });
  return {
    engine: 'postgres',
    tables: defineSchema(postgresColumns),
    read: asSqlite,
    transact,
    // A commit is waited for without keeping the event loop.
    share: transact,
    writable: async () => undefined,
    ping: async () => {
      await pool.query('select 1');
    },
    close: async () => {
      await writers.idle();
      await pool.end();
    },
  };
}

function transactionOf(drizzle: Omit<Transaction, 'run'>, run: Transaction['run']): Transaction {
  return {
    select: drizzle.select.bind(drizzle),
    selectDistinct: drizzle.selectDistinct.bind(drizzle),
    insert: drizzle.insert.bind(drizzle),
    update: drizzle.update.bind(drizzle),
    delete: drizzle.delete.bind(drizzle),
    $count: drizzle.$count.bind(drizzle),
    run,
  };
}

const statementNames = new Map<string, string>();

/** By its name PostgreSQL finds again what it has compiled for a connection. */
function statementName(text: string): string {
  const name = statementNames.get(text) ?? `edgeloop-${statementNames.size}`;
  statementNames.set(text, name);
  return name;
}

/** Time of the newest migration that was applied. */
async function newestOfPostgres(pool: pg.Pool): Promise<number | undefined> {
  const present = await pool.query("select to_regclass('drizzle.__drizzle_migrations') is not null as there");
  if (present.rows[0]?.there !== true) return undefined;
  const { rows } = await pool.query('select max(created_at) as at from drizzle.__drizzle_migrations');
  return rows[0]?.at === null ? undefined : Number(rows[0]?.at);
}

/** @throws AppError as `openSqlite` and `openPostgres` do */
export async function openDatabase(config: { databaseUrl: string | undefined; dataDir: string }): Promise<Database> {
  if (config.databaseUrl !== undefined) return openPostgres(config.databaseUrl);
  const path = join(config.dataDir, 'control-plane.db');
  // Of a new folder the database is the first file, so beside the fleet's authority an empty one has lost what it held.
  if (existsSync(join(config.dataDir, 'ca.pem')) && existsSync(path) && statSync(path).size === 0)
    throw damaged(path, 'it is empty');
  return openSqlite(path);
}

/** drizzle wraps what the driver says into the query that failed. */
function reasonOf(error: unknown): string {
  return messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);
}
