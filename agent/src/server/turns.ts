// Large requests take turns, so that memory stays bounded however many come at once: a body, its tensors, the outputs and
// the text of the answer are several times what was sent. Who waits is not read from; the caller's socket holds it back.
import { AppError } from '@edgeloop/shared/errors';

export interface TurnOptions {
  /** Requests below this never wait. */
  smallBytes: number;
  /** Bodies of so many bytes together have a turn at once; a larger one has it alone. */
  atOnceBytes: number;
  /** A turn that lasts longer (a caller who sends or reads slowly) holds up nobody any more. */
  turnMs: number;
  /** Who has waited so long is told to come back. */
  waitMs: number;
}

export interface Turns {
  /**
   * Undefined for a small request, which needs no turn; else resolves with what ends the turn. Rejects with `unavailable`
   * when it does not come in time.
   */
  take(bytes: number): Promise<() => void> | undefined;
}

interface Waiting {
  bytes: number;
  begin(): void;
}

export function createTurns({ smallBytes, atOnceBytes, turnMs, waitMs }: TurnOptions): Turns {
  const waiting: Waiting[] = [];
  let held = 0;

  const fits = (bytes: number): boolean => held === 0 || held + bytes <= atOnceBytes;

  const begin = (bytes: number): (() => void) => {
    held += bytes;
    let over = false;
    const end = (): void => {
      clearTimeout(timer);
      if (over) return;
      over = true;
      held -= bytes;
      for (let next = waiting[0]; next && fits(next.bytes); next = waiting[0]) next.begin();
    };
    const timer = setTimeout(end, turnMs);
    return end;
  };

  const wait = (bytes: number): Promise<() => void> =>
    new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        waiting.splice(waiting.indexOf(entry), 1);
      };
      const entry: Waiting = {
        bytes,
        begin() {
          leave();
          resolve(begin(bytes));
        },
      };
      const timer = setTimeout(() => {
        leave();
        reject(new AppError('unavailable', 'too many large requests at once; try again', { retryAfterSeconds: 1 }));
      }, waitMs);
      waiting.push(entry);
    });

  return {
    take(bytes) {
      if (bytes < smallBytes) return undefined;
      return waiting.length === 0 && fits(bytes) ? Promise.resolve(begin(bytes)) : wait(bytes);
    },
  };
}
