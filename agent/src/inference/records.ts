// Tensors as bytes of a ring's arena: for each tensor its rank and dimensions as 32-bit words, then all data, each
// beginning at a multiple of 8. Names and datatypes are known to both sides from the model's signature.
import type { Datatype } from '@edgeloop/shared/tensors';
import { aligned } from './arena.ts';
import type { TensorData } from './tensors.ts';

/** Data that has a size in bytes: everything but strings. */
export type NumericData = Exclude<TensorData, string[]>;

export interface ShapedData {
  shape: readonly number[];
  data: TensorData;
}

/** Views of a record: `bytes` are those of the data alone. */
export interface RecordEntry {
  shape: number[];
  /** Bytes from the start of the arena. */
  at: number;
  byteLength: number;
}

const bytesOf: Record<Exclude<Datatype, 'BYTES'>, number> = {
  BOOL: 1,
  UINT8: 1,
  UINT16: 2,
  UINT32: 4,
  UINT64: 8,
  INT8: 1,
  INT16: 2,
  INT32: 4,
  INT64: 8,
  FP16: 2,
  FP32: 4,
  FP64: 8,
};

/** Bytes of one element in memory, or undefined for BYTES. */
export function elementBytes(datatype: Datatype): number | undefined {
  return datatype === 'BYTES' ? undefined : bytesOf[datatype];
}

/** Size of the record, or undefined when a tensor holds strings, which don't travel so. */
export function recordBytes(tensors: readonly ShapedData[]): number | undefined {
  let words = 0;
  let bytes = 0;
  for (const { shape, data } of tensors) {
    if (Array.isArray(data)) return undefined;
    words += 1 + shape.length;
    bytes += aligned(data.byteLength);
  }
  return aligned(words * 4) + bytes;
}

/** Writes at a multiple of 8. There must be room for `recordBytes`. */
export function writeRecord(arena: SharedArrayBuffer, at: number, tensors: readonly ShapedData[]): void {
  const words = tensors.reduce((sum, { shape }) => sum + 1 + shape.length, 0);
  const header = new Int32Array(arena, at, words);
  let word = 0;
  let dataAt = at + aligned(words * 4);
  for (const { shape, data } of tensors) {
    header[word++] = shape.length;
    for (const dim of shape) header[word++] = dim;
    if (Array.isArray(data)) continue;
    const from = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(arena, dataAt, data.byteLength).set(from);
    dataAt += aligned(data.byteLength);
  }
}

/** Where the tensors of a record lie. `datatypes` in the order in which they were written. */
export function readRecord(arena: SharedArrayBuffer, at: number, datatypes: readonly Datatype[]): RecordEntry[] {
  const header = new Int32Array(arena, at);
  const entries: RecordEntry[] = [];
  let word = 0;
  for (const datatype of datatypes) {
    const rank = header[word++] ?? 0;
    let count = 1;
    const shape: number[] = [];
    for (let i = 0; i < rank; i++) {
      const dim = header[word++] ?? 0;
      shape.push(dim);
      count *= dim;
    }
    entries.push({ shape, at: 0, byteLength: count * (elementBytes(datatype) ?? 0) });
  }
  let dataAt = at + aligned(word * 4);
  for (const entry of entries) {
    entry.at = dataAt;
    dataAt += aligned(entry.byteLength);
  }
  return entries;
}

/** Whether two records have the same dimensions but the first of each tensor. `tensors` is how many they hold. */
export function sameRows(arena: Int32Array, first: number, second: number, tensors: number): boolean {
  let a = first / 4;
  let b = second / 4;
  for (let i = 0; i < tensors; i++) {
    const rank = arena[a++];
    if (rank === undefined || rank !== arena[b++]) return false;
    for (let dim = 0; dim < rank; dim++) {
      if (arena[a++] !== arena[b++] && dim > 0) return false;
    }
  }
  return true;
}

/** A typed array over the whole buffer. */
export function viewOf(datatype: Exclude<Datatype, 'BYTES'>, buffer: ArrayBufferLike): NumericData {
  switch (datatype) {
    case 'BOOL':
    case 'UINT8':
      return new Uint8Array(buffer);
    case 'UINT16':
    case 'FP16':
      return new Uint16Array(buffer);
    case 'UINT32':
      return new Uint32Array(buffer);
    case 'UINT64':
      return new BigUint64Array(buffer);
    case 'INT8':
      return new Int8Array(buffer);
    case 'INT16':
      return new Int16Array(buffer);
    case 'INT32':
      return new Int32Array(buffer);
    case 'INT64':
      return new BigInt64Array(buffer);
    case 'FP32':
      return new Float32Array(buffer);
    case 'FP64':
      return new Float64Array(buffer);
  }
}
