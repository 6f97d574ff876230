// Bounds what something takes of the processor: what it was measured to take is taken from what time gives it.

export interface ProcessorBudget {
  /** Whether something may be begun now. */
  isLeft(nowMs: number): boolean;
  /** Milliseconds that it took. */
  take(tookMs: number): void;
}

/** It may take this long what it has not taken before. */
const savedMs = 1000;

/** `share` of one core, from 0 to 1. The clock is monotonic. */
export function createProcessorBudget(share: number): ProcessorBudget {
  let leftMs = savedMs * share;
  let atMs = Number.NEGATIVE_INFINITY;
  return {
    isLeft(nowMs) {
      leftMs = Math.min(savedMs * share, leftMs + (nowMs - atMs) * share);
      atMs = nowMs;
      return leftMs > 0;
    },
    take(tookMs) {
      leftMs -= tookMs;
    },
  };
}
