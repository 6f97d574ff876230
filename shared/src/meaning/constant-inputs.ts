// Inputs that carry no data of a caller: a state to begin with, a sample rate, a threshold inside the model.

import { elementCount, encodeElements, isBadElement, type NamedTensor } from '../tensor-data.ts';
import type { TensorSpec } from '../tensors.ts';

/**
 * A tensor of one value for all elements, or of a flat or nested list. Free dimensions are 1, but a single one follows
 * the length of the list. A string says why there is none.
 */
export function tensorOf({ name, datatype, shape }: TensorSpec, value: unknown): NamedTensor | string {
  const list = Array.isArray(value) ? value.flat(32) : undefined;
  const dims = list ? shapeFor(shape, list.length) : shape.map((dim) => (dim === -1 ? 1 : dim));
  const count = elementCount(dims);
  if (list && list.length !== count) return `${list.length} values for [${shape}], which takes ${count}`;
  if (count > 64 * 1024 * 1024) return `[${shape}] is too large`;
  const data = encodeElements(datatype, list ?? new Array(count).fill(value));
  if (isBadElement(data)) return `must be ${data.expected} (${datatype})`;
  return { name, datatype, shape: dims, data };
}

function shapeFor(shape: readonly number[], length: number): number[] {
  // ONNX files may leave a shape unsaid, which looks like a scalar.
  if (shape.length === 0) return length === 1 ? [] : [length];
  const fixed = elementCount(shape.filter((dim) => dim !== -1));
  const free = shape.filter((dim) => dim === -1).length;
  const fill = free === 1 && fixed > 0 && length % fixed === 0 ? length / fixed : 1;
  return shape.map((dim) => (dim === -1 ? fill : dim));
}
