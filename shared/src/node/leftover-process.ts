// Ends a process that a killed program left behind, so that its successor finds nobody at its files. By then the id may
// belong to another process: only one whose command line says what is expected is ended.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { readIfPresent } from './durable-files.ts';

const lookAgainMs = 20;

export interface LeftoverOptions {
  /** Texts that its command line holds, all of them. */
  marks: readonly string[];
  /** Ends its whole process group, not only itself. */
  group?: boolean;
  /** It is still there and is killed; called once. */
  onFound?(pid: number): void;
}

/** Kills process `pid` if it is the one that is meant. Resolves when it is gone. */
export async function endLeftover(pid: number, { marks, group = false, onFound }: LeftoverOptions): Promise<void> {
  // 0 and negative numbers would signal whole groups, 1 is not ours.
  const isThere = (): boolean => Number.isSafeInteger(pid) && pid > 1 && hasMarks(commandLineOf(pid), marks);
  if (!isThere()) return;
  onFound?.(pid);
  do {
    signalProcess(group ? -pid : pid, 'SIGKILL');
    await delay(lookAgainMs);
  } while (isThere());
}

/** The same for the process whose id the file holds; the file is removed. */
export async function endLeftoverOf(pidPath: string, options: LeftoverOptions): Promise<void> {
  await endLeftover(Number((await readIfPresent(pidPath)) ?? 0), options);
  await rm(pidPath, { force: true });
}

/** Signals a process, or with a negative id every process of the group; false when there is none. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

function hasMarks(commandLine: string, marks: readonly string[]): boolean {
  return commandLine !== '' && marks.every((mark) => commandLine.includes(mark));
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
