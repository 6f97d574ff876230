// Requests that a version answered and failed in all serving processes, across their deaths, for its probation.
import type { ServingCounts } from '../../process/ipc.ts';

export interface Counts {
  succeeded: number;
  failed: number;
}

/** What is counted together. */
type Counted = Pick<ServingCounts, 'name' | 'version' | 'release'>;

export interface Tally {
  /** What a process counted; it is named by its place. */
  update(counts: readonly ServingCounts[], process: number): void;
  /** The process ended: its counts begin at 0 again. */
  restarted(process: number): void;
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

/** How seldom so many of few requests fail by chance, at the share that is allowed. */
const chance = 0.001;

/** The same at the end, of fewer requests than the evidence that is asked for before: more failed than by chance. */
export function isFailingWithFew({ succeeded, failed }: Counts): boolean {
  const total = succeeded + failed;
  return failed > 0 && total < evidence && tailOf(failed, total) < chance;
}

/** Binomial: that at least so many of `total` fail, each with the allowed share. */
function tailOf(failed: number, total: number): number {
  let below = 0;
  let exactly = (1 - share) ** total;
  for (let count = 0; count < failed; count += 1) {
    below += exactly;
    exactly *= ((total - count) / (count + 1)) * (share / (1 - share));
  }
  return 1 - below;
}

export function createTally(): Tally {
  const before = new Map<string, Counts>();
  /** By process. */
  const present = new Map<number, Map<string, Counts>>();
  const none: Counts = { succeeded: 0, failed: 0 };
  const keyOf = ({ name, version, release }: Counted) => `${name}@${version} ${release}`;
  const add = (a: Counts, b: Counts, sign = 1): Counts => ({
    succeeded: a.succeeded + sign * b.succeeded,
    failed: a.failed + sign * b.failed,
  });
  const presentOf = (key: string): Counts =>
    [...present.values()].reduce((sum, counts) => add(sum, counts.get(key) ?? none), none);
  return {
    update(counts, process) {
      // The list is whole: a version that is not in it was unloaded, and begins at 0 when it is loaded again.
      const own = counts.map(({ succeeded, failed, ...of }): [string, Counts] => [keyOf(of), { succeeded, failed }]);
      present.set(process, new Map(own));
    },
    restarted(process) {
      for (const [key, counts] of present.get(process) ?? []) before.set(key, add(before.get(key) ?? none, counts));
      present.delete(process);
    },
    of: (of) => {
      const key = keyOf(of);
      return add(before.get(key) ?? none, presentOf(key));
    },
    forget(of) {
      const key = keyOf(of);
      before.set(key, add(none, presentOf(key), -1));
    },
  };
}
