// What was started is closed in the reverse order, everything once, whatever fails; also when a start breaks off halfway.
import { AppError } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';

type Close = (deadline: AbortSignal) => unknown;
export type Closing = ReturnType<typeof createClosing>;

export function createClosing(log: Logger) {
  const steps: { name: string; close: Close }[] = [];
  return {
    /** Remembers how to end what has just been started. */
    add(name: string, close: Close): void {
      steps.push({ name, close });
    },

    /** Ends everything. A step that is not done at the deadline is left behind. */
    async run(deadline: AbortSignal): Promise<void> {
      const late = afterAbort(deadline);
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
        const { name, close } = step;
        try {
          await Promise.race([Promise.resolve(close(deadline)), late]);
        } catch (error) {
          log.error({ err: error }, `${name} did not close`);
        }
      }
    },
  };
}

/** Rejects a moment after the deadline: what it cuts may still end in order. */
function afterAbort(deadline: AbortSignal): Promise<never> {
  const late = new Promise<never>((_resolve, reject) => {
    const tell = () => setTimeout(() => reject(new AppError('timeout', 'not done in time')), 500).unref();
    if (deadline.aborted) tell();
    else deadline.addEventListener('abort', tell, { once: true });
  });
  // Nobody may be waiting any more when it rejects.
  late.catch(() => undefined);
  return late;
}
