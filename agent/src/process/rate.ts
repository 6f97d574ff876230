// How often something may be done: a bucket of so many times that fills again with so many a second.

export interface Rate {
  /** Takes one. 0 when it was there, else the seconds until one will be. */
  take(): number;
}

/** `nowMs` is a monotonic clock. */
export function createRate(
  { perSecond, burst = Math.max(1, Math.ceil(perSecond)) }: { perSecond: number; burst?: number | undefined },
  nowMs: () => number,
): Rate {
  let left = burst;
  let filledMs = nowMs();
  return {
    take() {
      const now = nowMs();
      left = Math.min(burst, left + ((now - filledMs) / 1000) * perSecond);
      filledMs = now;
      if (left < 1) return Math.max(1, Math.ceil((1 - left) / perSecond));
      left--;
      return 0;
    },
  };
}
