// Fetching no faster than a link may be used: whoever has taken bytes waits until they would have come at that rate.
import { pause } from '@edgeloop/shared/node/backoff';

export interface Bandwidth {
  /** Resolves when the next bytes may be read, and at once when aborted. */
  took(bytes: number, signal: AbortSignal): Promise<void>;
}

/** Shared by all transfers that it bounds. `kbps`: kilobits (1000 bits) a second, undefined for no bound. */
export function createBandwidth(kbps: number | undefined, nowMs: () => number = () => performance.now()): Bandwidth {
  let paidUntilMs = 0;
  return {
    async took(bytes, signal) {
      if (kbps === undefined) return;
      const now = nowMs();
      paidUntilMs = Math.max(paidUntilMs, now) + (bytes * 8) / kbps;
      await pause(paidUntilMs - now, signal);
    },
  };
}
