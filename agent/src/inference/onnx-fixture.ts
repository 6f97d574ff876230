// A minimal writer of ONNX files, so that tests can run real models without carrying binaries. Used by tests only.
// Field numbers are those of onnx.proto3.

const elementTypes = { float: 1, uint8: 2, int32: 6, int64: 7, string: 8, bool: 9, float16: 10, double: 11 } as const;
type ElementType = keyof typeof elementTypes;

/** A graph input or output. A name as dimension is a free one. */
interface ValueInfo {
  name: string;
  type?: ElementType;
  shape: (number | string)[];
}

interface OnnxGraph {
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  nodes: { op: string; inputs: string[]; outputs: string[]; attributes?: Record<string, number> }[];
  floats?: { name: string; shape: number[]; data: number[] }[];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return [...bytes, rest];
}

const int = (field: number, value: number): Buffer => Buffer.from([...varint(field * 8), ...varint(value)]);

function bytes(field: number, value: string | Buffer | Buffer[]): Buffer {
  const body = Array.isArray(value) ? Buffer.concat(value) : Buffer.from(value);
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(body.length)]), body]);
}

function valueInfo({ name, type = 'float', shape }: ValueInfo): Buffer[] {
  const dimensions = shape.map((dim) => bytes(1, [typeof dim === 'number' ? int(1, dim) : bytes(2, dim)]));
  return [bytes(1, name), bytes(2, [bytes(1, [int(1, elementTypes[type]), bytes(2, dimensions)])])];
}

/** Bytes of an ONNX model (IR 8, opset 17) with integer attributes and float initializers. */
export function encodeOnnx(graph: OnnxGraph): Buffer {
  const nodes = graph.nodes.map((node) =>
    bytes(1, [
      ...node.inputs.map((name) => bytes(1, name)),
      ...node.outputs.map((name) => bytes(2, name)),
      bytes(4, node.op),
      ...Object.entries(node.attributes ?? {}).map(([name, value]) =>
        bytes(5, [bytes(1, name), int(3, value), int(20, 2)]),
      ),
    ]),
  );
  const initializers = (graph.floats ?? []).map(({ name, shape, data }) =>
    bytes(5, [
      ...shape.map((dim) => int(1, dim)),
      int(2, elementTypes.float),
      bytes(8, name),
      bytes(9, Buffer.from(Float32Array.from(data).buffer)),
    ]),
  );
  return Buffer.concat([
    int(1, 8),
    bytes(7, [
      ...nodes,
      bytes(2, 'fixture'),
      ...initializers,
      ...graph.inputs.map((value) => bytes(11, valueInfo(value))),
      ...graph.outputs.map((value) => bytes(12, valueInfo(value))),
    ]),
    bytes(8, [bytes(1, ''), int(2, 17)]),
  ]);
}

/** `features` [n, f] -> softmax(features * weights + bias) `scores` [n, classes]. `weights` has a row per feature. */
export function softmaxModel(weights: number[][], bias: number[]): Buffer {
  return encodeOnnx({
    inputs: [{ name: 'features', shape: ['n', weights.length] }],
    outputs: [{ name: 'scores', shape: ['n', bias.length] }],
    floats: [
      { name: 'w', shape: [weights.length, bias.length], data: weights.flat() },
      { name: 'b', shape: [bias.length], data: bias },
    ],
    nodes: [
      { op: 'MatMul', inputs: ['features', 'w'], outputs: ['product'] },
      { op: 'Add', inputs: ['product', 'b'], outputs: ['logits'] },
      { op: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: { axis: 1 } },
    ],
  });
}

/** `x` -> `y`, the same values, of any type and shape. */
export function identityModel(type: ElementType, shape: (number | string)[]): Buffer {
  return encodeOnnx({
    inputs: [{ name: 'x', type, shape }],
    outputs: [{ name: 'y', type, shape }],
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
  });
}
