// Parts of tensors of any type: taken out, and put one behind the other.
import { encodeHalf } from '../float16.ts';
import { elementCount, numbersOf, type Tensor, type TensorData } from '../tensor-data.ts';
import type { Datatype } from '../tensors.ts';
import { misfit } from './operation.ts';

type NumberData = Exclude<TensorData, string[]>;

const makers: Record<Exclude<Datatype, 'BYTES'>, (length: number) => NumberData> = {
  BOOL: (length) => new Uint8Array(length),
  UINT8: (length) => new Uint8Array(length),
  UINT16: (length) => new Uint16Array(length),
  UINT32: (length) => new Uint32Array(length),
  UINT64: (length) => new BigUint64Array(length),
  INT8: (length) => new Int8Array(length),
  INT16: (length) => new Int16Array(length),
  INT32: (length) => new Int32Array(length),
  INT64: (length) => new BigInt64Array(length),
  FP16: (length) => new Uint16Array(length),
  FP32: (length) => new Float32Array(length),
  FP64: (length) => new Float64Array(length),
};

/** Zeros, or empty texts. */
export function emptyData(datatype: Datatype, length: number): TensorData {
  return datatype === 'BYTES' ? new Array<string>(length).fill('') : makers[datatype](length);
}

/** The values of a tensor that the checker found to hold numbers. */
export function valuesOf(tensor: Tensor): ArrayLike<number> {
  const values = numbersOf(tensor);
  if (values === undefined) throw misfit('it holds texts, not numbers');
  return values;
}

export function floats(shape: readonly number[]): { shape: readonly number[]; data: Float32Array; datatype: 'FP32' } {
  return { datatype: 'FP32', shape, data: new Float32Array(elementCount(shape)) };
}

export function wholeNumbers(values: readonly number[], shape: readonly number[] = [values.length]): Tensor {
  return { datatype: 'INT64', shape, data: BigInt64Array.from(values, BigInt) };
}

/** `parts` are of this datatype. */
export function joined(datatype: Datatype, parts: readonly TensorData[]): TensorData {
  if (datatype === 'BYTES') return parts.flatMap((part) => (Array.isArray(part) ? part : []));
  const numbers = parts.flatMap((part) => (Array.isArray(part) ? [] : [part]));
  const whole = makers[datatype](numbers.reduce((sum, { length }) => sum + length, 0));
  const bytes = new Uint8Array(whole.buffer);
  let at = 0;
  for (const part of numbers) {
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return whole;
}

export function partOf(data: TensorData, begin: number, end: number): TensorData {
  return Array.isArray(data) ? data.slice(begin, end) : data.subarray(begin, end);
}

/** These rows of a tensor, in this order. */
export function rowsOf({ datatype, shape, data }: Tensor, rows: readonly number[]): Tensor {
  const width = elementCount(shape.slice(1));
  const parts = rows.map((row) => partOf(data, row * width, (row + 1) * width));
  return { datatype, shape: [rows.length, ...shape.slice(1)], data: joined(datatype, parts) };
}

/** Numbers as another type: fractions are cut off, what it cannot hold becomes its bound, and no number is 0. */
export function castTo(to: Exclude<Datatype, 'BYTES'>, tensor: Tensor): Tensor {
  const { shape, data } = tensor;
  if (tensor.datatype === to) return tensor;
  const values = valuesOf(tensor);
  const bounds = integerBounds[to];
  if (to === 'INT64' || to === 'UINT64') {
    const [low, high] = to === 'INT64' ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n];
    // Those of 64 bits are exact.
    const isExact = data instanceof BigInt64Array || data instanceof BigUint64Array;
    const wide = isExact ? Array.from(data) : Array.from(values, wholeOf);
    const within = wide.map((value) => (value < low ? low : value > high ? high : value));
    return { datatype: to, shape, data: to === 'INT64' ? BigInt64Array.from(within) : BigUint64Array.from(within) };
  }
  const target = makers[to](values.length);
  if (target instanceof BigInt64Array || target instanceof BigUint64Array) throw misfit(`cannot become ${to}`);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    if (to === 'BOOL') target[at] = value === 0 ? 0 : 1;
    else if (to === 'FP16') target[at] = encodeHalf(value);
    else target[at] = bounds ? Math.min(bounds[1], Math.max(bounds[0], Math.trunc(value) || 0)) : value;
  }
  return { datatype: to, shape, data: target };
}

const integerBounds: Partial<Record<Datatype, readonly [number, number]>> = {
  UINT8: [0, 255],
  UINT16: [0, 65_535],
  UINT32: [0, 2 ** 32 - 1],
  INT8: [-128, 127],
  INT16: [-32_768, 32_767],
  INT32: [-(2 ** 31), 2 ** 31 - 1],
};

function wholeOf(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  if (!Number.isFinite(value)) return value > 0 ? 2n ** 64n : -(2n ** 64n);
  return BigInt(Math.trunc(value));
}
