// A clock that all threads of the process share: `performance.now()` counts from the start of each thread.

/** Both clocks are read twice: the first reading may take milliseconds in a thread that just began. */
const readOffset = (): number => Number(process.hrtime.bigint()) / 1e6 - performance.now();
readOffset();
const offsetMs = readOffset();

/** Milliseconds, monotonic, the same in every thread. */
export function sharedNowMs(): number {
  return performance.now() + offsetMs;
}

/** A time of this thread's `performance.now()` on the shared clock. */
export function toSharedMs(ms: number): number {
  return ms + offsetMs;
}
