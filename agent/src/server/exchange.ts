// One request for a model whose head is there, by whichever way it came. What is done with it is written once, in
// `model-calls.ts`; the ways differ in how bytes come in and go out.
import type { AppError } from '@edgeloop/shared/errors';
import type { HangUp } from '../inference/queueing/hang-up.ts';
import type { Hold } from './body-memory.ts';
import type { CallHeaders } from './call-headers.ts';
import type { Reply } from './errors.ts';

export interface Exchange {
  readonly headers: CallHeaders;
  readonly caller: HangUp;
  /** The whole body, or why it can't be had. It is not read before it is asked for. */
  body(hold: Hold): Promise<Buffer | AppError> | Buffer | AppError;
  /** Calls `end` once the answer has left, or can't any more. */
  whenSent(end: () => void): void;
  /** Once. It may come before the body is whole: what is left of that is thrown away. */
  send(reply: Reply, traceparent: string | undefined): void;
}
