// A second serving process that has loaded its modules, started its first threads and waits to be needed. Most of the time
// until callers are answered again after a death is that start: beside two busy loops two to four seconds, as measured, and
// a fraction of that with a spare one. It takes memory as long as it waits, so that by default there is one only for a while
// after something that makes a death likely.
import type { ChildProcess } from 'node:child_process';
import { totalmem } from 'node:os';
import { messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';

export type SpareMode = 'auto' | 'on' | 'off';

export interface Spare {
  /** A death is likely for so long from now on. */
  expectDeath(forMs: number): void;
  /** The process that serves is up: has one from now on as long as it is wanted, unless this machine has too little memory. */
  keep(): void;
  /** The one that waits; undefined when there is none. */
  take(): ChildProcess | undefined;
  end(): void;
}

export interface SpareOptions {
  /** Begins a process that waits. */
  start(): ChildProcess;
  log: Logger;
  /** `auto`: while a death is likely. */
  mode: SpareMode;
  memoryBytes?: number;
}

/** It takes some 45 MB, and 100 with what processes share. */
const memoryNeededBytes = 1024 * 1024 * 1024;

/** None yet. */
export function createSpare({ start, log, mode, memoryBytes = totalmem() }: SpareOptions): Spare {
  let spare: ChildProcess | undefined;
  let isUp = false;
  let likelyUntilMs = 0;
  let ending: NodeJS.Timeout | undefined;
  // The next one is tried after the next death: whatever stood in the way may be gone by then.
  const missed = (error: unknown): void => {
    log.warn({ reason: messageOf(error) }, 'no spare serving process could be started; a death would be felt longer');
  };
  const isWanted = (): boolean => {
    if (!isUp || mode === 'off' || memoryBytes < memoryNeededBytes) return false;
    return mode === 'on' || performance.now() < likelyUntilMs;
  };
  const take = (): ChildProcess | undefined => {
    clearTimeout(ending);
    const taken = spare;
    spare = undefined;
    isUp = false;
    return taken?.exitCode === null && taken.signalCode === null && taken.connected ? taken : undefined;
  };
  const begin = (): void => {
    if (spare !== undefined || !isWanted()) return;
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
  };
  /** Gives the memory back once no death is likely any more. */
  const endLater = (): void => {
    clearTimeout(ending);
    if (mode !== 'auto') return;
    ending = setTimeout(
      () => {
        spare?.kill('SIGKILL');
        spare = undefined;
      },
      Math.max(0, likelyUntilMs - performance.now()),
    ).unref();
  };
  return {
    expectDeath(forMs) {
      likelyUntilMs = Math.max(likelyUntilMs, performance.now() + forMs);
      begin();
      endLater();
    },
    keep() {
      isUp = true;
      begin();
      endLater();
    },
    take,
    end: () => void take()?.kill('SIGKILL'),
  };
}
