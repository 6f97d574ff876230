// `POST …/infer` of the Open Inference Protocol, apart from how the request came: bytes in, bytes out.
import { AppError } from '@edgeloop/shared/errors';
import type { ModelLease } from '../../inference/engine.ts';
import { type Asked, type Call, type CallDeps, inSequence, runCall } from '../call.ts';
import { codingFor, compressed } from '../compression.ts';
import type { Reply } from '../errors.ts';
import { splitKeyOf } from '../split.ts';
import { type AnswerBody, checkOutputs, writeAnswer } from './answer.ts';
import { runOptions } from './options.ts';
import { readRawRequest, readRequest } from './request.ts';
import { keepsSequences, sequenceOf } from './sequence.ts';

/** Throws what `runCall` throws. */
export function infer(deps: CallDeps, asked: Asked): Promise<Reply> {
  return runCall(deps, asked, (body, lease) => understand(deps, asked, body, lease));
}

function understand(deps: CallDeps, asked: Asked, body: Buffer, lease: ModelLease): Call<Reply> | Promise<Call<Reply>> {
  const { headers, startedMs } = asked;
  const { signature, interpretation } = lease.model;
  const jsonBytes = jsonBytesOf(headers.jsonBytes);
  const request = jsonBytes === 0 ? readRawRequest(body, signature) : readRequest(body, jsonBytes);
  checkOutputs(request.outputs, signature.outputs);
  const call: Call<Reply> = {
    id: request.id,
    splitKey: splitKeyOf(request.parameters),
    inputs: request.inputs,
    options: runOptions(request.parameters, headers.timeoutMs, startedMs),
    answer(id, outputs) {
      const { name, version } = lease;
      const { scores } = interpretation;
      return reply(writeAnswer({ name, version, id, request, outputs, scores }), headers.acceptEncoding);
    },
  };
  const ask = keepsSequences(interpretation) ? sequenceOf(request.parameters) : undefined;
  return ask ? inSequence(deps, asked, { lease, ask, call }) : call;
}

function reply(answer: AnswerBody, accepted: string | undefined): Reply | Promise<Reply> {
  const { body } = answer;
  const coding = codingFor(accepted, body.length);
  if (coding === undefined) return { status: 200, headers: answerHeaders(answer, coding, body), body };
  return compressed(body, coding).then((packed) => ({
    status: 200,
    headers: answerHeaders(answer, coding, packed),
    body: packed,
  }));
}

function jsonBytesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new AppError('invalid_request', 'Inference-Header-Content-Length must be the length of the JSON part in bytes');
}

function answerHeaders({ jsonBytes }: AnswerBody, coding: string | undefined, body: string | Buffer): Reply['headers'] {
  const headers: Reply['headers'] = {
    'Content-Type': jsonBytes === undefined ? 'application/json' : 'application/octet-stream',
    'Content-Length': String(Buffer.byteLength(body)),
  };
  if (jsonBytes !== undefined) headers['Inference-Header-Content-Length'] = String(jsonBytes);
  if (coding !== undefined) headers['Content-Encoding'] = coding;
  return headers;
}
