// What is asked of the supervising process for a caller, and waits for its answer.
import { AppError, type ErrorCode, type FieldError } from '@edgeloop/shared/errors';

export interface QuestionsOptions {
  timeoutMs: number;
  /** More that wait mean that it hangs. */
  most: number;
  /** What the caller is told when there is no answer. */
  noAnswer: string;
}

export interface Questions<Answer> {
  /** `send` sends the question under this id. Throws what is answered, or `unavailable` when nothing is. */
  ask(send: (requestId: number) => void): Promise<Answer>;
  /** The answer, or why there is none. One that nobody waits for any more is dropped. */
  settle(requestId: number, outcome: { answer: Answer } | { error: Refusal }): void;
}

interface Refusal {
  code: ErrorCode;
  message: string;
  errors?: FieldError[] | undefined;
}

export function createQuestions<Answer>({ timeoutMs, most, noAnswer }: QuestionsOptions): Questions<Answer> {
  const waiting = new Map<number, { resolve(answer: Answer): void; reject(error: AppError): void }>();
  let lastRequestId = 0;
  const unanswered = () => new AppError('unavailable', noAnswer, { retryAfterSeconds: 1 });

  return {
    ask(send) {
      if (waiting.size >= most) return Promise.reject(unanswered());
      lastRequestId += 1;
      const requestId = lastRequestId;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(requestId);
          reject(unanswered());
        }, timeoutMs);
        timer.unref();
        waiting.set(requestId, {
          resolve(answer) {
            clearTimeout(timer);
            resolve(answer);
          },
          reject(error) {
            clearTimeout(timer);
            reject(error);
          },
        });
        send(requestId);
      });
    },
    settle(requestId, outcome) {
      const asked = waiting.get(requestId);
      waiting.delete(requestId);
      if ('answer' in outcome) asked?.resolve(outcome.answer);
      else {
        const { code, message, errors = [] } = outcome.error;
        asked?.reject(new AppError(code, message, { errors }));
      }
    },
  };
}
