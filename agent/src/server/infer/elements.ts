// The `data` of one input, flat or nested, from JSON bytes into the typed array of its datatype.
import { AppError } from '@edgeloop/shared/errors';
import { encodeHalf } from '@edgeloop/shared/float16';
import { elementCount, encodeElements, isBadElement, type TensorData } from '@edgeloop/shared/tensor-data';
import type { Datatype } from '@edgeloop/shared/tensors';
import { type Cursor, peek, readString, syntaxError, tooDeep, unexpected } from './cursor.ts';
import { readNumber, scanNumber, scanned, scanPlainNumbers, textFrom } from './numbers.ts';

/** Reads one element to its place; false when it is none that the datatype can hold. */
type ReadElement = (cursor: Cursor, place: number) => boolean;

interface Target {
  data: TensorData;
  read: ReadElement;
  /** Reads as many elements as are plain numbers with commas between, at most to the end; the place that it reached. */
  readPlain?: (cursor: Cursor, place: number, end: number) => number;
}

const largestHalf = 65504;
const largestSingle = 3.4028234663852886e38;

/** Reads the data that is next. Throws `invalid_request` naming the input. */
export function readData(
  cursor: Cursor,
  input: { name: string; datatype: Datatype; shape: readonly number[] },
): TensorData {
  const { name, datatype, shape } = input;
  const count = elementCount(shape);
  if (peek(cursor) !== 0x5b) throw unexpected(cursor, `input "${name}": data must be an array`);
  // Nothing is reserved for elements that the body can't hold.
  if (count > cursor.bytes.length - cursor.at) {
    const message = `input "${name}": data has fewer elements than its shape [${shape}] needs (${count})`;
    throw new AppError('invalid_request', message);
  }
  const target = targets[datatype](count);
  const problem = fill(cursor, target, shape, count);
  if (problem === undefined) return target.data;
  throw new AppError('invalid_request', `input "${name}": ${describe(problem, datatype, shape)}`);
}

type Problem =
  | { kind: 'element'; at: number }
  | { kind: 'count'; count: number }
  | { kind: 'more' }
  | { kind: 'ragged' };

function describe(problem: Problem, datatype: Datatype, shape: readonly number[]): string {
  const count = elementCount(shape);
  switch (problem.kind) {
    case 'element': {
      const bad = encodeElements(datatype, [undefined]);
      return `data[${problem.at}] must be ${isBadElement(bad) ? bad.expected : datatype} (${datatype})`;
    }
    case 'count':
      return `data has ${problem.count} elements, but shape [${shape}] needs ${count}`;
    case 'more':
      return `data has more elements than shape [${shape}] needs (${count})`;
    case 'ragged':
      return `data is nested otherwise than its shape [${shape}]`;
  }
}

/** Fills an array of `count` elements; brackets may follow the shape, or be one pair around all. */
function fill(cursor: Cursor, target: Target, shape: readonly number[], count: number): Problem | undefined {
  const { read, readPlain } = target;
  const opened: number[] = [];
  const sizes = shape.map((_, depth) => elementCount(shape.slice(depth)));
  let place = 0;
  let deepest = 0;
  let ragged = false;
  for (;;) {
    let byte = peek(cursor);
    if (byte === 0x5b) {
      if (opened.push(place) > 64) throw tooDeep();
      if (opened.length > deepest) deepest = opened.length;
      cursor.at++;
      byte = peek(cursor);
      if (byte !== 0x5d) continue;
    } else {
      if (place >= count) return { kind: 'more' };
      const reached = readPlain?.(cursor, place, count) ?? place;
      if (reached === place && !read(cursor, place)) return { kind: 'element', at: place };
      place = Math.max(reached, place + 1);
      byte = peek(cursor);
    }
    while (byte === 0x5d) {
      cursor.at++;
      const depth = opened.length;
      if (place - (opened.pop() ?? 0) !== sizes[depth - 1]) ragged = true;
      if (depth === 1) {
        if (place !== count) return { kind: 'count', count: place };
        return ragged && deepest > 1 && deepest === shape.length ? { kind: 'ragged' } : undefined;
      }
      byte = peek(cursor);
    }
    if (byte !== 0x2c) throw syntaxError(cursor, 'expected "," or "]"');
    cursor.at++;
  }
}

const targets: Record<Datatype, (count: number) => Target> = {
  BOOL: (count) => {
    const data = new Uint8Array(count);
    return { data, read: (cursor, place) => readBool(cursor, data, place) };
  },
  UINT8: (count) => integers(new Uint8Array(count), 0, 255),
  UINT16: (count) => integers(new Uint16Array(count), 0, 65535),
  UINT32: (count) => integers(new Uint32Array(count), 0, 2 ** 32 - 1),
  UINT64: (count) => longs(new BigUint64Array(count), 0n, 2n ** 64n - 1n),
  INT8: (count) => integers(new Int8Array(count), -128, 127),
  INT16: (count) => integers(new Int16Array(count), -32768, 32767),
  INT32: (count) => integers(new Int32Array(count), -(2 ** 31), 2 ** 31 - 1),
  INT64: (count) => longs(new BigInt64Array(count), -(2n ** 63n), 2n ** 63n - 1n),
  FP16: (count) => {
    const data = new Uint16Array(count);
    const read: ReadElement = (cursor, place) => {
      const number = readNumber(cursor);
      if (number !== undefined && Math.abs(number) > largestHalf) return false;
      const value = number ?? readFloatName(cursor);
      if (value === undefined) return false;
      data[place] = encodeHalf(value);
      return true;
    };
    return { data, read };
  },
  FP32: (count) => floats(new Float32Array(count), largestSingle, true),
  FP64: (count) => floats(new Float64Array(count), Number.MAX_VALUE, false),
  BYTES: () => {
    const data: string[] = [];
    return { data, read: (cursor, place) => readText(cursor, data, place) };
  },
};

function floats(data: Float32Array | Float64Array, largest: number, single: boolean): Target {
  const read: ReadElement = (cursor, place) => {
    if (!scanNumber(cursor, single)) {
      const named = readFloatName(cursor);
      if (named === undefined) return false;
      data[place] = named;
      return true;
    }
    const value = scanned[0] ?? 0;
    data[place] = value;
    return value <= largest && value >= -largest;
  };
  return { data, read, readPlain: (cursor, place, end) => scanPlainNumbers(cursor, data, place, end) };
}

/** A non-finite number by its name: as a string, or bare as some writers have it. */
function readFloatName(cursor: Cursor): number | undefined {
  const { bytes, at } = cursor;
  const quoted = bytes[at] === 0x22;
  const text = bytes.toString('latin1', at, at + 11);
  const found = /^"?(NaN|Infinity|-Infinity)("?)/.exec(text);
  if (!found || (found[2] === '"') !== quoted) return undefined;
  cursor.at = at + found[0].length;
  return Number(found[1]);
}

function integers(
  data: Uint8Array | Uint16Array | Uint32Array | Int8Array | Int16Array | Int32Array,
  low: number,
  high: number,
): Target {
  const read: ReadElement = (cursor, place) => {
    if (!scanNumber(cursor, false)) return false;
    const value = scanned[0] ?? 0;
    if (!(value >= low && value <= high) || Math.floor(value) !== value) return false;
    data[place] = value;
    return true;
  };
  return { data, read };
}

/** 64-bit integers: numbers, exact however long, or strings of digits. */
function longs(data: BigInt64Array | BigUint64Array, low: bigint, high: bigint): Target {
  const words = new Uint32Array(data.buffer);
  const exact = (text: string, place: number): boolean => {
    const value = BigInt(text);
    if (value < low || value > high) return false;
    data[place] = value;
    return true;
  };
  const read: ReadElement = (cursor, place) => {
    if (cursor.bytes[cursor.at] === 0x22) {
      const text = readString(cursor);
      return /^-?\d{1,20}$/.test(text) && exact(text, place);
    }
    const start = cursor.at;
    if (!scanNumber(cursor, false)) return false;
    const value = scanned[0] ?? 0;
    if (!Number.isSafeInteger(value)) {
      const text = textFrom(cursor, start);
      return /^-?\d{1,20}$/.test(text) && exact(text, place);
    }
    if (value < 0 && low === 0n) return false;
    // Little endian; a big integer per element would cost more than reading its digits.
    words[place * 2] = value >>> 0;
    words[place * 2 + 1] = Math.floor(value / 2 ** 32) >>> 0;
    return true;
  };
  return { data, read };
}

function readBool(cursor: Cursor, data: Uint8Array, place: number): boolean {
  const { bytes, at } = cursor;
  const first = bytes[at];
  if (first === 0x74 && bytes.toString('latin1', at, at + 4) === 'true') {
    data[place] = 1;
    cursor.at = at + 4;
    return true;
  }
  if (first === 0x66 && bytes.toString('latin1', at, at + 5) === 'false') {
    cursor.at = at + 5;
    return true;
  }
  const value = readNumber(cursor);
  if (value !== 0 && value !== 1) return false;
  data[place] = value;
  return true;
}

function readText(cursor: Cursor, data: string[], place: number): boolean {
  if (cursor.bytes[cursor.at] !== 0x22) return false;
  const text = readString(cursor);
  if (text.includes('\0')) return false;
  data[place] = text;
  return true;
}
