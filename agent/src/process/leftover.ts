// Ends what a killed supervisor left behind: its serving process may still append to the journal that is to be folded.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { readIfPresent } from '../durable-files.ts';

/** Kills the process that `pidPath` names if its command line holds all `marks`, and waits until it is gone. */
export async function endLeftover(pidPath: string, marks: readonly string[], log: Logger): Promise<void> {
  const pid = Number(readIfPresent(pidPath) ?? 0);
  while (pid > 1 && marks.every((mark) => commandLineOf(pid).includes(mark))) {
    log.warn({ pid }, 'a serving process of an earlier agent is still there and is killed');
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      break; // It ended by itself in between.
    }
    await delay(20);
  }
  rmSync(pidPath, { force: true });
}

/** Empty when there is no such process, or only its exit status is left. */
function commandLineOf(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
  } catch {
    return '';
  }
}
