// Which of the measured ways to run a model is kept: pure, so that every outcome of a measurement can be tried.

export interface Arrangement {
  /** Copies of the model that run beside each other. */
  instances: number;
  /** Threads inside one run. */
  intraOpThreads: number;
}

export interface Measured extends Arrangement {
  /** Rows answered a second by all copies. */
  perSecond: number;
  /** Mean duration of a run of the slowest copy. */
  runMs: number;
  /** Resident set with all copies loaded. */
  rssBytes: number;
}

/** More than this, in what is measured beside noise, must a costlier way gain. */
const worthwhile = 1.05;
/** A way that answers more may keep the single caller waiting at most so many times longer. */
const slowerAtMost = 3;
/** A larger batch that keeps its callers waiting longer than this is not worth its throughput. */
const batchRunAtMostMs = 50;

/** Powers of two of copies and threads whose product stays within `threads`, the cheapest in memory first. */
export function arrangements(threads: number, instances: number | undefined): Arrangement[] {
  const powers: number[] = [];
  for (let power = 1; power < threads; power *= 2) powers.push(power);
  powers.push(threads);
  const all = (instances === undefined ? powers : [instances]).flatMap((copies) =>
    powers.map((each) => ({ instances: copies, intraOpThreads: each })),
  );
  const fitting = all.filter((each) => each.instances * each.intraOpThreads <= threads);
  return fitting.length > 0 ? fitting : [{ instances: instances ?? 1, intraOpThreads: 1 }];
}

/** The best throughput that is clearly better than what costs less; undefined when nothing fits the memory. */
export function bestArrangement(measured: readonly Measured[], maxRssBytes: number): Arrangement | undefined {
  const fitting = measured.filter(({ rssBytes }) => rssBytes <= maxRssBytes);
  const quickestMs = Math.min(...fitting.map(({ runMs }) => runMs));
  const cheapestFirst = fitting
    .filter(({ runMs }) => runMs <= quickestMs * slowerAtMost)
    .sort((a, b) => a.instances - b.instances || a.intraOpThreads - b.intraOpThreads);
  let best: Measured | undefined;
  for (const each of cheapestFirst) if (best === undefined || each.perSecond > best.perSecond * worthwhile) best = each;
  return best && { instances: best.instances, intraOpThreads: best.intraOpThreads };
}

/** Where the time per row stops falling. `sizes` ascend and begin with 1. */
export function largestBatch(sizes: readonly { batch: number; runMs: number }[]): number {
  let best = { batch: 1, rowMs: Number.POSITIVE_INFINITY };
  for (const { batch, runMs } of sizes) {
    if (batch > 1 && runMs > batchRunAtMostMs) break;
    const rowMs = runMs / batch;
    if (rowMs * worthwhile < best.rowMs) best = { batch, rowMs };
  }
  return best.batch;
}
