// Knows whether writes work: from those that failed, and, while they do, by trying from time to time. What fails for
// want of room is said once, when it begins and when it ends, by this one; loops wait instead of failing each second.
import { rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import { and, eq } from 'drizzle-orm';
import type { Logger } from 'pino';
import type { Database, Transaction } from './open.ts';
import { isDamage, storageFailure } from './storage-failure.ts';

export interface StorageWatchDeps {
  /** The data folder. */
  folder: string;
  database: Database;
  log: Logger;
  /** From one try to the next while writes fail. */
  tryEveryMs?: number;
}

/** Below that much free space the server is not ready; a try writes as much. */
const roomBytes = 1024 ** 2;

export function createStorageWatch({ folder, database, log, tryEveryMs = 1000 }: StorageWatchDeps) {
  /** Why the last write failed, until one works. */
  let refused: string | undefined;
  /** A damage does not mend itself. */
  let damage: string | undefined;
  const waiting = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  let trying: Promise<void> | undefined;

  /** Takes notice of any failure, and gives it in words when it is one of storage. */
  function noted(error: unknown): unknown {
    const failure = error instanceof AppError ? error : storageFailure(error);
    if (failure?.code === 'insufficient_storage') refuse(failure);
    else if (isDamage(error) && damage === undefined) {
      damage = failure?.message;
      log.error({ err: error }, 'the database is damaged');
    }
    return failure ?? error;
  }

  function refuse(failure: AppError): void {
    if (refused === undefined) log.error({ err: failure }, 'writes are refused until there is room');
    refused = failure.message;
  }

  function attempt(): Promise<void> {
    trying ??= tryToWrite().finally(() => {
      trying = undefined;
    });
    return trying;
  }

  async function tryToWrite(): Promise<void> {
    try {
      await writeScratch(folder);
      await database.transact((tx) => writeNothing(database, tx));
    } catch (error) {
      const failure = noted(error);
      if (failure instanceof AppError && failure.code === 'insufficient_storage') return;
      throw failure;
    }
    if (refused !== undefined) log.info('writes work again');
    refused = undefined;
    for (const resume of waiting) resume();
  }

  function writable(signal?: AbortSignal): Promise<void> {
    if (refused === undefined || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const resume = () => {
        waiting.delete(resume);
        signal?.removeEventListener('abort', resume);
        resolve();
      };
      waiting.add(resume);
      signal?.addEventListener('abort', resume);
    });
  }

  return {
    /** The database, its writes watched. */
    database: {
      ...database,
      transact: (work) =>
        database.transact(work).catch((error: unknown) => {
          throw noted(error);
        }),
      share: (work) =>
        database.share(work).catch((error: unknown) => {
          throw noted(error);
        }),
      writable,
    } satisfies Database,

    noted,

    /** What keeps the server from writing, for people; undefined when nothing does. */
    async problem(): Promise<string | undefined> {
      if (damage !== undefined || refused !== undefined) return damage ?? refused;
      const { bavail, bsize } = await statfs(folder);
      const left = bavail * bsize;
      return left < roomBytes ? `${left} bytes are left on the disk of ${folder}; free some space` : undefined;
    },

    /** Tries once, so that a start says at once how it is, and goes on while writes fail. */
    async start(): Promise<void> {
      await attempt();
      timer = setInterval(() => {
        if (refused !== undefined)
          attempt().catch((err: unknown) => log.error({ err }, 'it could not be tried whether writes work'));
      }, tryEveryMs);
      timer.unref();
    },

    async close(): Promise<void> {
      clearInterval(timer);
      await trying?.catch(() => undefined);
    },
  };
}

/** As much as an upload of some size needs, gone again at once. */
async function writeScratch(folder: string): Promise<void> {
  const path = join(folder, 'storage.probe');
  try {
    await writeFile(path, Buffer.alloc(roomBytes), { mode: 0o600 });
  } finally {
    await rm(path, { force: true });
  }
}

/** A real write that leaves nothing behind. */
async function writeNothing({ tables }: Database, tx: Transaction): Promise<void> {
  const { idempotencyKeys: keys } = tables;
  const row = { actor: 'system', key: 'storage.probe', request: '', status: null, body: null, createdAt: 0 };
  await tx.insert(keys).values(row).onConflictDoNothing();
  await tx.delete(keys).where(and(eq(keys.actor, row.actor), eq(keys.key, row.key)));
}
