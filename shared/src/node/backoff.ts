// Waiting between attempts: exponential with jitter, so that a fleet does not return in step.
import { setTimeout as delay } from 'node:timers/promises';

export interface Backoff {
  firstMs: number;
  mostMs: number;
}

/** Milliseconds to wait after `failures` failures in a row (1 and up); between half of and the whole exponential step. */
export function backoffMs(failures: number, { firstMs, mostMs }: Backoff, random: () => number = Math.random): number {
  const step = Math.min(mostMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(step / 2 + (step / 2) * random());
}

/** Waits `ms`; returns at once when aborted. True when the time is over, false when aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await delay(ms, undefined, { signal });
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}
