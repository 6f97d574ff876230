// Tensors of golden samples, between JSON and ONNX Runtime.
import { AppError } from '@edgeloop/shared/errors';
import { decodeHalf, encodeHalf } from '@edgeloop/shared/float16';
import type { Datatype, JsonTensor, TensorSpec } from '@edgeloop/shared/tensors';
import { Tensor } from 'onnxruntime-node';

type Value = JsonTensor['data'][number];

const nonFinite = new Map<Value, number>([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

/** Throws `model_rejected` naming the input when the values do not fit its shape or datatype. */
export function toOrt(name: string, { datatype, shape, data }: JsonTensor): Tensor {
  const count = elementCount(shape);
  if (count !== data.length) {
    throw rejected(`input "${name}" has ${data.length} values, but its shape [${shape}] holds ${count}`);
  }
  try {
    return create(datatype, shape, data);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw rejected(`input "${name}": ${reason} (${datatype})`, cause);
  }
}

/** A tensor of zeros, or of empty strings. */
export function zeros(datatype: Datatype, shape: readonly number[]): Tensor {
  return create(datatype, shape, new Array<Value>(elementCount(shape)).fill(datatype === 'BYTES' ? '' : 0));
}

/** Throws `internal` when the session gave no such output. */
export function toJson({ name, datatype }: TensorSpec, tensor: Tensor | undefined): JsonTensor {
  if (tensor === undefined) throw new AppError('internal', `ONNX Runtime gave no output "${name}"`);
  return { datatype, shape: [...tensor.dims], data: valuesOf(datatype, tensor.data) };
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

function create(datatype: Datatype, shape: readonly number[], data: readonly Value[]): Tensor {
  switch (datatype) {
    case 'FP32':
      return new Tensor('float32', Float32Array.from(data, float), shape);
    case 'FP64':
      return new Tensor('float64', Float64Array.from(data, float), shape);
    case 'FP16':
      return halfTensor(
        Uint16Array.from(data, (value) => encodeHalf(float(value))),
        shape,
      );
    case 'BOOL':
      return new Tensor('bool', Uint8Array.from(data, bool), shape);
    case 'BYTES':
      return new Tensor('string', data.map(text), shape);
    case 'UINT8':
      return new Tensor('uint8', Uint8Array.from(data, integer(0, 255)), shape);
    case 'UINT16':
      return new Tensor('uint16', Uint16Array.from(data, integer(0, 65_535)), shape);
    case 'UINT32':
      return new Tensor('uint32', Uint32Array.from(data, integer(0, 2 ** 32 - 1)), shape);
    case 'UINT64':
      return new Tensor('uint64', BigUint64Array.from(data, bigInteger(0n, 2n ** 64n - 1n)), shape);
    case 'INT8':
      return new Tensor('int8', Int8Array.from(data, integer(-128, 127)), shape);
    case 'INT16':
      return new Tensor('int16', Int16Array.from(data, integer(-32_768, 32_767)), shape);
    case 'INT32':
      return new Tensor('int32', Int32Array.from(data, integer(-(2 ** 31), 2 ** 31 - 1)), shape);
    case 'INT64':
      return new Tensor('int64', BigInt64Array.from(data, bigInteger(-(2n ** 63n), 2n ** 63n - 1n)), shape);
  }
}

function float(value: Value): number {
  const number = typeof value === 'number' ? value : nonFinite.get(value);
  if (number === undefined) throw new RangeError(`${JSON.stringify(value)} is not a number`);
  return number;
}

function bool(value: Value): number {
  if (value === true || value === 1) return 1;
  if (value === false || value === 0) return 0;
  throw new RangeError(`${JSON.stringify(value)} is not true or false`);
}

function text(value: Value): string {
  if (typeof value === 'string' && !value.includes('\0')) return value;
  throw new RangeError(`${JSON.stringify(value)} is not a string without NUL characters`);
}

function integer(low: number, high: number): (value: Value) => number {
  return (value) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high) return value;
    throw new RangeError(`${JSON.stringify(value)} is not an integer from ${low} to ${high}`);
  };
}

function bigInteger(low: bigint, high: bigint): (value: Value) => bigint {
  return (value) => {
    if (Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,20}$/.test(value))) {
      const exact = BigInt(value);
      if (exact >= low && exact <= high) return exact;
    }
    throw new RangeError(`${JSON.stringify(value)} is not an integer from ${low} to ${high}`);
  };
}

/**
 * From Node 24 on, the JavaScript part of ONNX Runtime 1.30 makes a Float16Array of the bits of halves, of which its native
 * part reads nothing. It is given bits, and only their name tells them from integers.
 */
export function halfTensor(bits: Uint16Array, shape: readonly number[]): Tensor {
  if (!('Float16Array' in globalThis)) return new Tensor('float16', bits, shape);
  return Object.defineProperty(new Tensor('uint16', bits, shape), 'type', { value: 'float16' });
}

function valuesOf(datatype: Datatype, data: Tensor['data']): Value[] {
  if (Array.isArray(data)) return data;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return Array.from(data, (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()));
  }
  if (datatype === 'FP16') {
    // From Node 24 on, halves come as Float16Array, whose bits are below.
    const bits = new Uint16Array(data.buffer, data.byteOffset, data.length);
    return Array.from(bits, (half) => finite(decodeHalf(half)));
  }
  const numbers: ArrayLike<number> = data;
  return Array.from(numbers, datatype === 'BOOL' ? (value) => value !== 0 : finite);
}

function finite(value: number): Value {
  return Number.isFinite(value) ? value : String(value);
}

function rejected(message: string, cause?: unknown): AppError {
  return new AppError('model_rejected', message, { cause });
}
