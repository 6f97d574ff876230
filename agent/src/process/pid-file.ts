// The process id of the serving process, kept for the next start: it ends what a killed agent left behind.
import { readFileSync } from 'node:fs';
import { messageOf } from '@edgeloop/shared/errors';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { endLeftover } from '@edgeloop/shared/node/leftover-process';
import type { Logger } from 'pino';
import { writeInPlace } from '../storage/in-place.ts';

const pidBytes = 16;

/** Undefined: there is none. */
export function writePid(path: string, pid: number | undefined): void {
  writeInPlace(path, pid === undefined ? '' : String(pid), pidBytes);
}

/** Kills the process whose id `path` holds, if it is there and its command line holds all `marks`. */
export async function endLeft(path: string, marks: readonly string[], log: Logger): Promise<void> {
  await endLeftover(readPid(path, log), {
    marks,
    onFound: (pid) => log.warn({ pid }, 'a serving process of an earlier server is still there and is killed'),
  });
}

function readPid(path: string, log: Logger): number {
  try {
    return Number(readFileSync(path, 'utf8'));
  } catch (error) {
    if (!isMissing(error))
      log.warn({ path, reason: messageOf(error) }, 'whether a serving process was left behind cannot be known');
    return Number.NaN;
  }
}
