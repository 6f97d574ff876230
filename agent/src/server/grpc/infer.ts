// ModelInfer and each message of ModelStreamInfer: from bytes to an answer, on the same way as the requests of HTTP.
import { AppError } from '@edgeloop/shared/errors';
import type { HangUp } from '../../inference/queueing/hang-up.ts';
import { type Asked, type Call, type CallDeps, inSequence, runCall } from '../call.ts';
import type { CallHeaders } from '../call-headers.ts';
import { checkOutputs } from '../infer/answer.ts';
import { runOptions } from '../infer/options.ts';
import { keepsSequences, sequenceOf } from '../infer/sequence.ts';
import type { Limits } from '../limits.ts';
import { splitKeyOf } from '../split.ts';
import { type InferAnswer, inferAnswer } from './infer-answer.ts';
import { type InferMessage, readInferMessage, requestOf } from './infer-request.ts';

export interface InferCall {
  path: string;
  caller: HangUp;
  /** Milliseconds that the caller waits at most, undefined for ever. */
  timeoutMs: number | undefined;
  /** Called with what ends the turn of a large message. */
  onTurn(end: () => void): void;
}

/** Answers one message. Throws what `runCall` throws, and `invalid_request` for what is no message. */
export async function inferMessage(
  deps: CallDeps,
  { memory, turns }: Limits,
  bytes: Buffer,
  call: InferCall,
): Promise<InferAnswer> {
  const hold = memory.hold();
  let asked: Asked | undefined;
  try {
    hold.take(bytes.length);
    const turn = turns.take(bytes.length);
    if (turn) call.onTurn(await turn);
    const message = readInferMessage(bytes);
    const { model_name: model, model_version: version } = message;
    if (model === '') throw new AppError('invalid_request', 'request.model_name is missing');
    const own: Asked = {
      model,
      version: version === '' ? undefined : version,
      url: call.path,
      headers: headersOf(call.timeoutMs),
      body: bytes,
      startedMs: deps.nowMs(),
      caller: call.caller,
      hold,
      step: undefined,
    };
    asked = own;
    return await runCall(deps, own, (_, lease) => {
      const { name, version: served, model: loaded } = lease;
      const call = understand(message, own, { name, version: served, ...loaded });
      const ask = keepsSequences(loaded.interpretation) ? sequenceOf(requestOf(message).parameters) : undefined;
      return ask ? inSequence(deps, own, { lease, ask, call }) : call;
    });
  } finally {
    asked?.step?.leave();
    hold.giveBack();
  }
}

function understand(
  message: InferMessage,
  { headers, startedMs }: { headers: CallHeaders; startedMs: number },
  { name, version, signature, interpretation }: Served,
): Call<InferAnswer> {
  const request = requestOf(message);
  checkOutputs(request.outputs, signature.outputs);
  return {
    id: request.id,
    splitKey: splitKeyOf(request.parameters),
    inputs: request.inputs,
    options: runOptions(request.parameters, headers.timeoutMs, startedMs),
    answer: (id, outputs) =>
      inferAnswer({ name, version, id, request, outputs, scores: interpretation.scores }, message.parameters),
  };
}

type Lease = Parameters<Parameters<typeof runCall>[2]>[1];
type Served = Pick<Lease, 'name' | 'version'> & Pick<Lease['model'], 'signature' | 'interpretation'>;

/** What HTTP says in headers is in the message here, but for how long the caller waits. */
function headersOf(timeoutMs: number | undefined): CallHeaders {
  return {
    authorization: undefined,
    traceparent: undefined,
    contentLength: undefined,
    contentType: undefined,
    contentEncoding: undefined,
    acceptEncoding: undefined,
    jsonBytes: undefined,
    splitKey: undefined,
    timeoutMs: timeoutMs === undefined ? undefined : Math.min(Math.max(timeoutMs, 0.001), 999_999_999).toFixed(3),
  };
}
