// Keeps two processes from sharing a data folder. The lock is SQLite's own on a small file: the kernel lets go of it when
// the process ends, however it ends, so there is no stale lock to judge.
import { mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { AppError } from '../errors.ts';

export interface DataLock {
  release(): void;
}

export interface LockOptions {
  /** Made, for its owner alone, where it is missing. */
  folder: string;
  /** Name of the lock's file in it. */
  file: string;
  /** What the folder is for, such as `agent`. */
  owner: string;
  /** The variable that names the folder. */
  variable: string;
}

/** @throws AppError `conflict` when another process holds the folder */
export function lockDataFolder({ folder, file, owner, variable }: LockOptions): DataLock {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, file);
  try {
    return holdOf(path);
  } catch (cause) {
    // Nothing is ever written to it: what is there is not ours, and only in the way.
    if (cause instanceof Sqlite.SqliteError && /^SQLITE_(NOTADB|CORRUPT)/.test(cause.code)) {
      truncateSync(path, 0);
      return holdOf(path);
    }
    if (!(cause instanceof Sqlite.SqliteError) || !cause.code.startsWith('SQLITE_BUSY')) throw cause;
    const mend = `stop it, or set ${variable} to a folder of its own`;
    throw new AppError('conflict', `another ${owner} uses ${folder}; ${mend}`, { cause });
  }
}

function holdOf(path: string): DataLock {
  const client = new Sqlite(path, { timeout: 0 });
  try {
    client.pragma('journal_mode = MEMORY');
    client.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    client.close();
    throw error;
  }
  return { release: () => client.close() };
}
