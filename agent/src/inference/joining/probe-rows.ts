// Rows of made-up values to try a model with, and what several of them are as one request.
import { encodeHalf } from '@edgeloop/shared/float16';
import {
  elementCount,
  encodeElements,
  isBadElement,
  type NamedTensor,
  type TensorData,
} from '@edgeloop/shared/tensor-data';
import type { Datatype, TensorSpec } from '@edgeloop/shared/tensors';
import { viewOf } from '../typed-arrays.ts';

/** `strange`: floats that are no numbers; whatever reckons with them gives none either. */
export type Flavour = 'usual' | 'large' | 'small' | 'strange';

/** An input of one row. */
export interface RowInput {
  spec: TensorSpec;
  shape: readonly number[];
}

const scales: Readonly<Record<Flavour, number>> = { usual: 1, large: 100, small: 0.01, strange: Number.NaN };
const words = ['a', 'b', 'zebra', '7', ''];

/** Numbers from 0 to 1 that are the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Integers below `integersBelow`: where they are places in a table, it may be a small one. */
export function madeUpRow(
  inputs: readonly RowInput[],
  { flavour, seed, integersBelow }: { flavour: Flavour; seed: number; integersBelow: number },
): NamedTensor[] {
  const random = seeded(seed);
  return inputs.map(({ spec: { name, datatype }, shape }) => {
    if (datatype === 'FP32') {
      const data = new Float32Array(elementCount(shape));
      for (let i = 0; i < data.length; i++) data[i] = (random() * 4 - 2) * scales[flavour];
      return { name, datatype, shape, data };
    }
    const value = (): number | string | boolean => {
      if (datatype === 'BYTES') return words[Math.floor(random() * words.length)] ?? '';
      if (datatype === 'BOOL') return random() < 0.5;
      return datatype.startsWith('FP') ? (random() * 4 - 2) * scales[flavour] : Math.floor(random() * integersBelow);
    };
    return { name, datatype, shape, data: dataOf(datatype, Array.from({ length: elementCount(shape) }, value)) };
  });
}

function dataOf(datatype: Datatype, values: readonly (number | string | boolean)[]): TensorData {
  if (datatype === 'FP64') return Float64Array.from(values, Number);
  if (datatype === 'FP16') return Uint16Array.from(values, (value) => encodeHalf(Number(value)));
  const data = encodeElements(datatype, values);
  if (isBadElement(data)) throw new RangeError(`made-up value ${data.at} is not ${data.expected}`);
  return data;
}

/** One request with all of these rows, each of one row. */
export function together(rows: readonly (readonly NamedTensor[])[]): NamedTensor[] {
  const [first = []] = rows;
  return first.map((tensor, at) => ({
    ...tensor,
    shape: [rows.length, ...tensor.shape.slice(1)],
    data: concatenated(
      tensor.datatype,
      rows.map((row) => row[at]?.data ?? []),
    ),
  }));
}

function concatenated(datatype: Datatype, parts: readonly TensorData[]): TensorData {
  if (datatype === 'BYTES') return parts.flatMap((part) => (Array.isArray(part) ? part : []));
  const bytes = parts.map((part) => (Array.isArray(part) ? new Uint8Array(0) : bytesIn(part)));
  return viewOf(datatype, Uint8Array.from(Buffer.concat(bytes)).buffer);
}

function bytesIn({ buffer, byteOffset, byteLength }: Exclude<TensorData, string[]>): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
