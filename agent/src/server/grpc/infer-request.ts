// A ModelInferRequest: from its bytes to what the JSON of an inference request is read to.
import { AppError, parse } from '@edgeloop/shared/errors';
import type { NamedTensor, TensorData } from '@edgeloop/shared/tensor-data';
import { elementCount } from '@edgeloop/shared/tensor-data';
import type { Datatype } from '@edgeloop/shared/tensors';
import { z } from 'zod';
import { decodeBlob, decodeText } from '../infer/binary.ts';
import { noParameters, type Parameters } from '../infer/fields.ts';
import { datatypeOf, maxDimension, maxRank } from '../infer/input.ts';
import { checkedId, checkedOutputs, type InferRequest } from '../infer/request.ts';
import { noSharedMemory } from '../not-offered.ts';
import { decodeMessage } from './schema.ts';

const Bytes = z.instanceof(Uint8Array);
/** What protobufjs has read as a list of these holds nothing else. */
const listOf = <T>() => z.custom<readonly T[]>(Array.isArray).optional();

const Parameter = z.union([
  z.object({ bool_param: z.boolean() }),
  z.object({ int64_param: z.bigint() }),
  z.object({ string_param: z.string() }),
  z.object({ double_param: z.number() }),
  z.object({ uint64_param: z.bigint() }),
  z.object({}),
]);
const ParameterMap = z.record(z.string(), Parameter).optional();
export type GrpcParameters = z.infer<typeof ParameterMap>;

const Contents = z.object({
  bool_contents: listOf<boolean>(),
  int_contents: listOf<number>(),
  int64_contents: listOf<bigint>(),
  uint_contents: listOf<number>(),
  uint64_contents: listOf<bigint>(),
  fp32_contents: listOf<number>(),
  fp64_contents: listOf<number>(),
  bytes_contents: listOf<Uint8Array>(),
});
type Contents = z.infer<typeof Contents>;

const Input = z.object({
  name: z.string().default(''),
  datatype: z.string().default(''),
  shape: z.array(z.bigint()).default([]),
  parameters: ParameterMap,
  contents: Contents.optional(),
});
type Input = z.infer<typeof Input>;

const Message = z.object({
  model_name: z.string().default(''),
  model_version: z.string().default(''),
  id: z.string().default(''),
  parameters: ParameterMap,
  inputs: z.array(Input).default([]),
  outputs: z.array(z.object({ name: z.string().default(''), parameters: ParameterMap })).default([]),
  raw_input_contents: z.array(Bytes).default([]),
});
export type InferMessage = z.infer<typeof Message>;

/** Throws `invalid_request` for what is no such message. */
export function readInferMessage(bytes: Uint8Array): InferMessage {
  return parse(Message, decodeMessage('ModelInferRequest', bytes), 'request');
}

/** What the message asks, checked as the JSON of HTTP is. Throws `invalid_request`. */
export function requestOf(message: InferMessage): InferRequest {
  const { id, parameters, inputs, outputs, raw_input_contents: blobs } = message;
  if (blobs.length > 0 && blobs.length !== inputs.length) {
    const count = `${blobs.length} entries, the request has ${inputs.length} inputs`;
    throw new AppError('invalid_request', `raw_input_contents has ${count}; it must have one for each, in their order`);
  }
  return {
    id: checkedId(id),
    parameters: valuesOf(parameters),
    inputs: inputs.map((input, place) => tensorOf(input, place, blobs[place])),
    outputs: checkedOutputs(
      outputs.map(({ name, parameters: own }) => ({ name, parameters: Object.fromEntries(valuesOf(own)) })),
    ),
  };
}

/** Whole numbers that a number can't hold stay text. */
function valuesOf(parameters: GrpcParameters): Parameters {
  if (parameters === undefined) return noParameters;
  const entries = Object.entries(parameters).map(([name, parameter]): [string, unknown] => {
    const [value] = Object.values(parameter);
    if (typeof value !== 'bigint') return [name, value];
    const number = Number(value);
    return [name, Number.isSafeInteger(number) ? number : String(value)];
  });
  return new Map(entries);
}

function tensorOf(
  { name, parameters, contents, ...input }: Input,
  place: number,
  blob: Uint8Array | undefined,
): NamedTensor {
  const field = `request.inputs.${place}`;
  const datatype = datatypeOf(input.datatype, { name }, field);
  const shape = shapeOf(input.shape, name);
  if (parameters !== undefined && Object.hasOwn(parameters, 'shared_memory_region'))
    throw new AppError('invalid_request', `input "${name}": ${noSharedMemory}`);
  const head = { name, datatype, shape };
  if (blob === undefined) return { ...head, data: typedData(head, contents ?? {}) };
  if (contents !== undefined && Object.values(contents).some((list) => list !== undefined && list.length > 0))
    throw new AppError('invalid_request', `input "${name}" has both contents and raw_input_contents`);
  return { ...head, data: decodeBlob(head, Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength)) };
}

function shapeOf(dims: readonly bigint[], name: string): number[] {
  if (dims.length > maxRank)
    throw new AppError('invalid_request', `input "${name}": shape must have at most ${maxRank} dimensions`);
  return dims.map((dim) => {
    if (dim < 0n || dim > maxDimension)
      throw new AppError('invalid_request', `input "${name}": shape must hold integers from 0 to ${maxDimension}`);
    return Number(dim);
  });
}

interface Head {
  name: string;
  datatype: Datatype;
  shape: readonly number[];
}

function typedData(head: Head, contents: Contents): TensorData {
  const { name, datatype } = head;
  switch (datatype) {
    case 'BOOL':
      return Uint8Array.from(whole(head, contents, 'bool_contents'), Number);
    case 'INT8':
      return Int8Array.from(within(head, whole(head, contents, 'int_contents'), -128, 127));
    case 'INT16':
      return Int16Array.from(within(head, whole(head, contents, 'int_contents'), -32768, 32767));
    case 'INT32':
      return Int32Array.from(whole(head, contents, 'int_contents'));
    case 'INT64':
      return BigInt64Array.from(whole(head, contents, 'int64_contents'));
    case 'UINT8':
      return Uint8Array.from(within(head, whole(head, contents, 'uint_contents'), 0, 255));
    case 'UINT16':
      return Uint16Array.from(within(head, whole(head, contents, 'uint_contents'), 0, 65535));
    case 'UINT32':
      return Uint32Array.from(whole(head, contents, 'uint_contents'));
    case 'UINT64':
      return BigUint64Array.from(whole(head, contents, 'uint64_contents'));
    case 'FP32':
      return Float32Array.from(whole(head, contents, 'fp32_contents'));
    case 'FP64':
      return Float64Array.from(whole(head, contents, 'fp64_contents'));
    case 'BYTES':
      return whole(head, contents, 'bytes_contents').map((bytes, place) => decodeText(name, Buffer.from(bytes), place));
    case 'FP16':
      throw new AppError('invalid_request', `input "${name}": FP16 has no contents of its own; use raw_input_contents`);
  }
}

/** The list that the datatype has its place in, as long as the shape says. */
function whole<Field extends keyof Contents>(
  { name, datatype, shape }: Head,
  contents: Contents,
  field: Field,
): NonNullable<Contents[Field]> | readonly never[] {
  const given = contents[field] ?? [];
  const needed = elementCount(shape);
  if (given.length === needed) return given;
  const message = `input "${name}": ${field} has ${given.length} elements, but shape [${shape}] of ${datatype} needs ${needed}`;
  throw new AppError('invalid_request', message);
}

function within({ name, datatype }: Head, values: readonly number[], low: number, high: number): readonly number[] {
  const wrong = values.findIndex((value) => value < low || value > high);
  if (wrong < 0) return values;
  throw new AppError(
    'invalid_request',
    `input "${name}": data[${wrong}] must be an integer from ${low} to ${high} (${datatype})`,
  );
}
