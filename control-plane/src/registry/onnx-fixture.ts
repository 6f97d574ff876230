// Small real models for tests. Used by tests only.
import { encodeModel, type OnnxGraph } from '../onnx/encode.ts';

const producer = { name: 'test', version: '1' };

export function onnxFile(graph: Omit<OnnxGraph, 'name'>): Uint8Array {
  return encodeModel({ irVersion: 8, opset: 17, producer, graph: { name: 'test', ...graph } });
}

/** `x` [n, 2] -> softmax(x * weight + [0, 1]) `scores` [n, 2]. */
export function softmaxModel(weight = 1): Uint8Array {
  return onnxFile({
    inputs: [{ name: 'x', type: 'float', dims: ['n', 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['n', 2] }],
    initializers: [
      { name: 'w', dims: [2, 2], data: new Float32Array([weight, 0, 0, weight]) },
      { name: 'b', dims: [2], data: new Float32Array([0, 1]) },
    ],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['product'] },
      { opType: 'Add', inputs: ['product', 'b'], outputs: ['logits'] },
      { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: 1 }] },
    ],
  });
}

/** `x` / `y`, integers: the smallest one by -1 ends the process. */
export function lethalModel(): Uint8Array {
  return onnxFile({
    inputs: [
      { name: 'x', type: 'int64', dims: [1] },
      { name: 'y', type: 'int64', dims: [1] },
    ],
    outputs: [{ name: 'quotient', type: 'int64', dims: [1] }],
    nodes: [{ opType: 'Div', inputs: ['x', 'y'], outputs: ['quotient'] }],
  });
}

/** A Loop without end over `x`. */
export function endlessModel(): Uint8Array {
  const body: OnnxGraph = {
    name: 'body',
    inputs: [
      { name: 'i', type: 'int64', dims: [] },
      { name: 'go', type: 'bool', dims: [] },
      { name: 'before', type: 'float', dims: [1] },
    ],
    outputs: [
      { name: 'on', type: 'bool', dims: [] },
      { name: 'after', type: 'float', dims: [1] },
    ],
    nodes: [
      { opType: 'Identity', inputs: ['go'], outputs: ['on'] },
      { opType: 'Cos', inputs: ['before'], outputs: ['after'] },
    ],
  };
  return onnxFile({
    inputs: [{ name: 'x', type: 'float', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: [1] }],
    initializers: [{ name: 'trips', dims: [], data: new BigInt64Array([2n ** 62n]) }],
    nodes: [
      { opType: 'Loop', inputs: ['trips', '', 'x'], outputs: ['y'], attributes: [{ name: 'body', graph: body }] },
    ],
  });
}

/** `x` -> a sequence of tensors `s`. */
export function sequenceModel(): Uint8Array {
  const withoutOutput = onnxFile({
    inputs: [{ name: 'x', type: 'float', dims: [1] }],
    outputs: [],
    nodes: [{ opType: 'SequenceConstruct', inputs: ['x'], outputs: ['s'] }],
  });
  // Our writer knows tensors only: another piece of the graph, which protobuf merges, adds the output.
  const tensor = field(1, [0x08, 1]);
  const output = field(12, [...field(1, [...Buffer.from('s')]), ...field(2, field(4, field(1, tensor)))]);
  return Buffer.concat([withoutOutput, Buffer.from(field(7, output))]);
}

/** `w` is said to be in another file. */
export function externalModel(location: string): Uint8Array {
  const model = onnxFile({
    inputs: [{ name: 'x', type: 'float', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: [1] }],
    nodes: [{ opType: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
  });
  const entry = field(13, [...field(1, [...Buffer.from('location')]), ...field(2, [...Buffer.from(location)])]);
  const tensor = [0x08, 1, 0x10, 1, ...field(8, [...Buffer.from('w')]), ...entry, 0x70, 1];
  return Buffer.concat([model, Buffer.from(field(7, field(5, tensor)))]);
}

/** A field of bytes, shorter than 128. */
function field(number: number, content: number[]): number[] {
  return [(number << 3) | 2, content.length, ...content];
}
