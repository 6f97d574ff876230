// A SQLite file and the connections to it: one to write, one to read (WAL). Two connections need 32 KiB of shared memory
// beside the file; where the disk has no room for that, one connection alone reads until there is room again.
//
// INVARIANTS
// - `reading` and `writing` are the same objects for ever; each call goes to the connection in use then.
// - Connections change within one turn of the event loop, so no statement ever meets a closed one.
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import Sqlite from 'better-sqlite3';
import { isDamage, isStorageFailure, storageFailure } from './storage-failure.ts';

type Connections = { writing: Sqlite.Database; reading: Sqlite.Database };
type Use = Connections | { alone: Sqlite.Database };

/** Between two looks whether there is room for both connections. */
const lookEveryMs = 500;

export class SqliteFile {
  readonly #path: string;
  #use: Use;
  #lookedAt = Number.NEGATIVE_INFINITY;
  readonly reading: Sqlite.Database;
  readonly writing: Sqlite.Database;

  /**
   * `migrate` brings the schema up to date by a connection that may write, `check` throws unless it is.
   * @throws AppError `integrity` for a damaged file; `insufficient_storage`
   */
  constructor(
    path: string,
    steps: { migrate: (writing: Sqlite.Database) => void; check: (reading: Sqlite.Database) => void },
  ) {
    this.#path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    keepToOwner(path);
    try {
      this.#use = openBoth(path, steps.migrate);
    } catch (error) {
      if (!isForRoom(error)) throw asOpenFailure(error, path);
      this.#use = { alone: openAlone(path, steps.check) };
    }
    this.reading = standIn(() => ('alone' in this.#use ? this.#use.alone : this.#use.reading));
    this.writing = standIn(() => ('alone' in this.#use ? this.#use.alone : this.#use.writing));
  }

  /** Makes sure that `writing` may write. @throws AppError `insufficient_storage` */
  requireWriting(): void {
    if (!('alone' in this.#use)) return;
    if (performance.now() - this.#lookedAt < lookEveryMs) throw noRoom();
    this.#lookedAt = performance.now();
    this.#use.alone.close();
    try {
      this.#use = openBoth(this.#path, () => undefined);
    } catch (cause) {
      this.#use = { alone: openAlone(this.#path, () => undefined) };
      throw storageFailure(cause) ?? noRoom(cause);
    }
  }

  close(): void {
    for (const connection of Object.values(this.#use)) connection.close();
  }
}

function openBoth(path: string, migrate: (writing: Sqlite.Database) => void): Connections {
  const writing = connect(path);
  try {
    migrate(writing);
    return { writing, reading: connect(path) };
  } catch (error) {
    writing.close();
    throw error;
  }
}

/** A connection that has the file to itself keeps in its own memory what two would share. */
function openAlone(path: string, check: (reading: Sqlite.Database) => void): Sqlite.Database {
  const alone = new Sqlite(path, { timeout: 10_000 });
  try {
    alone.pragma('locking_mode = EXCLUSIVE');
    check(alone);
    return alone;
  } catch (error) {
    alone.close();
    throw asOpenFailure(error, path);
  }
}

const checkpointPages = 2000;

function connect(path: string): Sqlite.Database {
  const connection = new Sqlite(path, { timeout: 10_000 });
  try {
    // Of a new file only. A window takes more than half of the usual 4096 bytes, and what is left of such a page stays empty.
    connection.pragma('page_size = 8192');
    connection.pragma('journal_mode = WAL');
    // Acknowledged telemetry is deleted on the device, so a commit must survive a power cut.
    connection.pragma('synchronous = FULL');
    // Under load the log grows by this much in a tenth of a second, and each time it is copied costs two syncs.
    connection.pragma(`wal_autocheckpoint = ${checkpointPages}`);
    connection.pragma('foreign_keys = ON');
    keepStatements(connection);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Compiled statements that are kept of a connection. */
const mostStatements = 300;

/** drizzle prepares anew each time, and compiling costs more than most statements do; those used last are kept. */
function keepStatements(connection: Sqlite.Database): void {
  const prepare = connection.prepare.bind(connection);
  const kept = new Map<string, Sqlite.Statement>();
  connection.prepare = ((source: string) => {
    const known = kept.get(source);
    if (known?.busy === true) return prepare(source);
    const statement = known ?? prepare(source);
    // As a fresh one gives its rows.
    if (known?.reader === true) known.raw(false).pluck(false);
    kept.delete(source);
    kept.set(source, statement);
    const [oldest] = kept.keys();
    if (kept.size > mostStatements && oldest !== undefined) kept.delete(oldest);
    return statement;
  }) as typeof connection.prepare;
}

/** The files beside it get the mode that it has. */
function keepToOwner(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
  for (const each of [path, `${path}-wal`, `${path}-shm`]) {
    try {
      chmodSync(each, 0o600);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

/** Hands every call to the connection in use; a method is bound to it. */
function standIn(inUse: () => Sqlite.Database): Sqlite.Database {
  return new Proxy(inUse(), {
    get: (_self, name) => {
      const connection = inUse();
      const value: unknown = Reflect.get(connection, name, connection);
      return typeof value === 'function' ? value.bind(connection) : value;
    },
  });
}

/** Also a file that cannot be opened: beside a full disk that is what SQLite says of a file it cannot make. */
function isForRoom(error: unknown): boolean {
  const cannotOpen = error instanceof Sqlite.SqliteError && error.code.startsWith('SQLITE_CANTOPEN');
  return cannotOpen || isStorageFailure(error);
}

function asOpenFailure(error: unknown, path: string): unknown {
  return !(error instanceof AppError) && isDamage(error) ? damaged(path, messageOf(error), error) : error;
}

/** What to say of a file that is no whole database. */
export function damaged(path: string, reason: string, cause?: unknown): AppError {
  const name = basename(path);
  return new AppError(
    'integrity',
    `the database ${path} is damaged (${reason}). Nothing was changed. Restore it: move ${name}, ${name}-wal and ${name}-shm out of ${dirname(path)}, copy ${name} from a backup to where it was, and start again; the rest of the folder stays`,
    { cause },
  );
}

function noRoom(cause?: unknown): AppError {
  const error = Object.assign(new Error('no room for the shared memory of the database'), { code: 'SQLITE_FULL' });
  return storageFailure(cause ?? error) ?? new AppError('insufficient_storage', error.message, { cause });
}
