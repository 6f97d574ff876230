// How long the runs of a model have taken so far, to tell one that will hardly ever end from one that takes its time.

export interface RunHistory {
  /** A run on so many bytes of inputs has ended. */
  learn(bytes: number, runMs: number): void;
  /** A run on so many bytes that takes longer is far beyond all before it; undefined while too few are known. */
  farBeyondMs(bytes: number): number | undefined;
  seen(): Seen;
}

interface Seen {
  runs: number;
  longestMs: number;
  mostBytes: number;
}

/** The first runs are slower than those that follow, so a few say enough. */
const runsNeeded = 5;
/**
 * What takes its time for a reason (a cold cache, a slower clock, other data) is a few times slower than ever before. Fifty
 * times the slowest of all is no such reason, and less than two seconds are not worth a process.
 */
const far = { times: 50, atLeastMs: 2000 };

/** Goes on where the history of a former version of the model, or of another arrangement of this one, ended. */
export function createRunHistory(former?: RunHistory): RunHistory {
  const seen = { runs: 0, longestMs: 0, mostBytes: 0, ...former?.seen() };
  return {
    learn(bytes, runMs) {
      seen.runs++;
      if (runMs > seen.longestMs) seen.longestMs = runMs;
      if (bytes > seen.mostBytes) seen.mostBytes = bytes;
    },
    farBeyondMs(bytes) {
      if (seen.runs < runsNeeded) return undefined;
      // Larger inputs than ever may take longer by their square, as attention does.
      const growth = bytes > seen.mostBytes ? (bytes / seen.mostBytes) ** 2 : 1;
      return Math.max(far.atLeastMs, far.times * seen.longestMs) * growth;
    },
    seen: () => ({ ...seen }),
  };
}
