import { encodeModel } from '@edgeloop/shared/onnx/encode';
import type { JsonTensor } from '@edgeloop/shared/tensors';
import { InferenceSession } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { toJson, toOrt, zeros } from './json-tensors.ts';

const tensors: JsonTensor[] = [
  { datatype: 'FP32', shape: [2, 2], data: [0.5, -1, 'NaN', 'Infinity'] },
  { datatype: 'FP64', shape: [1], data: [0.1] },
  { datatype: 'FP16', shape: [3], data: [0.5, 65504, '-Infinity'] },
  { datatype: 'BOOL', shape: [2], data: [true, false] },
  { datatype: 'BYTES', shape: [], data: ['naïve'] },
  { datatype: 'UINT8', shape: [2], data: [0, 255] },
  { datatype: 'UINT16', shape: [1], data: [65535] },
  { datatype: 'UINT32', shape: [1], data: [4294967295] },
  { datatype: 'UINT64', shape: [2], data: [7, '18446744073709551615'] },
  { datatype: 'INT8', shape: [2], data: [-128, 127] },
  { datatype: 'INT16', shape: [1], data: [-32768] },
  { datatype: 'INT32', shape: [1], data: [-2147483648] },
  { datatype: 'INT64', shape: [2], data: [-7, '-9223372036854775808'] },
];

const identityOfHalves = encodeModel({
  irVersion: 8,
  opset: 17,
  producer: { name: 'test', version: '1' },
  graph: {
    name: 'identity',
    inputs: [{ name: 'x', type: 'float16', dims: [2] }],
    outputs: [{ name: 'y', type: 'float16', dims: [2] }],
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
  },
});

describe('a tensor of a golden sample', () => {
  it.each(tensors)('of $datatype comes back from ONNX Runtime as it was', (tensor) => {
    const { datatype, shape } = tensor;
    expect(toJson({ name: 'x', datatype, shape }, toOrt('x', tensor))).toEqual(tensor);
    expect(zeros(datatype, [2]).size).toBe(2);
  });

  // Node 24 has an array of halves of its own, which ONNX Runtime does not read.
  it('of halves reaches a model, and its answer comes back', async () => {
    const session = await InferenceSession.create(identityOfHalves);
    try {
      const sample: JsonTensor = { datatype: 'FP16', shape: [2], data: [0.5, -2] };
      const { y } = await session.run({ x: toOrt('x', sample) });
      expect(toJson({ name: 'y', datatype: 'FP16', shape: [2] }, y)).toEqual(sample);
    } finally {
      await session.release();
    }
  });

  it.each<[JsonTensor, string]>([
    [{ datatype: 'FP32', shape: [2], data: [1] }, 'has 1 values, but its shape [2] holds 2'],
    [{ datatype: 'FP32', shape: [1], data: ['one'] }, '"one" is not a number (FP32)'],
    [{ datatype: 'UINT8', shape: [1], data: [256] }, '256 is not an integer from 0 to 255'],
    [{ datatype: 'INT64', shape: [1], data: ['9223372036854775808'] }, 'is not an integer from'],
    [{ datatype: 'INT64', shape: [1], data: [2 ** 60] }, 'is not an integer from'],
    [{ datatype: 'BOOL', shape: [1], data: ['true'] }, '"true" is not true or false'],
  ])('that does not hold what it says is refused by name: %j', (tensor, reason) => {
    expect(() => toOrt('pixels', tensor)).toThrow('input "pixels"');
    expect(() => toOrt('pixels', tensor)).toThrow(reason);
  });
});
