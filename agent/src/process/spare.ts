// A second serving process that has loaded its modules, started its first threads and waits to be needed. Most of the time
// until callers are answered again after a death is that start: beside two busy loops two to four seconds, as measured, and
// a fraction of that with a spare one.
import type { ChildProcess } from 'node:child_process';
import { totalmem } from 'node:os';
import { messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';

export interface Spare {
  /** Has one from now on, unless this machine has too little memory for it. */
  keep(): void;
  /** The one that waits; undefined when there is none. */
  take(): ChildProcess | undefined;
  end(): void;
}

export interface SpareOptions {
  /** Begins a process that waits. */
  start(): ChildProcess;
  log: Logger;
  /** False: there never is one. */
  isWanted: boolean;
  memoryBytes?: number;
}

/** It takes some 45 MB, and 100 with what processes share. */
const memoryNeededBytes = 1024 * 1024 * 1024;

/** None yet. */
export function createSpare({ start, log, isWanted, memoryBytes = totalmem() }: SpareOptions): Spare {
  let spare: ChildProcess | undefined;
  // The next one is tried after the next death: whatever stood in the way may be gone by then.
  const missed = (error: unknown): void => {
    log.warn({ reason: messageOf(error) }, 'no spare serving process could be started; a death would be felt longer');
  };
  const take = (): ChildProcess | undefined => {
    const taken = spare;
    spare = undefined;
    return taken?.exitCode === null && taken.signalCode === null && taken.connected ? taken : undefined;
  };
  return {
    keep() {
      if (spare !== undefined || !isWanted || memoryBytes < memoryNeededBytes) return;
      try {
        const child = start();
        spare = child;
        // One that serves meanwhile is watched by whoever took it.
        child.on('error', (error) => {
          if (spare !== child) return;
          spare = undefined;
          missed(error);
        });
      } catch (error) {
        missed(error);
      }
    },
    take,
    end: () => void take()?.kill('SIGKILL'),
  };
}
