// An inference request of the Open Inference Protocol, from the bytes of its body: JSON, and blobs of the binary tensor
// extension behind it.
import { AppError, parse } from '@edgeloop/shared/errors';
import { elementCount, type NamedTensor, type TensorData } from '@edgeloop/shared/tensor-data';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { z } from 'zod';
import { bytesOf } from '../../inference/typed-arrays.ts';
import { decodeBlob, decodeText } from './binary.ts';
import { type Cursor, peek, readArray, readObject, readPiece, skipValue, syntaxError } from './cursor.ts';
import { expectArray, expectText, isNull, noParameters, once, type Parameters, readParameters } from './fields.ts';
import { type InputHead, readInput } from './input.ts';

const RequestedOutputs = z
  .array(
    z.object({
      name: z.string(),
      parameters: z
        .object({
          binary_data: z.boolean(),
          classification: z.number().int().min(0),
          shared_memory_region: z.never('shared memory is not supported; send and take the data itself'),
        })
        .partial()
        .nullish(),
    }),
  )
  .max(10_000);
export type RequestedOutput = z.infer<typeof RequestedOutputs>[number];

export interface InferRequest {
  /** The caller's id; unset or empty when one is to be made. */
  id: string | undefined;
  parameters: Parameters;
  inputs: NamedTensor[];
  /** None: all outputs, in the form that `binary_data_output` says. */
  outputs: RequestedOutput[];
}

/** Reads a body whose first `jsonBytes` are JSON (all of it when undefined). Throws `invalid_request`. */
export function readRequest(body: Buffer, jsonBytes: number | undefined): InferRequest {
  const end = jsonBytes ?? body.length;
  if (end > body.length) {
    throw new AppError(
      'invalid_request',
      `Inference-Header-Content-Length is ${end}, the body has ${body.length} bytes`,
    );
  }
  const cursor: Cursor = { bytes: end === body.length ? body : body.subarray(0, end), at: 0 };
  const request: InferRequest = { id: undefined, parameters: noParameters, inputs: [], outputs: [] };
  const heads: InputHead[] = [];
  const seen: string[] = [];
  if (peek(cursor) !== 0x7b) throw notAnObject(cursor);
  readObject(cursor, (key) => {
    once(seen, key, 'request');
    readField(cursor, key, request, heads);
  });
  if (peek(cursor) !== 0 || cursor.at < end) throw syntaxError(cursor, 'more behind its end');
  if (!seen.includes('inputs')) throw new AppError('invalid_request', 'request.inputs is missing');
  request.inputs = withBlobs(heads, body, end);
  return request;
}

function notAnObject(cursor: Cursor): AppError {
  skipValue(cursor);
  return new AppError('invalid_request', 'request must be an object with "inputs"');
}

function readField(cursor: Cursor, key: string, request: InferRequest, heads: InputHead[]): void {
  switch (key) {
    case 'id':
      request.id = readId(cursor);
      return;
    case 'parameters':
      request.parameters = readParameters(cursor, 'request.parameters');
      return;
    case 'inputs':
      expectArray(cursor, 'request.inputs');
      readArray(cursor, (place) => heads.push(readInput(cursor, place)));
      return;
    case 'outputs':
      request.outputs = readOutputs(cursor);
      return;
    default:
      skipValue(cursor);
  }
}

function readId(cursor: Cursor): string | undefined {
  if (isNull(cursor)) return undefined;
  return checkedId(expectText(cursor, 'request.id'));
}

/** Undefined for none. Throws `invalid_request` for one that is too long. */
export function checkedId(id: string): string | undefined {
  if (id.length > 200) throw new AppError('invalid_request', 'request.id must have at most 200 characters');
  return id || undefined;
}

function readOutputs(cursor: Cursor): RequestedOutput[] {
  return isNull(cursor) ? [] : checkedOutputs(readPiece(cursor, 'request.outputs'));
}

/** Throws `invalid_request`. */
export function checkedOutputs(value: unknown): RequestedOutput[] {
  const outputs = parse(RequestedOutputs, value, 'request.outputs');
  const names = new Set<string>();
  for (const { name } of outputs) {
    if (names.has(name)) throw new AppError('invalid_request', `output "${name}" is asked for twice`);
    names.add(name);
  }
  return outputs;
}

/** Blobs follow the JSON in the order of the inputs. */
function withBlobs(heads: readonly InputHead[], body: Buffer, jsonEnd: number): NamedTensor[] {
  let at = jsonEnd;
  const inputs = heads.map((head) => {
    const { name, datatype, shape } = head;
    const start = at;
    at += head.blobBytes ?? 0;
    return { name, datatype, shape, data: dataOf(head, body, start) };
  });
  if (at !== body.length) {
    throw new AppError('invalid_request', `the body has ${body.length - at} bytes more than its inputs say`);
  }
  return inputs;
}

function dataOf(head: InputHead, body: Buffer, start: number): TensorData {
  const { name, data, blobBytes } = head;
  if (blobBytes === undefined) {
    if (data) return data;
    throw new AppError('invalid_request', `input "${name}": data is missing`);
  }
  if (data) throw new AppError('invalid_request', `input "${name}" has both data and binary_data_size`);
  return decodeBlob(head, blobAt(body, start, start + blobBytes, name));
}

function blobAt(body: Buffer, start: number, end: number, name: string): Buffer {
  if (end <= body.length) return body.subarray(start, end);
  const left = Math.max(0, body.length - start);
  const message = `input "${name}": binary_data_size is ${end - start}, but only ${left} bytes are left in the body`;
  throw new AppError('invalid_request', message);
}

/** A raw request (`Inference-Header-Content-Length: 0`): the whole body is the only input. Throws `invalid_request`. */
export function readRawRequest(body: Buffer, { inputs }: ModelSignature): InferRequest {
  const [spec] = inputs;
  if (!spec || inputs.length > 1) {
    throw new AppError('invalid_request', `a raw request needs a model with one input; this one has ${inputs.length}`);
  }
  const { name, datatype } = spec;
  const shape = rawShape(spec, body.length);
  const data = datatype === 'BYTES' ? [decodeText(name, body, 0)] : decodeBlob({ name, datatype, shape }, body);
  return {
    id: undefined,
    parameters: new Map([['binary_data_output', true]]),
    inputs: [{ name, datatype, shape, data }],
    outputs: [],
  };
}

/** Batch 1, and the one other free dimension by the length of the body. */
function rawShape({ name, datatype, shape }: TensorSpec, bytes: number): number[] {
  const free = shape.filter((dim) => dim === -1).length;
  const dims = free > 1 && shape[0] === -1 ? [1, ...shape.slice(1)] : [...shape];
  if (dims.filter((dim) => dim === -1).length > 1) {
    throw new AppError('invalid_request', `input "${name}" [${shape}] has too many free dimensions for a raw request`);
  }
  const elements = datatype === 'BYTES' ? 1 : bytes / bytesOf[datatype];
  const fixed = elementCount(dims.filter((dim) => dim !== -1));
  return dims.map((dim) => (dim === -1 ? Math.floor(elements / Math.max(1, fixed)) : dim));
}
