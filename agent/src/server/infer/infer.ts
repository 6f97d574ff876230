// `POST …/infer` of the Open Inference Protocol, apart from how the request came: bytes in, bytes out.
import { AppError } from '@edgeloop/shared/errors';
import type { ModelLease } from '../../inference/engine.ts';
import { type Asked, type Call, type CallDeps, runCall } from '../call.ts';
import { codingFor, compressed } from '../compression.ts';
import type { Reply } from '../errors.ts';
import { type AnswerBody, checkOutputs, writeAnswer } from './answer.ts';
import { runOptions, timeoutHeader } from './options.ts';
import { readRawRequest, readRequest } from './request.ts';

const lengthHeader = 'inference-header-content-length';

/** A header of the request by its lower-case name. */
export type HeaderOf = (name: string) => string | undefined;

/** Throws what `runCall` throws. */
export async function infer(deps: CallDeps, asked: Asked, header: HeaderOf): Promise<Reply> {
  const answer = await runCall(deps, asked, (body, lease) => understand(body, lease, header, asked.startedMs));
  const coding = codingFor(header('accept-encoding'), answer.body.length);
  const body = coding === undefined ? answer.body : await compressed(answer.body, coding);
  return { status: 200, headers: headersOf(answer, coding, body), body };
}

function understand(body: Buffer, lease: ModelLease, header: HeaderOf, startedMs: number): Call<AnswerBody> {
  const { signature, interpretation } = lease.model;
  const jsonBytes = jsonBytesOf(header(lengthHeader));
  const request = jsonBytes === 0 ? readRawRequest(body, signature) : readRequest(body, jsonBytes);
  checkOutputs(request.outputs, signature.outputs);
  return {
    id: request.id,
    inputs: request.inputs,
    options: runOptions(request.parameters, header(timeoutHeader), startedMs),
    answer: (id, outputs) =>
      writeAnswer({
        name: lease.name,
        version: lease.version,
        id,
        request,
        outputs,
        scores: interpretation.scores,
      }),
  };
}

function jsonBytesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new AppError('invalid_request', 'Inference-Header-Content-Length must be the length of the JSON part in bytes');
}

function headersOf({ jsonBytes }: AnswerBody, coding: string | undefined, body: string | Buffer): Reply['headers'] {
  const headers: Reply['headers'] = {
    'Content-Type': jsonBytes === undefined ? 'application/json' : 'application/octet-stream',
    'Content-Length': String(Buffer.byteLength(body)),
  };
  if (jsonBytes !== undefined) headers['Inference-Header-Content-Length'] = String(jsonBytes);
  if (coding !== undefined) headers['Content-Encoding'] = coding;
  return headers;
}
