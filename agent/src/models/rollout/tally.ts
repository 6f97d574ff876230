// Requests that a version answered and failed, across deaths of the serving process, for its probation.
import type { ServingCounts } from '../../process/ipc.ts';

export interface Counts {
  succeeded: number;
  failed: number;
}

export interface Tally {
  update(counts: readonly ServingCounts[]): void;
  /** The serving process ended: its counts begin at 0 again. */
  restarted(): void;
  of(name: string, version: number): Counts;
  /** Counts since then only. */
  forget(name: string, version: number): void;
}

const share = 0.05;
const evidence = 20;

/** Whether so many requests failed that a version must not stay. */
export function isFailing({ succeeded, failed }: Counts): boolean {
  return succeeded + failed >= evidence && failed / (succeeded + failed) > share;
}

export function createTally(): Tally {
  const before = new Map<string, Counts>();
  const present = new Map<string, Counts>();
  const none: Counts = { succeeded: 0, failed: 0 };
  const keyOf = (name: string, version: number) => `${name}@${version}`;
  const add = (a: Counts, b: Counts, sign = 1): Counts => ({
    succeeded: a.succeeded + sign * b.succeeded,
    failed: a.failed + sign * b.failed,
  });
  return {
    update(counts) {
      // The list is whole: a version that is not in it was unloaded, and begins at 0 when it is loaded again.
      present.clear();
      for (const { name, version, succeeded, failed } of counts)
        present.set(keyOf(name, version), { succeeded, failed });
    },
    restarted() {
      for (const [key, counts] of present) before.set(key, add(before.get(key) ?? none, counts));
      present.clear();
    },
    of: (name, version) => {
      const key = keyOf(name, version);
      return add(before.get(key) ?? none, present.get(key) ?? none);
    },
    forget(name, version) {
      const key = keyOf(name, version);
      before.set(key, add(none, present.get(key) ?? none, -1));
    },
  };
}
