// Opens the device's one SQLite file. Commits are synced to disk: what was promised as recorded survives a power cut.
// Whatever became of the file or its disk, there is a database afterwards: a device that serves is worth more than what it
// has not sent.
import { chmodSync, closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import type { Logger } from 'pino';
import { Problems } from '../problems.ts';
import { moveAside, moveAsideUnless } from '../storage/aside.ts';
import { isFull, isStorageRefusal } from '../storage/refusal.ts';
import { migrations } from './migrations.ts';

export type DeviceDatabase = ReturnType<typeof open>;

export interface OpenOptions {
  problems?: Problems;
  /** Other processes may have it open, too; by default the agent is alone with it. */
  shared?: boolean;
}

const pageBytes = 1024;
/** Of what was committed and is not in the file yet. */
const logBytes = 8 * 1024 * 1024;

/** What belongs to a database beside its file. */
const besides = ['-wal', '-shm', '-journal'];

/**
 * Opens or creates the database at `path`.
 * - A file that SQLite calls corrupt is moved aside and a new one is made.
 * - Where the disk does not let it be written, a copy elsewhere is used until the agent is started again.
 * Both are told as the problem `database`.
 * @throws AppError `unsupported` when a newer agent wrote the file
 */
export function openDatabase(path: string, log: Logger, options: OpenOptions = {}): DeviceDatabase {
  const { problems = new Problems(log), shared = false } = options;
  try {
    makeFolder(dirname(path));
    const aside = moveAsideUnless('file', path);
    if (aside !== undefined) problems.set('database', damaged(path, aside, 'it is no file'));
    const wasThere = existsSync(path);
    const database = open(path, shared);
    if (wasThere && database.isNew)
      problems.set('database', `the database ${path} was empty and is made anew; ${rebuilt}`);
    return database;
  } catch (error) {
    if (isStorageRefusal(error)) return openCopy(path, error, problems);
    if (!isCorruption(error)) throw error;
    return openAnew(path, error, { problems, shared });
  }
}

function openAnew(path: string, cause: unknown, { problems, shared }: Required<OpenOptions>): DeviceDatabase {
  try {
    problems.set('database', damaged(path, moveAside(path, besides), messageOf(cause)));
    return open(path, shared);
  } catch (error) {
    if (!isStorageRefusal(error)) throw error;
    problems.set('database', unwritable(path, error));
    return open(':memory:');
  }
}

/** What was learnt is still there to be read; what is learnt from now on lasts as long as this process. */
function openCopy(path: string, cause: Error, problems: Problems): DeviceDatabase {
  problems.set('database', unwritable(path, cause));
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(tmpdir(), 'edgeloop-database-'));
    const copy = join(folder, basename(path));
    for (const suffix of ['', '-wal']) if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    const database = open(copy);
    beginOutboxAnew(database.$client);
    return database;
  } catch (error) {
    if (!isStorageRefusal(error) && !isCorruption(error)) throw error;
    return open(':memory:');
  } finally {
    // Its files stay open; nobody else needs their names, and nobody would remove them after a kill.
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * What waits to be sent stays with the file, whose numbers go on from there once it can be written again: sent from both,
 * the control plane would take one for the other.
 */
function beginOutboxAnew(client: Database.Database): void {
  client.exec("DELETE FROM outbox; DELETE FROM facts WHERE key LIKE 'outbox_%' OR key = 'losses_told'");
}

function open(path: string, shared = false) {
  if (path !== ':memory:') makeOwn(path);
  const client = new Database(path);
  try {
    // Without this every start would need room on the disk, for an index that is shared with others.
    if (!shared) client.pragma('locking_mode = EXCLUSIVE');
    // Most commits change a few hundred bytes in each of some pages. Of a file that is there it changes nothing.
    client.pragma(`page_size = ${pageBytes}`);
    client.pragma('journal_mode = WAL');
    client.pragma('synchronous = FULL');
    client.pragma(`journal_size_limit = ${logBytes}`);
    // A page that changed often meanwhile, or is free again, is not written twice.
    client.pragma(`wal_autocheckpoint = ${logBytes / Number(client.pragma('page_size', { simple: true }))}`);
    const check = client.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw new Database.SqliteError(`quick_check: ${String(check)}`, 'SQLITE_CORRUPT');
    const isNew = migrate(client) === 0;
    return Object.assign(drizzle({ client, casing: 'snake_case' }), { isNew });
  } catch (error) {
    client.close();
    throw error;
  }
}

/** Inputs and predictions are for the agent's user alone; SQLite gives its other files the mode of this one. */
function makeOwn(path: string): void {
  closeSync(openSync(path, 'a', 0o600));
  for (const suffix of ['', ...besides]) if (existsSync(path + suffix)) chmodSync(path + suffix, 0o600);
}

function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Writes nothing where there is nothing to do: the disk may be full. The steps that were done before. */
function migrate(client: Database.Database): number {
  const done = Number(client.pragma('user_version', { simple: true }));
  if (done === migrations.length) return done;
  if (done > migrations.length)
    throw new AppError(
      'unsupported',
      `${client.name} was written by a newer agent; start that one, or remove the file`,
    );
  client.transaction(() => {
    for (const step of migrations.slice(done)) client.exec(step);
    client.pragma(`user_version = ${migrations.length}`);
  })();
  return done;
}

function isCorruption(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code);
}

const rebuilt = 'model states are rebuilt from the models on disk, telemetry in it that was not sent is lost';

function damaged(path: string, aside: string, reason: string): string {
  return `the database ${path} is corrupt (${reason}) and was moved aside to ${aside}; ${rebuilt}`;
}

function unwritable(path: string, error: Error): string {
  const advice = isFull(error) ? 'free some room there' : 'make its folder writable';
  return `the database ${path} cannot be written (${messageOf(error)}), so what the agent learns is lost when it stops: ${advice} and start the agent again`;
}
