// Keeps two servers from sharing a data folder. The lock is SQLite's own on a small file: the kernel lets go of it when
// the process ends, however it ends, so there is no stale lock to judge.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import Sqlite from 'better-sqlite3';

export interface DataLock {
  release(): void;
}

/** @throws AppError `conflict` when another process holds the folder */
export function lockDataDir(dataDir: string): DataLock {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const client = new Sqlite(join(dataDir, 'server.lock'), { timeout: 0 });
  try {
    client.pragma('journal_mode = MEMORY');
    client.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    client.close();
    if (!(cause instanceof Sqlite.SqliteError) || !cause.code.startsWith('SQLITE_BUSY')) throw cause;
    throw new AppError(
      'conflict',
      `another server uses ${dataDir}; stop it, or set EDGELOOP_DATA_DIR to a folder of its own`,
      { cause },
    );
  }
  return { release: () => client.close() };
}
