// How many rows one run of a model should have at most: found while it serves, by the time per row of runs of
// different sizes. Larger batches than pay would only make callers wait.

/** Runs of more than 2^(k-1) and at most 2^k rows. */
interface Bucket {
  samples: number;
  msPerRow: number;
}

export interface BatchSize {
  /** Most rows of the next run. */
  cap(): number;
  observe(rows: number, runMs: number): void;
}

const samplesNeeded = 5;
/** A larger batch must be better by this to be worth its wait. */
const worthIt = 0.95;
const smoothing = 0.2;
/** Runs after which larger batches are tried again. */
const tryAgainAfter = 2000;

/** Never beyond `most`, which is the operator's word. */
export function createBatchSize(most: number): BatchSize {
  const buckets: Bucket[] = Array.from({ length: Math.ceil(Math.log2(most)) + 1 }, () => ({ samples: 0, msPerRow: 0 }));
  let cap = capOf(buckets, most);
  let runs = 0;
  return {
    cap: () => cap,
    observe(rows, runMs) {
      const bucket = buckets[Math.ceil(Math.log2(rows))];
      if (!bucket || rows > most) return;
      const msPerRow = runMs / rows;
      bucket.msPerRow = bucket.samples === 0 ? msPerRow : bucket.msPerRow + smoothing * (msPerRow - bucket.msPerRow);
      bucket.samples++;
      runs++;
      if (runs % tryAgainAfter === 0) forgetAbove(buckets, Math.ceil(Math.log2(cap)));
      cap = capOf(buckets, most);
    },
  };
}

function forgetAbove(buckets: Bucket[], place: number): void {
  for (const bucket of buckets.slice(place + 1)) bucket.samples = 0;
}

/**
 * The smallest size whose time per row no larger one betters by enough. One size above what was measured is always
 * tried, as long as the largest measured is the best.
 */
function capOf(buckets: readonly Bucket[], most: number): number {
  let chosen = -1;
  let measured = -1;
  // Looked at after every run, so nothing is made for it.
  for (let place = 0; place < buckets.length; place++) {
    const bucket = buckets[place];
    if (bucket === undefined || bucket.samples < samplesNeeded) continue;
    measured = place;
    const best = buckets[chosen];
    if (best === undefined || bucket.msPerRow < best.msPerRow * worthIt) chosen = place;
  }
  const explored = chosen === measured ? chosen + 1 : chosen;
  return Math.min(most, 2 ** explored);
}
