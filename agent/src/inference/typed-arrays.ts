// Which typed array holds which datatype in memory. Strings are held in none.

import type { TensorData } from '@edgeloop/shared/tensor-data';
import type { Datatype } from '@edgeloop/shared/tensors';

export type NumericDatatype = Exclude<Datatype, 'BYTES'>;

/** Data that has a size in bytes: everything but strings. */
export type NumericData = Exclude<TensorData, string[]>;

/** Bytes of one element. */
export const bytesOf: Readonly<Record<NumericDatatype, number>> = {
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

/** A typed array over the buffer from `byteOffset`, a multiple of the element's size, for `length` elements or to its end. */
export function viewOf(
  datatype: NumericDatatype,
  buffer: ArrayBufferLike,
  byteOffset?: number,
  length?: number,
): NumericData {
  switch (datatype) {
    case 'BOOL':
    case 'UINT8':
      return new Uint8Array(buffer, byteOffset, length);
    case 'UINT16':
    case 'FP16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'UINT32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'UINT64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'INT8':
      return new Int8Array(buffer, byteOffset, length);
    case 'INT16':
      return new Int16Array(buffer, byteOffset, length);
    case 'INT32':
      return new Int32Array(buffer, byteOffset, length);
    case 'INT64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'FP32':
      return new Float32Array(buffer, byteOffset, length);
    case 'FP64':
      return new Float64Array(buffer, byteOffset, length);
  }
}
