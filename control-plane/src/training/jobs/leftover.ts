// Ends the trainer that a killed control plane left behind, before its job folder is used again.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { readIfPresent } from '../../durable-files.ts';

/**
 * Kills the process group of the process that `pidPath` names, if its command line holds `mark`: by now the id may
 * belong to another. Resolves when it is gone.
 */
export async function endLeftover(pidPath: string, mark: string, log: Logger): Promise<void> {
  const pid = Number((await readIfPresent(pidPath)) ?? 0);
  while (pid > 1 && commandLineOf(pid).includes(mark)) {
    log.warn({ pid }, 'a trainer of an earlier control plane is still there and is killed');
    killGroup(pid, 'SIGKILL');
    await delay(20);
  }
  await rm(pidPath, { force: true });
}

/** Signals every process of the group; false when there is none left. */
export function killGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
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
