// Tensors between the JSON form of the Open Inference Protocol and the typed arrays that ONNX Runtime takes.
import { AppError } from './app-error.ts';
import { decodeHalf, encodeHalf } from './float16.ts';
import type { Datatype, JsonTensor } from './tensors.ts';

/** Flat, row-major. BOOL is 0 or 1 in a Uint8Array, FP16 its bits in a Uint16Array, BYTES strings. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | string[];

export interface Tensor {
  datatype: Datatype;
  shape: readonly number[];
  data: TensorData;
}

export interface NamedTensor extends Tensor {
  name: string;
}

/** The first of the values that the datatype can't hold, and what it should have been. */
export interface BadElement {
  at: number;
  expected: string;
}

interface ElementCodec {
  expected: string;
  /** The data, or the place of the first value that is not `expected`. */
  encode(values: readonly unknown[]): TensorData | number;
}

const nonFinite = new Map<unknown, number>([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

type NumberArray = Exclude<TensorData, BigInt64Array | BigUint64Array | string[]>;
type BigIntArray = BigInt64Array | BigUint64Array;

function numbers(
  create: (length: number) => NumberArray,
  expected: string,
  read: (value: unknown) => number | undefined,
): ElementCodec {
  return {
    expected,
    encode(values) {
      const data = create(values.length);
      for (let i = 0; i < values.length; i++) {
        const value = read(values[i]);
        if (value === undefined) return i;
        data[i] = value;
      }
      return data;
    },
  };
}

function integers(create: (length: number) => NumberArray, low: number, high: number): ElementCodec {
  return numbers(create, `an integer from ${low} to ${high}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high ? value : undefined,
  );
}

function floats(create: (length: number) => NumberArray, largest: number): ElementCodec {
  return numbers(create, `a number up to ${largest}, or "NaN", "Infinity" or "-Infinity"`, (value) =>
    typeof value === 'number' ? (Math.abs(value) <= largest ? value : undefined) : nonFinite.get(value),
  );
}

function bigIntegers(create: (length: number) => BigIntArray, low: bigint, high: bigint): ElementCodec {
  const read = (value: unknown): bigint | undefined => {
    // A JSON number beyond 2^53 has been rounded already: better refused than silently another one.
    if (Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,20}$/.test(value))) {
      const exact = BigInt(String(value));
      if (exact >= low && exact <= high) return exact;
    }
    return undefined;
  };
  return {
    expected: `an integer from ${low} to ${high}, beyond 2^53 as a string of digits`,
    encode(values) {
      const data = create(values.length);
      for (let i = 0; i < values.length; i++) {
        const value = read(values[i]);
        if (value === undefined) return i;
        data[i] = value;
      }
      return data;
    },
  };
}

const largestHalf = 65504;
const largestSingle = 3.4028234663852886e38;

const codecs: Record<Datatype, ElementCodec> = {
  BOOL: numbers(
    (length) => new Uint8Array(length),
    'true or false',
    (value) => (value === true || value === 1 ? 1 : value === false || value === 0 ? 0 : undefined),
  ),
  UINT8: integers((length) => new Uint8Array(length), 0, 255),
  UINT16: integers((length) => new Uint16Array(length), 0, 65535),
  UINT32: integers((length) => new Uint32Array(length), 0, 2 ** 32 - 1),
  UINT64: bigIntegers((length) => new BigUint64Array(length), 0n, 2n ** 64n - 1n),
  INT8: integers((length) => new Int8Array(length), -128, 127),
  INT16: integers((length) => new Int16Array(length), -32768, 32767),
  INT32: integers((length) => new Int32Array(length), -(2 ** 31), 2 ** 31 - 1),
  INT64: bigIntegers((length) => new BigInt64Array(length), -(2n ** 63n), 2n ** 63n - 1n),
  FP16: half(),
  FP32: floats((length) => new Float32Array(length), largestSingle),
  FP64: floats((length) => new Float64Array(length), Number.MAX_VALUE),
  BYTES: {
    expected: 'a string without NUL characters',
    encode(values) {
      const data: string[] = [];
      for (const value of values) {
        if (typeof value !== 'string' || value.includes('\0')) return data.length;
        data.push(value);
      }
      return data;
    },
  },
};

function half(): ElementCodec {
  const wide = floats((length) => new Float64Array(length), largestHalf);
  return {
    expected: wide.expected,
    encode(values) {
      const data = wide.encode(values);
      return data instanceof Float64Array ? Uint16Array.from(data, encodeHalf) : data;
    },
  };
}

/** Values as they come out of JSON -> data of `datatype`, or the first one that it can't hold. */
export function encodeElements(datatype: Datatype, values: readonly unknown[]): TensorData | BadElement {
  const data = codecs[datatype].encode(values);
  return typeof data === 'number' ? { at: data, expected: codecs[datatype].expected } : data;
}

/** How many elements a tensor of this shape has; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** A tensor of a request. `data` may be flat or nested. Throws `invalid_request` naming the input. */
export function tensorFromJson(input: {
  name: string;
  datatype: Datatype;
  shape: readonly number[];
  data: unknown;
}): NamedTensor {
  const { name, datatype, shape } = input;
  if (!Array.isArray(input.data)) throw new AppError('invalid_request', `input "${name}": data must be an array`);
  const values: unknown[] = Array.isArray(input.data[0]) ? input.data.flat(Math.max(shape.length - 1, 1)) : input.data;
  if (values.length !== elementCount(shape)) {
    throw new AppError(
      'invalid_request',
      `input "${name}": data has ${values.length} elements, but shape [${shape}] needs ${elementCount(shape)}`,
    );
  }
  const data = encodeElements(datatype, values);
  if (isBadElement(data)) {
    throw new AppError('invalid_request', `input "${name}": data[${data.at}] must be ${data.expected} (${datatype})`);
  }
  return { name, datatype, shape, data };
}

export function isBadElement(data: TensorData | BadElement): data is BadElement {
  return 'expected' in data;
}

/** A tensor as JSON: 64-bit integers beyond 2^53 as strings of digits, non-finite floats as their names. */
export function tensorToJson({ datatype, shape, data }: Tensor): JsonTensor {
  return { datatype, shape: [...shape], data: elementsToJson(datatype, data) };
}

function elementsToJson(datatype: Datatype, data: TensorData): JsonTensor['data'] {
  if (Array.isArray(data)) return data;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Array.from(data, bigToJson);
  if (datatype === 'BOOL') return Array.from(data, (value) => value !== 0);
  return Array.from(data, datatype === 'FP16' ? (bits) => floatToJson(decodeHalf(bits)) : floatToJson);
}

function floatToJson(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

function bigToJson(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value.toString();
}

/** The values as numbers, as far as they are numbers: undefined for BYTES. Exact up to 2^53. */
export function numbersOf({ datatype, data }: Tensor): ArrayLike<number> | undefined {
  if (Array.isArray(data)) return undefined;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Array.from(data, Number);
  return datatype === 'FP16' ? Array.from(data, decodeHalf) : data;
}

/** Size in memory, for bounds. */
export function sizeBytes({ data }: Tensor): number {
  return Array.isArray(data) ? data.reduce((sum, text) => sum + 16 + text.length * 2, 0) : data.byteLength;
}

/** Throws `invalid_request` when the data does not fill the shape, or holds strings that ONNX Runtime would cut. */
export function checkData({ name, shape, data }: NamedTensor): void {
  if (data.length !== elementCount(shape)) {
    throw new AppError(
      'invalid_request',
      `input "${name}": data has ${data.length} elements, but shape [${shape}] needs ${elementCount(shape)}`,
    );
  }
  if (Array.isArray(data) && data.some((text) => text.includes('\0'))) {
    throw new AppError('invalid_request', `input "${name}": strings must not hold NUL characters`);
  }
}
