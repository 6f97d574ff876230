// Transactions that share a commit. Each commit is a sync of the disk, for which SQLite keeps the event loop waiting; what is asked
// for in one turn of the loop, or while a former group is written, is one. Whoever fails in a group is undone alone.
import type { Transaction } from './open.ts';

export interface SharedCommitsDeps {
  transact: (work: (tx: Transaction) => Promise<void>) => Promise<void>;
  /** Runs `work` so that it can be undone alone; `lost` when nothing of the transaction is left after it failed. */
  apart: <T>(tx: Transaction, work: () => Promise<T>) => Promise<{ value: T } | { error: unknown; lost: boolean }>;
}

interface Waiting {
  /** Gives what is to be said once it is committed. */
  work: (tx: Transaction) => Promise<() => void>;
  reject: (error: unknown) => void;
}

/** After so much time a group ends, and whoever waits is in the next. */
const groupMs = 10;

export function createSharedCommits({ transact, apart }: SharedCommitsDeps) {
  const waiting: Waiting[] = [];
  let gathering: Promise<void> | undefined;

  async function gather(): Promise<void> {
    do {
      await new Promise((resolve) => setImmediate(resolve));
      await commit();
    } while (waiting.length > 0);
    gathering = undefined;
  }

  async function commit(): Promise<void> {
    const written: { said: () => void; reject: Waiting['reject'] }[] = [];
    let asked = false;
    try {
      await transact(async (tx) => {
        const began = performance.now();
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const { work, reject } = next;
          asked = true;
          const done = await apart(tx, () => work(tx));
          if ('value' in done) written.push({ said: done.value, reject });
          else reject(done.error);
          if ('lost' in done && done.lost) throw done.error;
          if (performance.now() - began >= groupMs) return;
        }
      });
      for (const { said } of written) said();
    } catch (error) {
      for (const { reject } of written) reject(error);
      // It did not even begin.
      if (!asked) for (const { reject } of waiting.splice(0)) reject(error);
    }
  }

  return {
    /** As `Database.share`. */
    run: <T>(work: (tx: Transaction) => Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        waiting.push({
          reject,
          work: async (tx) => {
            const value = await work(tx);
            return () => resolve(value);
          },
        });
        gathering ??= gather();
      }),

    /** Resolves when nobody waits. */
    async idle(): Promise<void> {
      await gathering;
    },
  };
}
