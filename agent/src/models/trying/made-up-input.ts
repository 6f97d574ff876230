// Inputs for a model that nobody has asked yet: zeros, or the values of a golden sample again and again.
import { AppError } from '@edgeloop/shared/errors';
import {
  elementCount,
  encodeElements,
  isBadElement,
  type NamedTensor,
  type TensorData,
} from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { elementBytes, viewOf } from '../../inference/typed-arrays.ts';

/** With free dimensions as 1; they may not fit each other so. */
export function smallestShape({ shape }: TensorSpec): number[] {
  return shape.map((dimension) => (dimension === -1 ? 1 : dimension));
}

/** Without values: zeros or empty strings. Throws `invalid_request` when the datatype can't hold one of them. */
export function madeUpInput(
  { name, datatype }: TensorSpec,
  shape: readonly number[],
  values: readonly unknown[] = [],
): NamedTensor {
  const pattern = encodeElements(datatype, values);
  if (isBadElement(pattern)) {
    throw new AppError('invalid_request', `input "${name}": data[${pattern.at}] must be ${pattern.expected}`);
  }
  return { name, datatype, shape, data: repeated(datatype, pattern, elementCount(shape)) };
}

/** Not by way of a list of values: for a large batch that would take more memory than the model. */
function repeated(datatype: TensorSpec['datatype'], pattern: TensorData, count: number): TensorData {
  if (datatype === 'BYTES' || Array.isArray(pattern)) {
    return Array.from({ length: count }, (_, at) => String(pattern[at % pattern.length] ?? ''));
  }
  const bytes = new Uint8Array(count * (elementBytes(datatype) ?? 0));
  const part = new Uint8Array(pattern.buffer, pattern.byteOffset, pattern.byteLength);
  for (let at = 0; part.length > 0 && at < bytes.length; at += part.length) {
    bytes.set(part.subarray(0, bytes.length - at), at);
  }
  return viewOf(datatype, bytes.buffer);
}
