// Requests that belong to another serving process: those of the sequences of a model all live in one, whichever process their
// connection was handed to. It answers as if they had come to it.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createCaller } from '../inference/queueing/hang-up.ts';
import type { ForwardedCall, ForwardedReply } from '../process/ipc.ts';
import type { AppDeps } from './app.ts';
import type { Asked } from './call.ts';
import { errorReply, type Reply } from './errors.ts';
import { infer } from './infer/infer.ts';
import type { Limits } from './limits.ts';

/** Answers a call of gRPC; apart, since nothing of gRPC is loaded where it is switched off. */
export type AnswerGrpc = (call: Extract<ForwardedCall, { form: 'grpc' }>) => Promise<Buffer>;

/** Answers what another process has forwarded. @throws AppError for a call of gRPC, as it is told there */
export async function answerForwarded(
  deps: AppDeps,
  { memory }: Limits,
  call: ForwardedCall,
  grpc: AnswerGrpc,
): Promise<ForwardedReply> {
  if (call.form === 'grpc') return { form: 'grpc', body: (await grpc(call)).toString('base64') };
  const { model, version, url, headers } = call;
  const hold = memory.hold();
  let asked: Asked | undefined;
  try {
    const body = Buffer.from(call.body, 'base64');
    hold.take(body.length);
    const startedMs = deps.nowMs();
    const caller = createCaller();
    asked = {
      model,
      version,
      url,
      headers: { ...noHeaders, ...headers },
      body,
      startedMs,
      caller,
      hold,
      step: undefined,
    };
    return packed(await infer(deps, asked));
  } catch (error) {
    return packed(errorReply(error, deps.onUnexpected));
  } finally {
    asked?.step?.leave();
    hold.giveBack();
  }
}

const noHeaders = {
  authorization: undefined,
  traceparent: undefined,
  contentLength: undefined,
  contentType: undefined,
  contentEncoding: undefined,
  acceptEncoding: undefined,
  jsonBytes: undefined,
  timeoutMs: undefined,
  splitKey: undefined,
};

/** A request of HTTP as it is forwarded. */
export function forwardedCall({ model, version, url, headers, body }: Asked): ForwardedCall {
  if (body instanceof AppError) throw body;
  const { acceptEncoding, jsonBytes, timeoutMs } = headers;
  return {
    form: 'http',
    model,
    version,
    url,
    headers: { acceptEncoding, jsonBytes, timeoutMs },
    body: body.toString('base64'),
  };
}

function packed({ status, headers, body }: Reply): ForwardedReply {
  return { form: 'http', status, headers, body: Buffer.from(body).toString('base64') };
}

/** The answer to a request of HTTP. */
export function replyIn(reply: ForwardedReply): Reply {
  if (reply.form !== 'http') throw new AppError('internal', `another process answered in the form of ${reply.form}`);
  const { status, headers, body } = reply;
  return { status, headers, body: Buffer.from(body, 'base64') };
}

/** What the other process is told of a failure. */
export function failureOf(error: unknown) {
  const { code = 'internal' as const, retryAfterSeconds } = error instanceof AppError ? error : {};
  return { code, message: messageOf(error), retryAfterSeconds };
}
