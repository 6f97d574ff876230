// Tensors as bytes of a ring's arena: for each tensor its rank and dimensions as 32-bit words, then all data, each
// beginning at a multiple of 8. Names and datatypes are known to both sides from the model's signature.

import type { TensorData } from '@edgeloop/shared/tensor-data';
import type { Datatype } from '@edgeloop/shared/tensors';
import { elementBytes, type NumericData, type NumericDatatype, viewOf } from '../typed-arrays.ts';
import { aligned } from './arena.ts';

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

/** Of a string in a message: its type, its length and what alignment adds. */
const stringHeaderBytes = 8;

/** Size of a message that holds the tensors; strings as UTF-8. */
export function messageBytes(tensors: readonly ShapedData[]): number {
  let bytes = 0;
  for (const { data } of tensors) {
    if (!Array.isArray(data)) bytes += data.byteLength;
    else for (const text of data) bytes += Buffer.byteLength(text) + stringHeaderBytes;
  }
  return bytes;
}

/** Views of a whole arena, made once: to make one for each request costs more than to copy a small tensor. */
export interface ArenaViews {
  words: Int32Array;
  bytes: Uint8Array;
  singles: Float32Array;
}

export function viewsOfArena(arena: SharedArrayBuffer): ArenaViews {
  return { words: new Int32Array(arena), bytes: new Uint8Array(arena), singles: new Float32Array(arena) };
}

/** Writes at a multiple of 8. There must be room for `recordBytes`. */
export function writeRecord({ words, bytes, singles }: ArenaViews, at: number, tensors: readonly ShapedData[]): void {
  let word = at / 4;
  for (const { shape, data } of tensors) {
    if (Array.isArray(data)) continue;
    words[word++] = shape.length;
    for (const dim of shape) words[word++] = dim;
  }
  let dataAt = aligned(word * 4);
  for (const { data } of tensors) {
    if (Array.isArray(data)) continue;
    if (data instanceof Float32Array) singles.set(data, dataAt / 4);
    else bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), dataAt);
    dataAt += aligned(data.byteLength);
  }
}

/** A copy of what an entry holds. */
export function copyEntry({ bytes, singles }: ArenaViews, datatype: NumericDatatype, entry: RecordEntry): NumericData {
  const { at, byteLength } = entry;
  if (datatype === 'FP32') return singles.slice(at / 4, (at + byteLength) / 4);
  return viewOf(datatype, bytes.slice(at, at + byteLength).buffer);
}

/** Where the tensors of a record lie. `specs` in the order in which they were written. */
export function readRecord({ words }: ArenaViews, at: number, specs: readonly { datatype: Datatype }[]): RecordEntry[] {
  const entries: RecordEntry[] = [];
  let word = at / 4;
  for (const { datatype } of specs) {
    const rank = words[word++] ?? 0;
    let count = 1;
    const shape: number[] = [];
    for (let i = 0; i < rank; i++) {
      const dim = words[word++] ?? 0;
      shape.push(dim);
      count *= dim;
    }
    entries.push({ shape, at: 0, byteLength: count * (elementBytes(datatype) ?? 0) });
  }
  let dataAt = aligned(word * 4);
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
