import fc from 'fast-check';
import * as ort from 'onnxruntime-node';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { AppError } from '../errors.ts';
import { encodeModel, type OnnxGraph, type OnnxModel, type OnnxNode } from './encode.ts';
import { readModelHeader } from './header.ts';
import { ModelProto } from './schema.ts';

const condition = { name: 'condition', type: 'bool', dims: [] } as const;
const result = { name: 'result', type: 'float', dims: [2] } as const;

/** A graph without inputs that gives a constant. */
function branch(name: string): OnnxGraph {
  const tensor = { name: `${name}.value`, dims: [2], data: Float32Array.of(1, 2) };
  const node = { opType: 'Constant', inputs: [], outputs: [`${name}.result`], attributes: [{ name: 'value', tensor }] };
  return { name, nodes: [node], inputs: [], outputs: [{ ...result, name: `${name}.result` }] };
}

function choose(input: string, output: string, branches: { yes: OnnxGraph; no: OnnxGraph }): OnnxNode {
  const attributes = [
    { name: 'then_branch', graph: branches.yes },
    { name: 'else_branch', graph: branches.no },
  ];
  return { opType: 'If', inputs: [input], outputs: [output], attributes };
}

function model(nodes: OnnxNode[]): OnnxModel {
  const initializers = [{ name: 'unused', dims: [2], data: BigInt64Array.of(1n, -2n) }];
  const graph = { name: 'main', nodes, initializers, inputs: [condition], outputs: [result] };
  return { irVersion: 8, opset: 17, producer: { name: 'test', version: '3' }, graph };
}

const plain = model([choose('condition', 'result', { yes: branch('yes'), no: branch('no') })]);

/** The model as a plain message, to put into it what our writer cannot write. */
function messageOf(source: OnnxModel) {
  return ModelProto.toObject(ModelProto.decode(encodeModel(source)));
}

/** `external_data` of one tensor, appended to its bytes by hand: key and value of the place, then the location. */
function externalTensor(place: string): Uint8Array {
  const entry = protobuf.Writer.create().uint32(10).string('location').uint32(18).string(place).finish();
  return protobuf.Writer.create().uint32(66).string('weights').uint32(106).bytes(entry).uint32(112).uint32(1).finish();
}

/** Wraps bytes as field `id` of a message. */
function inside(id: number, content: Uint8Array): Uint8Array {
  return protobuf.Writer.create()
    .uint32(id * 8 + 2)
    .bytes(content)
    .finish();
}

const onnx = encodeModel(plain);
/** Adds fields to the end of the file; protobuf merges a repeated `graph` with the first. */
function withExtra(...paths: [number[], Uint8Array][]): Uint8Array {
  return Buffer.concat([
    onnx,
    ...paths.map(([ids, content]) => ids.reduceRight((bytes, id) => inside(id, bytes), content)),
  ]);
}

describe('encodeModel', () => {
  it('writes models with subgraphs that ONNX Runtime runs', async () => {
    const session = await ort.InferenceSession.create(onnx);
    const output = await session.run({ condition: new ort.Tensor('bool', [true], []) });
    expect([...(output.result?.data ?? [])]).toEqual([1, 2]);
    await session.release();
  });

  it('refuses a tensor whose values do not fill its shape', () => {
    const initializers = [{ name: 'w', dims: [3], data: Float32Array.of(1) }];
    expect(() => encodeModel({ ...plain, graph: { ...plain.graph, initializers } })).toThrow(/tensor w has 1 values/);
  });
});

describe('readModelHeader', () => {
  it('reads versions, producer and the names of inputs and outputs', () => {
    expect(readModelHeader(onnx)).toEqual({
      opset: 17,
      irVersion: 8,
      producer: { name: 'test', version: '3' },
      inputs: ['condition'],
      outputs: ['result'],
      externalDataLocations: [],
    });
  });

  it('leaves out inputs that have an initializer', () => {
    const initializers = [{ name: 'scale', dims: [1], data: Float32Array.of(1) }];
    const inputs = [condition, { name: 'scale', type: 'float', dims: [1] } as const];
    const bytes = encodeModel({ ...plain, graph: { ...plain.graph, initializers, inputs } });
    expect(readModelHeader(bytes).inputs).toEqual(['condition']);
  });

  // Field numbers: model.graph 7, .training_info 20, .functions 25; graph.node 1, .initializer 5, .sparse 15;
  // node.attribute 5; attribute.t 5, .g 6, .tensors 10, .graphs 11, .sparse_tensor 22.
  it.each([
    ['an initializer', [7, 5]],
    ['a sparse initializer', [7, 15, 1]],
    ["a node's tensor", [7, 1, 5, 5]],
    ["a node's list of tensors", [7, 1, 5, 10]],
    ['a sparse tensor of a node', [7, 1, 5, 22, 2]],
    ["an initializer of a subgraph's subgraph", [7, 1, 5, 6, 1, 5, 11, 5]],
    ["a node's tensor in a subgraph", [7, 1, 5, 6, 1, 5, 5]],
    ['a function', [25, 7, 5, 5]],
    ['a default attribute of a function', [25, 11, 5]],
    ['a training graph', [20, 2, 5]],
  ])('finds data kept outside the file in %s', (_, ids) => {
    expect(readModelHeader(withExtra([ids, externalTensor('../../etc/passwd')])).externalDataLocations).toEqual([
      '../../etc/passwd',
    ]);
  });

  it('finds data kept outside the file that a later repetition of the tensor does not mention', () => {
    const harmless = protobuf.Writer.create().uint32(66).string('weights').finish();
    const attribute = Buffer.concat([inside(5, externalTensor('a.bin')), inside(5, harmless)]);
    const found = readModelHeader(withExtra([[7, 1, 5], attribute], [[7, 5], externalTensor('b.bin')]));
    expect(found.externalDataLocations).toEqual(['a.bin', 'b.bin']);
  });

  it('reports a tensor outside the file that names no place as an empty place', () => {
    const bare = protobuf.Writer.create().uint32(112).uint32(1).finish();
    expect(readModelHeader(withExtra([[7, 5], bare])).externalDataLocations).toEqual(['']);
  });

  it('refuses files cut short anywhere', () => {
    for (let length = 0; length < onnx.length; length++) {
      const attempt = () => readModelHeader(onnx.subarray(0, length));
      expect(attempt, `cut to ${length} bytes`).toThrow(AppError);
    }
  });

  it('answers bytes that are no model with model_rejected, and never with anything else', () => {
    const refused = (bytes: Uint8Array) => {
      try {
        return readModelHeader(bytes).irVersion > 0;
      } catch (error) {
        return error instanceof AppError && error.code === 'model_rejected';
      }
    };
    for (const text of ['', '{"not": "onnx"}', '\x7fELF\x02\x01', 'PK\x03\x04'])
      expect(() => readModelHeader(Buffer.from(text))).toThrow(/not a readable ONNX model/);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), refused));
    fc.assert(
      fc.property(fc.nat(onnx.length - 1), fc.nat(255), (at, value) => {
        const damaged = Uint8Array.from(onnx);
        damaged[at] = value;
        return refused(damaged);
      }),
    );
  });

  it('takes a model of other operators only', () => {
    const bytes = ModelProto.encode({
      ...messageOf(plain),
      opsetImport: [{ domain: 'ai.onnx.ml', version: 1 }],
    }).finish();
    expect(readModelHeader(bytes)).toMatchObject({ opset: undefined, irVersion: 8 });
  });

  it('refuses a model without a graph, an operator set or an output', () => {
    const whole = messageOf(plain);
    for (const [change, reason] of [
      [{ graph: undefined }, /no graph/],
      [{ opsetImport: [] }, /any operator set/],
      [{ graph: { ...whole.graph, output: [] } }, /no outputs/],
    ] as const) {
      const bytes = ModelProto.encode({ ...whole, ...change }).finish();
      expect(() => readModelHeader(bytes)).toThrow(reason);
    }
  });

  it('refuses a field that runs past the end of its message into the next one', () => {
    const name = protobuf.Writer.create().uint32(10).string('x').finish();
    const overrun = Uint8Array.of(...name.subarray(0, 1), 2, ...name.subarray(2));
    const bytes = Buffer.concat([withExtra([[7, 11], overrun]), inside(2, Buffer.from('test'))]);
    expect(() => readModelHeader(bytes)).toThrow(/goes past the end of its message/);
  });

  it('refuses subgraphs that nest without end', () => {
    const depth = 20_000;
    const ids = [7, ...Array.from({ length: depth }, () => [1, 5, 6]).flat()];
    // Built from the inside out with a length prefix per level, as protobuf does.
    let size = 0;
    const prefixes: Uint8Array[] = [];
    for (const id of ids.toReversed()) {
      const prefix = protobuf.Writer.create()
        .uint32(id * 8 + 2)
        .uint32(size)
        .finish();
      prefixes.push(prefix);
      size += prefix.length;
    }
    const bytes = Buffer.concat([onnx, ...prefixes.toReversed()]);
    expect(() => readModelHeader(bytes)).toThrow(/nest deeper than 100/);
  });
});
