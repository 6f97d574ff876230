// ModelStreamInfer: requests on one stream run beside each other, and are answered in the order in which they came. One that
// fails is told so in its answer, and the stream goes on.
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import { createCaller } from '../../inference/queueing/hang-up.ts';
import type { GrpcStatus } from './failures.ts';

/** Requests of one stream that are run at a time; more are not read. */
const mostAtOnce = 32;

export type StreamCall = ServerDuplexStream<Buffer, object>;

export interface InferStream {
  /** Takes no more requests: ends when those that were taken are answered. */
  close(): void;
}

/** `answer` never rejects. */
export function serveStream(
  call: StreamCall,
  answer: (bytes: Buffer, caller: ReturnType<typeof createCaller>) => Promise<object>,
  stopping: () => GrpcStatus,
): InferStream {
  const caller = createCaller();
  call.once('cancelled', caller.hangUp);
  let open = 0;
  let closing = false;
  let last = Promise.resolve();

  const endIfDone = (): void => {
    if (closing && open === 0 && !caller.gone) call.emit('error', stopping());
  };
  const send = async (answered: Promise<object>): Promise<void> => {
    await write(call, await answered, caller);
    open--;
    if (call.isPaused()) call.resume();
    endIfDone();
  };

  call.on('data', (bytes: Buffer) => {
    if (closing) return;
    open++;
    if (open >= mostAtOnce) call.pause();
    const answered = answer(bytes, caller);
    last = last.then(() => send(answered));
  });
  call.once('end', () => void last.then(() => call.end()));
  return {
    close() {
      closing = true;
      endIfDone();
    },
  };
}

/** Resolves when it is on its way, or nobody is there to take it. */
function write(call: StreamCall, message: object, caller: ReturnType<typeof createCaller>): Promise<void> {
  if (caller.gone) return Promise.resolve();
  return new Promise((resolve) => {
    const leave = (): void => resolve();
    caller.notify(leave);
    call.write(message, () => {
      caller.forget(leave);
      resolve();
    });
  });
}

export const stoppingStatus = { code: status.UNAVAILABLE, details: 'the agent is stopping or restarting; try again' };
