// How many requests are summarised: enough for drift, a small share of the processor, and few bytes on the device's disk.
import { createProcessorBudget } from './processor-budget.ts';

/** Requests that are summarised, a second and model version at most. */
const mostPerSecond = 8;
/** Of one core, for each model version. */
const processorShare = 0.01;
/** One that took longer was most likely interrupted. */
const mostMs = 20;

export interface SummaryBudget {
  /** Whether the request that was answered at `atMs`, by a monotonic clock, is to be summarised. */
  isLeft(atMs: number): boolean;
  /** Does it, and counts what it took. */
  spend(work: () => void): void;
}

export function createSummaryBudget(nowMs: () => number): SummaryBudget {
  const budget = createProcessorBudget(processorShare);
  let nextMs = Number.NEGATIVE_INFINITY;
  return {
    isLeft(atMs) {
      if (atMs < nextMs || !budget.isLeft(atMs)) return false;
      nextMs = atMs + 1000 / mostPerSecond;
      return true;
    },
    spend(work) {
      const beganMs = nowMs();
      work();
      budget.take(Math.min(mostMs, nowMs() - beganMs));
    },
  };
}
