// ModelInfer of sequences that live in another serving process: it answers with the bytes of its response.
import { AppError } from '@edgeloop/shared/errors';
import { createCaller } from '../../inference/queueing/hang-up.ts';
import type { AppDeps } from '../app.ts';
import { BelongsElsewhere } from '../call.ts';
import type { AnswerGrpc } from '../forwarded.ts';
import type { Limits } from '../limits.ts';
import { type InferCall, inferMessage } from './infer.ts';
import { encodeExact } from './schema.ts';

type MessageCall = InferCall & { stream: boolean };

/** The response to one message, or its bytes. Throws what `inferMessage` throws. */
export async function answerMessage(deps: AppDeps, limits: Limits, bytes: Buffer, call: MessageCall): Promise<object> {
  try {
    const response = await inferMessage(deps, limits, bytes, call);
    if (!call.stream) return response;
    // Triton's clients count on it when they ask for empty final answers.
    response.parameters.triton_final_response = { bool_param: true };
    return { infer_response: response };
  } catch (error) {
    if (!(error instanceof BelongsElsewhere) || deps.neighbours === undefined) throw error;
    const { path, timeoutMs, stream } = call;
    const body = bytes.toString('base64');
    const reply = await deps.neighbours.forward(error.home, { form: 'grpc', path, stream, timeoutMs, body });
    if (reply.form !== 'grpc') throw new AppError('internal', `another process answered in the form of ${reply.form}`);
    return Buffer.from(reply.body, 'base64');
  }
}

/** What `answerMessage` gives, as it is sent. */
export function encodeAnswer(answer: object, stream: boolean): Buffer {
  if (Buffer.isBuffer(answer)) return answer;
  return encodeExact(stream ? 'ModelStreamInferResponse' : 'ModelInferResponse', answer);
}

/** Answers what another process has forwarded. */
export function createForwardedAnswers(deps: AppDeps, limits: Limits): AnswerGrpc {
  return async ({ path, timeoutMs, stream, body }) => {
    const caller = createCaller();
    let endTurn: (() => void) | undefined;
    const onTurn = (end: () => void): void => {
      endTurn = end;
    };
    try {
      const call = { path, timeoutMs, stream, caller, onTurn };
      return encodeAnswer(await answerMessage(deps, limits, Buffer.from(body, 'base64'), call), stream);
    } finally {
      endTurn?.();
    }
  };
}
