import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { AppError } from '../app-error.ts';
import { dataTypes } from './data-types.ts';
import { encodeModel } from './encode.ts';
import { sourceOf } from './fields.ts';
import { readGraph } from './graph.ts';

const x = { name: 'x', type: 'float', dims: ['n', 3] } as const;
const y = { name: 'y', type: 'float', dims: ['n', 3] } as const;
const onnx = encodeModel({
  irVersion: 8,
  opset: 17,
  producer: { name: 'test', version: '3' },
  metadata: { names: "{0: 'cat'}" },
  graph: {
    name: 'main',
    inputs: [x],
    outputs: [y],
    initializers: [
      { name: 'axes', dims: [2], data: BigInt64Array.of(-1n, 2n ** 53n) },
      { name: 'weights', dims: [5000], data: new Float32Array(5000) },
    ],
    nodes: [
      {
        opType: 'Softmax',
        inputs: ['x', ''],
        outputs: ['y'],
        attributes: [
          { name: 'axis', int: -1 },
          { name: 'alpha', float: 0.5 },
          { name: 'nothing', int: 0 },
          { name: 'value', tensor: { name: '', dims: [], data: Float32Array.of(0.25) } },
          { name: 'body', graph: { name: 'inner', nodes: [], inputs: [], outputs: [x] } },
        ],
      },
    ],
  },
});

/** Wraps bytes as field `id` of a message. */
function inside(id: number, ...content: Uint8Array[]): Uint8Array {
  return protobuf.Writer.create()
    .uint32(id * 8 + 2)
    .bytes(Buffer.concat(content))
    .finish();
}

function varint(id: number, value: number): Uint8Array {
  return protobuf.Writer.create()
    .uint32(id * 8)
    .int64(value)
    .finish();
}

function text(id: number, value: string): Uint8Array {
  return inside(id, Buffer.from(value));
}

/** Reads the small model with more fields behind it; a graph that comes again adds to the first. */
function readWith(...more: Uint8Array[]) {
  return readGraph(sourceOf(Buffer.concat([onnx, ...more])));
}

describe('readGraph', () => {
  it('reads operators with their attributes, tensors, inputs and outputs', () => {
    const { graph, ...model } = readGraph(sourceOf(onnx));
    expect(model).toEqual({
      irVersion: 8,
      opsets: new Map([['', 17]]),
      metadata: new Map([['names', "{0: 'cat'}"]]),
      functions: [],
    });
    expect(graph.inputs).toEqual([{ name: 'x', kind: 'tensor', dataType: dataTypes.float, dims: ['n', 3] }]);
    expect(graph.outputs.map(({ name }) => name)).toEqual(['y']);
    expect(graph.initializers).toEqual([
      { name: 'axes', dims: [2], dataType: dataTypes.int64, values: [-1, 2 ** 53] },
      { name: 'weights', dims: [5000], dataType: dataTypes.float, values: undefined },
    ]);
    const [node] = graph.nodes;
    expect(node).toMatchObject({ opType: 'Softmax', domain: '', inputs: ['x', ''], outputs: ['y'] });
    expect(node?.attributes.get('axis')?.int).toBe(-1);
    expect(node?.attributes.get('alpha')?.float).toBe(0.5);
    expect(node?.attributes.get('nothing')?.int).toBe(0);
    expect(node?.attributes.get('value')?.tensor).toMatchObject({ dims: [], values: [0.25] });
    expect(node?.attributes.get('body')?.graph?.outputs).toMatchObject([{ name: 'x' }]);
  });

  it('reads numbers in every way that a tensor may hold them', () => {
    const tensor = (name: string, dataType: number, ...data: Uint8Array[]) =>
      inside(7, inside(5, inside(1, Uint8Array.of(2)), varint(2, dataType), text(8, name), ...data));
    const { graph } = readWith(
      tensor('packed', dataTypes.int64, inside(7, Uint8Array.of(5, 7))),
      tensor('single', dataTypes.int64, varint(7, -5), varint(7, 7)),
      tensor('small', dataTypes.int32, inside(5, Uint8Array.of(1, 2))),
      tensor('floats', dataTypes.float, inside(4, new Uint8Array(Float32Array.of(1.5, -2).buffer))),
      tensor('short', dataTypes.int64, varint(7, 1)),
      tensor('elsewhere', dataTypes.int64, varint(7, 1), varint(7, 2), varint(14, 1)),
    );
    const values = new Map(graph.initializers.map((each) => [each.name, each.values]));
    expect(values.get('packed')).toEqual([5, 7]);
    expect(values.get('single')).toEqual([-5, 7]);
    expect(values.get('small')).toEqual([1, 2]);
    expect(values.get('floats')).toEqual([1.5, -2]);
    expect(values.get('short')).toBeUndefined();
    expect(values.get('elsewhere')).toBeUndefined();
  });

  it('reads lists of attributes, domains, functions, and what is no tensor', () => {
    const attribute = inside(
      5,
      text(1, 'list'),
      varint(8, 1),
      inside(8, Uint8Array.of(2, 3)),
      text(9, 'a'),
      text(9, 'b'),
    );
    const node = inside(1, text(4, 'Scaler'), text(7, 'ai.onnx.ml'), attribute);
    const zipped = inside(12, text(1, 'zipped'), inside(2, inside(4, inside(1))));
    const free = inside(11, text(1, 'free'), inside(2, inside(1, varint(1, 1))));
    const { graph, functions, opsets } = readWith(
      inside(7, node, zipped, free),
      inside(25, text(1, 'Twice'), text(10, 'mine'), text(4, 'a'), text(5, 'b'), inside(7, text(4, 'Add'))),
      inside(8, text(1, 'ai.onnx.ml'), varint(2, 3)),
    );
    const last = graph.nodes.at(-1);
    expect(last).toMatchObject({ opType: 'Scaler', domain: 'ai.onnx.ml' });
    expect(last?.attributes.get('list')).toMatchObject({ ints: [1, 2, 3], texts: ['a', 'b'], cut: false });
    expect(graph.outputs.at(-1)).toMatchObject({ name: 'zipped', kind: 'sequence' });
    expect(graph.inputs.at(-1)).toMatchObject({ name: 'free', dims: undefined });
    expect(functions).toMatchObject([{ name: 'Twice', domain: 'mine', inputs: ['a'], outputs: ['b'] }]);
    expect(opsets).toEqual(
      new Map([
        ['', 17],
        ['ai.onnx.ml', 3],
      ]),
    );
  });

  it('reads no more of a file than its structure', () => {
    const weights = inside(7, inside(5, varint(2, dataTypes.float), inside(9, new Uint8Array(8_000_000))));
    const bytes = Buffer.concat([onnx, weights, inside(14, text(1, 'late'), text(2, 'yes'))]);
    let read = 0;
    const source = {
      size: bytes.length,
      read(at: number, length: number) {
        read += Math.min(length, bytes.length - at);
        return bytes.subarray(at, at + length);
      },
    };
    expect(readGraph(source).metadata.get('late')).toBe('yes');
    expect(read).toBeLessThan(400_000);
  });

  it('cuts lists that are too long to be read', () => {
    const list = inside(5, text(1, 'long'), ...Array.from({ length: 70_000 }, () => varint(8, 1)));
    const node = inside(1, text(4, 'Big'), list, text(7, 'com.example'));
    const last = readWith(inside(7, node)).graph.nodes.at(-1);
    expect(last?.attributes.get('long')?.cut).toBe(true);
    expect(last?.domain).toBe('com.example');
  });

  it('answers anything else with model_rejected', () => {
    const refused = (bytes: Uint8Array): boolean => {
      try {
        return readGraph(sourceOf(bytes)).irVersion >= -Infinity;
      } catch (error) {
        return error instanceof AppError && error.code === 'model_rejected';
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), refused));
    fc.assert(
      fc.property(fc.nat(onnx.length - 1), fc.nat(255), (at, value) => {
        const damaged = Uint8Array.from(onnx);
        damaged[at] = value;
        return refused(damaged);
      }),
    );
    for (let length = 1; length < onnx.length; length++) expect(refused(onnx.subarray(0, length))).toBe(true);
    expect(() => readGraph(sourceOf(Buffer.from('PK\x03\x04 no model')))).toThrow(/not a readable ONNX model/);
  });
});
