// Requests that a version answered and failed, across deaths of the serving process, for its probation.
import type { ServingCounts } from '../../process/ipc.ts';

export interface Counts {
  succeeded: number;
  failed: number;
}

/** What is counted together. */
type Counted = Pick<ServingCounts, 'name' | 'version' | 'release'>;

export interface Tally {
  update(counts: readonly ServingCounts[]): void;
  /** The serving process ended: its counts begin at 0 again. */
  restarted(): void;
  of(of: Counted): Counts;
  /** Counts since then only. */
  forget(of: Counted): void;
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
  const keyOf = ({ name, version, release }: Counted) => `${name}@${version} ${release}`;
  const add = (a: Counts, b: Counts, sign = 1): Counts => ({
    succeeded: a.succeeded + sign * b.succeeded,
    failed: a.failed + sign * b.failed,
  });
  return {
    update(counts) {
      // The list is whole: a version that is not in it was unloaded, and begins at 0 when it is loaded again.
      present.clear();
      for (const { succeeded, failed, ...of } of counts) present.set(keyOf(of), { succeeded, failed });
    },
    restarted() {
      for (const [key, counts] of present) before.set(key, add(before.get(key) ?? none, counts));
      present.clear();
    },
    of: (of) => {
      const key = keyOf(of);
      return add(before.get(key) ?? none, present.get(key) ?? none);
    },
    forget(of) {
      const key = keyOf(of);
      before.set(key, add(none, present.get(key) ?? none, -1));
    },
  };
}
