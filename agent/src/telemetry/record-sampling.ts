// How many feature values go to the journal: enough for drift and capture, however many requests there are.
import type { Manifest } from '@edgeloop/shared/manifest';

/** Rows whose features are recorded, a second and model version. */
const rowsPerSecond = 512;
/** A row with more values than this counts as several. */
const valuesPerRow = 4096;

export interface FeatureBudget {
  /** Whether the features of a request with so many rows, answered at `atMs`, are to be recorded. */
  take(rows: number, width: number, atMs: number): boolean;
}

/**
 * A budget that refills every second. A request bigger than what is left may overdraw a budget that isn't empty, so that
 * callers of large batches are sampled as well. Its times are those of a monotonic clock.
 */
export function createFeatureBudget(): FeatureBudget {
  let left = rowsPerSecond;
  let refilledMs = Number.NEGATIVE_INFINITY;
  return {
    take(rows, width, atMs) {
      left = Math.min(rowsPerSecond, left + ((atMs - refilledMs) / 1000) * rowsPerSecond);
      refilledMs = atMs;
      if (left < 1) return false;
      left -= rows * Math.max(1, width / valuesPerRow);
      return true;
    },
  };
}

/** Whether anyone wants feature values of this model: drift against a reference, or capture. */
export function wantsFeatures({ monitoring, capture }: Manifest): boolean {
  return (
    monitoring.reference !== undefined ||
    capture.rate > 0 ||
    capture.confidenceBelow !== undefined ||
    capture.labelledRate > 0
  );
}
