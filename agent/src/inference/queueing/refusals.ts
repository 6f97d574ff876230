// Why a request is not run, as its caller is told.
import { AppError } from '@edgeloop/shared/errors';

/** `waitMs` is the estimated time until the queue is empty. */
export function busy(queued: number, waitMs: number): AppError {
  const message = `the model is busy and its queue is full (${queued} requests); try again`;
  const retryAfterSeconds = Math.min(30, Math.max(1, Math.ceil(waitMs / 1000)));
  return new AppError('unavailable', message, { retryAfterSeconds });
}

/** It never ran: whoever takes the model's place may be asked instead. */
export class Abandoned extends AppError {
  constructor() {
    const message = 'nothing runs the model at this moment; it died and could not be started again';
    super('unavailable', message, { retryAfterSeconds: 1 });
  }
}

export function expired(): AppError {
  return new AppError('timeout', 'the deadline passed before the request ran; allow more time or send fewer requests');
}

export function callerLeft(): AppError {
  return new AppError('unavailable', 'the caller left before the request ran');
}
