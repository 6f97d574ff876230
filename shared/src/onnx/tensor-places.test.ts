import { describe, expect, it } from 'vitest';
import { encodeModel, type OnnxModel } from './encode.ts';
import { sourceOf } from './fields.ts';
import { tensorPlaces } from './tensor-places.ts';

const numbers = (length: number, first: number) => Float32Array.from({ length }, (_, i) => first + i);
const bytesOf = (data: Float32Array) => Buffer.from(data.buffer);

const inner = numbers(300, 5000);
const model: OnnxModel = {
  irVersion: 8,
  opset: 17,
  producer: { name: 'test', version: '1' },
  graph: {
    name: 'g',
    nodes: [
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['k'],
        attributes: [{ name: 'value', tensor: tensor('k', 200, 100) }],
      },
      {
        opType: 'If',
        inputs: ['c'],
        outputs: ['y'],
        attributes: [
          {
            name: 'then_branch',
            graph: { name: 't', nodes: [], initializers: [tensor('i', 300, 5000)], inputs: [], outputs: [] },
          },
        ],
      },
      {
        opType: 'TreeEnsembleRegressor',
        domain: 'ai.onnx.ml',
        inputs: ['x'],
        outputs: ['z'],
        attributes: [{ name: 'nodes_values', floats: [...numbers(250, 9000)] }],
      },
    ],
    initializers: [tensor('small', 4, 0), tensor('large', 400, 700)],
    inputs: [],
    outputs: [],
  },
};

function tensor(name: string, length: number, first: number) {
  return { name, dims: [length], data: numbers(length, first) };
}

describe('places of the numbers of an ONNX file', () => {
  it('are found in initializers, attributes and subgraphs, the small ones left out', () => {
    const bytes = Buffer.from(encodeModel(model));
    const found = tensorPlaces(sourceOf(bytes), 500).map(({ start, end }) => bytes.subarray(start, end));
    const expected = [numbers(200, 100), inner, numbers(250, 9000), numbers(400, 700)].map(bytesOf);
    expect(found.map((piece) => piece.toString('hex'))).toEqual(expected.map((piece) => piece.toString('hex')));
  });

  it('cannot be found in another file', () => {
    expect(() => tensorPlaces(sourceOf(Buffer.from('no model at all, but a text')), 10)).toThrow(RangeError);
  });
});
