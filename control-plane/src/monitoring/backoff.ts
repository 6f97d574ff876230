// How long to wait before trying again.

/** Doubles from 2 s up to 5 min with the number of failed attempts. */
export function backoffMs(attempts: number): number {
  return Math.min(1000 * 2 ** Math.min(attempts, 20), 300_000);
}
