// Waiting for a condition with a deadline.
import { AppError, messageOf } from '@edgeloop/shared/errors';

/** For any step of the loop: a small machine that does other work as well takes minutes for some. */
export const patienceMs = 600_000;

export interface Waiting {
  /** What is waited for, for the message when it does not come. */
  what: string;
  timeoutMs: number;
  everyMs?: number;
  signal: AbortSignal;
}

/**
 * Asks until there is an answer.
 * @throws AppError `timeout` with the last failure of asking; the signal's reason when it is aborted
 */
export async function waitFor<T>(
  { what, timeoutMs, everyMs = 250, signal }: Waiting,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let failure: unknown;
  while (performance.now() < deadline) {
    signal.throwIfAborted();
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      failure = error;
    }
    await pause(everyMs, signal);
  }
  const last = failure === undefined ? '' : ` (${messageOf(failure)})`;
  throw new AppError('timeout', `${what} did not happen within ${Math.round(timeoutMs / 1000)} s${last}`, {
    cause: failure,
  });
}

/** Waits; rejects with the signal's reason when it is aborted meanwhile. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
