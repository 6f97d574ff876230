// The data folder as a start finds it. It holds keys, rows of the field and models: nobody but the server's own user looks
// inside. What a former process was receiving when it was killed is of no use to anybody.
import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';

/**
 * Takes from everybody else what lies directly in the folder, which closes what is below too. A folder that belongs to
 * another user, as a mounted volume may, is left as it is.
 */
export async function keepToOwner(folder: string, log: Logger): Promise<void> {
  try {
    await chmod(folder, 0o700);
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) await chmod(join(folder, entry.name), 0o700);
      else if (entry.isFile()) await chmod(join(folder, entry.name), 0o600);
    }
  } catch (error) {
    log.warn({ folder, reason: messageOf(error) }, 'the data folder could not be closed to other users');
  }
}

/** Removes uploads and imports that were broken off. */
export function clearScratch(folder: string): Promise<void> {
  return rm(join(folder, 'tmp'), { recursive: true, force: true });
}
