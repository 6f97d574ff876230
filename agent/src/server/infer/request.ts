// An inference request of the Open Inference Protocol, from the bytes of its body: JSON, and blobs of the binary tensor
// extension behind it.
import { AppError, parse } from '@edgeloop/shared/errors';
import { type Datatype, datatypes, type ModelSignature, type TensorSpec } from '@edgeloop/shared/tensors';
import { z } from 'zod';
import { elementCount, type NamedTensor, type TensorData } from '../../inference/tensors.ts';
import { decodeBlob, decodeText, elementBytes } from './binary.ts';
import {
  type Cursor,
  peek,
  readArray,
  readObject,
  readPiece,
  readString,
  skipValue,
  syntaxError,
  unexpected,
} from './cursor.ts';
import { readData } from './elements.ts';
import { readNumber } from './numbers.ts';

const Parameters = z.record(z.string(), z.unknown());
export type Parameters = z.infer<typeof Parameters>;

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

/** An input as it is read; which keys there are shows at its end. */
interface Draft {
  name?: string;
  datatype?: Datatype;
  shape?: number[];
  data?: TensorData;
  /** Where its data begins, when that came before what says how to read it. */
  dataAt?: number;
  blobBytes?: number;
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
  const request: InferRequest = { id: undefined, parameters: {}, inputs: [], outputs: [] };
  const drafts: Draft[] = [];
  const seen = new Set<string>();
  if (peek(cursor) !== 0x7b) throw notAnObject(cursor);
  readObject(cursor, (key) => {
    once(seen, key, 'request');
    readField(cursor, key, request, drafts);
  });
  if (peek(cursor) !== 0 || cursor.at < end) throw syntaxError(cursor, 'more behind its end');
  if (!seen.has('inputs')) throw new AppError('invalid_request', 'request.inputs is missing');
  request.inputs = withBlobs(drafts, body, end);
  return request;
}

function notAnObject(cursor: Cursor): AppError {
  skipValue(cursor);
  return new AppError('invalid_request', 'request must be an object with "inputs"');
}

const known = new Set(['id', 'parameters', 'inputs', 'outputs', 'name', 'datatype', 'shape', 'data']);

/** Readers disagree about which of two counts, so neither does. */
function once(seen: Set<string>, key: string, where: string): void {
  if (!known.has(key)) return;
  if (seen.has(key)) throw new AppError('invalid_request', `${where}.${key} is given twice`);
  seen.add(key);
}

function readField(cursor: Cursor, key: string, request: InferRequest, drafts: Draft[]): void {
  switch (key) {
    case 'id':
      request.id = readId(cursor);
      return;
    case 'parameters':
      request.parameters = readParameters(cursor, 'request.parameters');
      return;
    case 'inputs':
      expectArray(cursor, 'request.inputs');
      readArray(cursor, (place) => drafts.push(readInput(cursor, place)));
      return;
    case 'outputs':
      request.outputs = readOutputs(cursor);
      return;
    default:
      skipValue(cursor);
  }
}

function expectArray(cursor: Cursor, field: string): void {
  if (peek(cursor) !== 0x5b) throw unexpected(cursor, `${field} must be an array`);
}

function readId(cursor: Cursor): string | undefined {
  if (isNull(cursor)) return undefined;
  const id = expectText(cursor, 'request.id');
  if (id.length > 200) throw new AppError('invalid_request', 'request.id must have at most 200 characters');
  return id || undefined;
}

/** KServe's client writes null for what is not given. */
function isNull(cursor: Cursor): boolean {
  if (peek(cursor) !== 0x6e) return false;
  skipValue(cursor);
  return true;
}

function expectText(cursor: Cursor, field: string): string {
  if (peek(cursor) !== 0x22) throw unexpected(cursor, `${field} must be a string`);
  return readString(cursor);
}

function readParameters(cursor: Cursor, field: string): Parameters {
  if (isNull(cursor)) return {};
  if (peek(cursor) !== 0x7b) throw unexpected(cursor, `${field} must be an object`);
  const value = readPiece(cursor, field);
  // Not by a schema: copying the object would lose names such as `__proto__`.
  if (isParameters(value)) return value;
  throw new AppError('invalid_request', `${field} must be an object`);
}

function isParameters(value: unknown): value is Parameters {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readOutputs(cursor: Cursor): RequestedOutput[] {
  if (isNull(cursor)) return [];
  const outputs = parse(RequestedOutputs, readPiece(cursor, 'request.outputs'), 'request.outputs');
  const names = new Set<string>();
  for (const { name } of outputs) {
    if (names.has(name)) throw new AppError('invalid_request', `output "${name}" is asked for twice`);
    names.add(name);
  }
  return outputs;
}

function readInput(cursor: Cursor, place: number): Draft {
  const draft: Draft = {};
  const seen = new Set<string>();
  const field = `request.inputs.${place}`;
  if (peek(cursor) !== 0x7b) throw unexpected(cursor, `${field} must be an object`);
  readObject(cursor, (key) => {
    once(seen, key, field);
    readInputField(cursor, key, draft, field);
  });
  if (draft.dataAt !== undefined) {
    const end = cursor.at;
    cursor.at = draft.dataAt;
    draft.data = readData(cursor, whole(draft, field));
    cursor.at = end;
  }
  return { ...draft, ...whole(draft, field) };
}

function readInputField(cursor: Cursor, key: string, draft: Draft, field: string): void {
  const { name, datatype, shape } = draft;
  switch (key) {
    case 'name':
      draft.name = expectText(cursor, `${field}.name`);
      return;
    case 'datatype':
      draft.datatype = datatypeOf(expectText(cursor, `${field}.datatype`), draft, field);
      return;
    case 'shape':
      draft.shape = readShape(cursor, draft.name === undefined ? field : `input "${draft.name}"`);
      return;
    case 'data':
      if (name !== undefined && datatype !== undefined && shape !== undefined) {
        draft.data = readData(cursor, { name, datatype, shape });
      } else {
        peek(cursor);
        draft.dataAt = cursor.at;
        skipValue(cursor);
      }
      return;
    case 'parameters':
      draft.blobBytes = blobBytesOf(readParameters(cursor, `${field}.parameters`), draft, field);
      return;
    default:
      skipValue(cursor);
  }
}

const byText = new Map<string, Datatype>(datatypes.map((datatype) => [datatype, datatype]));

function datatypeOf(text: string, { name }: Draft, field: string): Datatype {
  const datatype = byText.get(text);
  if (datatype) return datatype;
  const where = name === undefined ? '' : ` of input "${name}"`;
  if (text === 'BF16') {
    const message = `${field}.datatype${where}: BF16 can't be served, the runtime's binding has no such tensor`;
    throw new AppError('invalid_request', message);
  }
  throw new AppError('invalid_request', `${field}.datatype${where} must be one of ${datatypes.join(', ')}`);
}

const maxRank = 32;
const maxDimension = 2 ** 31 - 1;

function readShape(cursor: Cursor, where: string): number[] {
  expectArray(cursor, `${where}: shape`);
  const shape: number[] = [];
  readArray(cursor, () => {
    peek(cursor);
    const dim = readNumber(cursor);
    if (dim === undefined || !Number.isInteger(dim) || dim < 0 || dim > maxDimension) {
      throw new AppError('invalid_request', `${where}: shape must hold integers from 0 to ${maxDimension}`);
    }
    if (shape.push(dim) > maxRank) {
      throw new AppError('invalid_request', `${where}: shape must have at most ${maxRank} dimensions`);
    }
  });
  return shape;
}

function blobBytesOf(parameters: Parameters, { name }: Draft, field: string): number | undefined {
  const where = name === undefined ? field : `input "${name}"`;
  if (Object.hasOwn(parameters, 'shared_memory_region')) {
    throw new AppError('invalid_request', `${where}: shared memory is not supported; send the data itself`);
  }
  const size = Object.hasOwn(parameters, 'binary_data_size') ? parameters.binary_data_size : undefined;
  if (size === undefined) return undefined;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return size;
  throw new AppError('invalid_request', `${where}: binary_data_size must be a number of bytes`);
}

function whole({ name, datatype, shape }: Draft, field: string): { name: string; datatype: Datatype; shape: number[] } {
  if (name === undefined) throw new AppError('invalid_request', `${field}.name is missing`);
  if (datatype === undefined) throw new AppError('invalid_request', `input "${name}": datatype is missing`);
  if (shape === undefined) throw new AppError('invalid_request', `input "${name}": shape is missing`);
  return { name, datatype, shape };
}

function withBlobs(drafts: readonly Draft[], body: Buffer, jsonEnd: number): NamedTensor[] {
  const names = new Set<string>();
  let at = jsonEnd;
  const inputs = drafts.map((draft, place) => {
    const { name, datatype, shape } = whole(draft, `request.inputs.${place}`);
    if (names.has(name)) throw new AppError('invalid_request', `input "${name}" is given twice`);
    names.add(name);
    const start = at;
    at += draft.blobBytes ?? 0;
    return { name, datatype, shape, data: dataOf(draft, name, () => blobAt(body, start, at, name)) };
  });
  if (at !== body.length) {
    throw new AppError('invalid_request', `the body has ${body.length - at} bytes more than its inputs say`);
  }
  return inputs;
}

function dataOf(draft: Draft, name: string, blob: () => Buffer): TensorData {
  if (draft.blobBytes === undefined) {
    if (draft.data) return draft.data;
    throw new AppError('invalid_request', `input "${name}": data is missing`);
  }
  if (draft.data) throw new AppError('invalid_request', `input "${name}" has both data and binary_data_size`);
  return decodeBlob({ ...whole(draft, name) }, blob());
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
    parameters: { binary_data_output: true },
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
  const elements = datatype === 'BYTES' ? 1 : bytes / elementBytes[datatype];
  const fixed = elementCount(dims.filter((dim) => dim !== -1));
  return dims.map((dim) => (dim === -1 ? Math.floor(elements / Math.max(1, fixed)) : dim));
}
