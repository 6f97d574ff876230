// Opens the database that the configuration names, brings its schema up to date, and hands out the one way to read and
// the one way to write.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import Sqlite from 'better-sqlite3';
import { sql } from 'drizzle-orm';
import { type BetterSQLite3Database, drizzle as drizzleSqlite } from 'drizzle-orm/better-sqlite3';
import { migrate as migrateSqlite } from 'drizzle-orm/better-sqlite3/migrator';
import { drizzle as drizzlePostgres } from 'drizzle-orm/node-postgres';
import { migrate as migratePostgres } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';
import { postgresColumns, sqliteColumns } from './columns.ts';
import { defineSchema, type Schema } from './schema.ts';

type Drizzle = BetterSQLite3Database<Record<string, never>>;

/** Reads, outside of any transaction, what has been committed. */
export type Reader = Pick<Drizzle, 'select' | 'selectDistinct' | '$count'>;
/** Reads and writes, inside one transaction. */
export type Transaction = Pick<Drizzle, 'select' | 'selectDistinct' | 'insert' | 'update' | 'delete' | '$count'>;

export interface Database {
  readonly engine: 'sqlite' | 'postgres';
  readonly tables: Schema;
  readonly read: Reader;
  /**
   * Runs `work` in a transaction: committed when it resolves, rolled back when it throws. Keep it short: writers take turns,
   * so one that asks for another transaction inside `work` waits for itself for ever; hand it `tx` instead.
   */
  transact<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Resolves when the database answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Any number that nothing else in the database locks. */
const writerLock = 7_400_001;
const migrationsFolder = fileURLToPath(new URL('../../src/database/migrations/', import.meta.url));

/** A SQLite file (WAL). Its folder is made when it is missing. */
export function openSqlite(path: string): Database {
  mkdirSync(dirname(path), { recursive: true });
  const writing = connect(path);
  const writer = drizzleSqlite({ client: writing, casing: 'snake_case' });
  migrateSqlite(writer, { migrationsFolder: `${migrationsFolder}sqlite` });
  const reading = connect(path);
  const writers = createTurn();
  return {
    engine: 'sqlite',
    tables: defineSchema(sqliteColumns),
    read: drizzleSqlite({ client: reading, casing: 'snake_case' }),
    transact: (work) =>
      writers.run(async () => {
        writing.exec('BEGIN IMMEDIATE');
        try {
          const result = await work(writer);
          writing.exec('COMMIT');
          return result;
        } catch (error) {
          if (writing.inTransaction) writing.exec('ROLLBACK');
          throw error;
        }
      }),
    ping: async () => {
      reading.prepare('select 1').get();
    },
    close: async () => {
      await writers.idle();
      reading.close();
      writing.close();
    },
  };
}

/** A PostgreSQL database, `postgres://user:password@host/name`. @throws AppError `unavailable` */
export async function openPostgres(url: string): Promise<Database> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  // A connection that broke while nobody used it: the pool drops it, and the next query says if the server is gone.
  pool.on('error', () => undefined);
  const client = drizzlePostgres({ client: pool, casing: 'snake_case' });
  try {
    await migratePostgres(client, { migrationsFolder: `${migrationsFolder}postgres` });
  } catch (cause) {
    await pool.end();
    throw new AppError('unavailable', `EDGELOOP_DATABASE_URL: the database cannot be used: ${reasonOf(cause)}`, {
      cause,
    });
  }
  const asSqlite = client as unknown as Drizzle;
  const writers = createTurn();
  return {
    engine: 'postgres',
    tables: defineSchema(postgresColumns),
    read: asSqlite,
    transact: (work) =>
      writers.run(() =>
        client.transaction(async (tx) => {
          // One writer at a time, as with SQLite: what a transaction read still holds when it writes.
          await tx.execute(sql`select pg_advisory_xact_lock(${writerLock})`);
          return work(tx as unknown as Transaction);
        }),
      ),
    ping: async () => {
      await pool.query('select 1');
    },
    close: async () => {
      await writers.idle();
      await pool.end();
    },
  };
}

export function openDatabase(config: { databaseUrl: string | undefined; dataDir: string }): Promise<Database> {
  if (config.databaseUrl !== undefined) return openPostgres(config.databaseUrl);
  return Promise.resolve(openSqlite(`${config.dataDir}/control-plane.db`));
}

/** drizzle wraps what the driver says into the query that failed. */
function reasonOf(error: unknown): string {
  return messageOf(error instanceof Error && error.cause !== undefined ? error.cause : error);
}

function connect(path: string): Sqlite.Database {
  const connection = new Sqlite(path, { timeout: 10_000 });
  connection.pragma('journal_mode = WAL');
  // Acknowledged telemetry is deleted on the device, so a commit must survive a power cut.
  connection.pragma('synchronous = FULL');
  connection.pragma('foreign_keys = ON');
  return connection;
}
