// A folder in the system's temporary directory for as long as this process lives, and the end of those whose process was
// killed. Each holds a lock that the kernel lets go of with its process, so nobody has to guess who is gone.
import { lstatSync, mkdtempSync, readdirSync, rmSync, type Stats, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { type DataLock, lockDataFolder } from '@edgeloop/shared/node/lock';
import type { Logger } from 'pino';
import { isStorageRefusal } from '../storage/refusal.ts';
import { endLeft } from './pid-file.ts';
import { placesIn } from './places.ts';
import { servingModulePath } from './serving-life.ts';

export interface ScratchFolder {
  /** Its serving processes have it for their marker and keep their pids in it: the next start ends what is left. */
  path: string;
  remove(): void;
}

const prefix = 'edgeloop-serve-';
const lockFile = 'serve.lock';
/** Where the temporary directory has no room; it is memory. */
const spareHome = '/dev/shm';

/** Makes a folder, after it has removed those of killed processes. */
export async function openScratchFolder(log: Logger): Promise<ScratchFolder> {
  await sweep(log);
  for (;;) {
    const path = makeFolder();
    const lock = tryLock(path);
    // Another start may have taken it for a left one before it was locked; then it is gone, or about to be.
    if (lock === undefined || !isThere(join(path, lockFile))) {
      lock?.release();
      continue;
    }
    return {
      path,
      remove() {
        rmSync(path, { recursive: true, force: true });
        lock.release();
      },
    };
  }
}

function makeFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), prefix));
  } catch (error) {
    if (!isStorageRefusal(error) || !isThere(spareHome)) throw error;
    return mkdtempSync(join(spareHome, prefix));
  }
}

/** Removes the folders of processes that are surely gone, with the serving process that each may have left behind. */
async function sweep(log: Logger): Promise<void> {
  for (const path of [tmpdir(), spareHome].flatMap((home) => foldersIn(home, log))) {
    try {
      if (isOurs(path)) await removeIfLeft(path, log);
    } catch (error) {
      log.warn({ path, reason: messageOf(error) }, 'the folder of an earlier server stays');
    }
  }
}

function foldersIn(home: string, log: Logger): string[] {
  try {
    const names = readdirSync(home).filter((name) => name.startsWith(prefix));
    return names.map((name) => join(home, name));
  } catch (error) {
    log.debug({ reason: messageOf(error) }, 'folders of earlier servers are not looked for');
    return [];
  }
}

/** A folder of this user with a lock in it: others are none of ours, or are just being made. */
function isOurs(path: string): boolean {
  const folder = statsOf(path);
  const lock = statsOf(join(path, lockFile));
  return folder?.isDirectory() === true && folder.uid === process.getuid?.() && lock?.isFile() === true;
}

async function removeIfLeft(path: string, log: Logger): Promise<void> {
  const lock = tryLock(path);
  if (lock === undefined) return;
  try {
    for (const { pidPath } of placesIn(path, 1)) await endLeft(pidPath, [servingModulePath, path], log);
    rmSync(path, { recursive: true, force: true });
    log.info({ path }, 'the folder of a server that was killed is removed');
  } finally {
    lock.release();
  }
}

/** Undefined while another process holds it. */
function tryLock(folder: string): DataLock | undefined {
  try {
    return lockDataFolder({ folder, file: lockFile, owner: 'server', variable: 'TMPDIR' });
  } catch (error) {
    if (error instanceof AppError && error.code === 'conflict') return undefined;
    throw error;
  }
}

function statsOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
