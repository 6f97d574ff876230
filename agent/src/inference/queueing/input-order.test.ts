import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { describe, expect, it } from 'vitest';
import { orderInputs } from './input-order.ts';

function matrix(rows: number, width: number, from: number): NamedTensor {
  const data = Float32Array.from({ length: rows * width }, (_, i) => from + i);
  return { name: 'x', datatype: 'FP32', shape: [rows, width], data };
}

describe('inputs against the signature', () => {
  const signature = { inputs: [{ name: 'x', datatype: 'FP32' as const, shape: [-1, 3] }], outputs: [] };

  it.each([
    [[], 'input "x" is missing'],
    [[matrix(1, 2, 0)], 'has shape [1,2], the model takes [-1,3]'],
    [[{ ...matrix(1, 3, 0), name: '__proto__' }], 'unknown input "__proto__"; the model takes "x"'],
    [[{ ...matrix(1, 3, 0), datatype: 'FP64' as const }], 'is FP64, the model takes FP32'],
    [[matrix(1, 3, 0), matrix(1, 3, 0)], 'given twice'],
  ])('refuses what does not match', (inputs, reason) => {
    expect(() => orderInputs(signature, inputs)).toThrow(reason);
  });
});
