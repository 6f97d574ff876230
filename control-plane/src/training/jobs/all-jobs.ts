// The folders of the runs' jobs, one a run, with the process id of its trainer beside it.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseJson } from '@edgeloop/shared/errors';
import { isMissing, readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import { endLeftoverOf } from '@edgeloop/shared/node/leftover-process';
import type { Logger } from 'pino';
import type { z } from 'zod';

export type AllJobs = ReturnType<typeof createAllJobs>;

export function createAllJobs(dir: string, log: Logger) {
  const folderOf = (runId: string) => join(dir, runId);
  const pidPathOf = (runId: string) => join(dir, `${runId}.pid`);
  const notePath = (runId: string, name: string) => join(folderOf(runId), `${name}.json`);

  return {
    folderOf,
    pidPathOf,

    /** Kills trainers that an earlier control plane left behind, and removes the folders of all but the `open` runs. */
    async recover(open: readonly string[]): Promise<void> {
      await mkdir(dir, { recursive: true });
      const names = await readdir(dir);
      for (const name of names.filter((each) => each.endsWith('.pid'))) {
        await endLeftoverOf(join(dir, name), {
          marks: [folderOf(name.slice(0, -'.pid'.length))],
          group: true,
          onFound: (pid) => log.warn({ pid }, 'a trainer of an earlier control plane is still there and is killed'),
        });
      }
      for (const name of names) {
        if (!name.endsWith('.pid') && !open.includes(name)) await rm(join(dir, name), { recursive: true, force: true });
      }
    },

    async discard(runId: string): Promise<void> {
      await rm(folderOf(runId), { recursive: true, force: true });
      await rm(pidPathOf(runId), { force: true });
    },

    /** Keeps the result of a stage for the next one, also over a restart. */
    note: (runId: string, name: string, value: unknown): Promise<void> =>
      writeDurably(notePath(runId, name), JSON.stringify(value)),

    /** What was noted; undefined when there is nothing. */
    async noted<S extends z.ZodType>(runId: string, name: string, schema: S): Promise<z.output<S> | undefined> {
      const text = await readIfPresent(notePath(runId, name));
      return text === undefined ? undefined : parseJson(schema, text, `${name}.json`, 'internal');
    },
  };
}

/** SHA-256 of the file, or undefined when there is none. */
export async function fileDigest(path: string): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path), hash);
    return hash.digest('hex');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
