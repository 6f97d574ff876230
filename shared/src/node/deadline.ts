// Work with a bound on its time that can be stopped sooner. For signals that last as long as the program: of
// `AbortSignal.any` something would stay on them each time.

/**
 * Does `work` with a signal that aborts after `ms` with a `TimeoutError`, and with `signal`'s reason when that aborts. Settles
 * as `work` does; nothing is left on `signal` then.
 */
export async function withDeadline<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ending = new AbortController();
  const stop = (): void => ending.abort(signal.reason);
  const late = (): void => ending.abort(new DOMException(`it took longer than ${ms} ms`, 'TimeoutError'));
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(late, ms);
  try {
    return await work(ending.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}
