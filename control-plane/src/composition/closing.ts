// What was started is closed in the reverse order, everything once, whatever fails; also when a start breaks off halfway. There is
// one deadline for all of it, and what does not end has only a share of the time.
import { AppError } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';

type Close = (deadline: AbortSignal) => unknown;
export type Closing = ReturnType<typeof createClosing>;

/** So long each step may take, so that those after it have time. */
const mostOfAStepMs = 4000;
/** What is cut at its deadline may still end in order. */
const graceMs = 500;

export function createClosing(log: Logger, stepMs = mostOfAStepMs) {
  const steps: { name: string; close: Close }[] = [];
  return {
    /** Remembers how to end what has just been started. */
    add(name: string, close: Close): void {
      steps.push({ name, close });
    },

    /** Ends everything, and says what it did not wait for: steps that were not done at their deadline are left behind. */
    async run(deadline: AbortSignal): Promise<void> {
      const left: string[] = [];
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
        const { name, close } = step;
        const own = AbortSignal.any([deadline, AbortSignal.timeout(stepMs)]);
        const late = afterAbort(own);
        try {
          await Promise.race([Promise.resolve(close(own)), late.rejected]);
        } catch (error) {
          if (error === late.error) left.push(name);
          else log.error({ err: error }, `${name} did not close`);
        } finally {
          late.forget();
        }
      }
      if (left.length > 0) log.warn({ left }, `stopping does not wait any longer for: ${left.join(', ')}`);
    },
  };
}

/** Rejects a moment after the deadline. */
function afterAbort(deadline: AbortSignal) {
  const error = new AppError('timeout', 'not done in time');
  let timer: NodeJS.Timeout | undefined;
  const done = new AbortController();
  const rejected = new Promise<never>((_resolve, reject) => {
    const tell = () => {
      timer = setTimeout(() => reject(error), graceMs);
    };
    if (deadline.aborted) tell();
    else deadline.addEventListener('abort', tell, { once: true, signal: done.signal });
  });
  const forget = () => {
    clearTimeout(timer);
    done.abort();
  };
  return { error, rejected, forget };
}
