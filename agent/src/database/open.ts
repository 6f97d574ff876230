// Opens the device's one SQLite file. Commits are synced to disk: what was promised as recorded survives a power cut.
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import Database from 'better-sqlite3';
import { drizzle } from 'drizzle-orm/better-sqlite3';
import type { Logger } from 'pino';
import { migrations } from './migrations.ts';

export type DeviceDatabase = ReturnType<typeof open>;

/**
 * Opens or creates the database at `path`. A file that SQLite calls corrupt is moved aside, with a line in the log
 * that names where, and a new one is made: a device that serves is worth more than its unsent telemetry.
 * @throws AppError `unsupported` when a newer agent wrote the file
 */
export function openDatabase(path: string, log: Logger): DeviceDatabase {
  mkdirSync(dirname(path), { recursive: true });
  try {
    return open(path);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    const aside = moveAside(path);
    log.error(
      { path, aside, reason: messageOf(error) },
      'the database is corrupt and was moved aside; model states are rebuilt, unsent telemetry in it is lost',
    );
    return open(path);
  }
}

function open(path: string) {
  const client = new Database(path);
  try {
    client.pragma('journal_mode = WAL');
    client.pragma('synchronous = FULL');
    client.pragma('journal_size_limit = 8388608');
    const check = client.pragma('quick_check(1)', { simple: true });
    if (check !== 'ok') throw new Database.SqliteError(`quick_check: ${String(check)}`, 'SQLITE_CORRUPT');
    migrate(client);
  } catch (error) {
    client.close();
    throw error;
  }
  return drizzle({ client, casing: 'snake_case' });
}

function migrate(client: Database.Database): void {
  const done = Number(client.pragma('user_version', { simple: true }));
  if (done > migrations.length)
    throw new AppError(
      'unsupported',
      `${client.name} was written by a newer agent; start that one, or remove the file`,
    );
  client.transaction(() => {
    for (const step of migrations.slice(done)) client.exec(step);
    client.pragma(`user_version = ${migrations.length}`);
  })();
}

function isCorruption(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code);
}

function moveAside(path: string): string {
  const aside = `${path}.corrupt-${new Date().toISOString().replace(/[:.]/g, '-')}`;
  for (const suffix of ['', '-wal', '-shm']) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  return aside;
}
