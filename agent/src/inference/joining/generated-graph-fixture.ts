// Small graphs of many operators, made of a list of numbers: the same list gives the same graph, and a shorter one a simpler
// graph. Used by tests only.
import type { OnnxNode, OnnxTensor } from '@edgeloop/shared/onnx/encode';
import { encodeGraph } from '../../../../test/support/onnx-models.ts';

/** With so many rows all shapes are worked out; no other dimension has this size unless it comes of the rows. */
const rowsInShapes = 5;

export interface GeneratedGraph {
  bytes: Uint8Array;
  /** Of a row of `x`. */
  dims: readonly number[];
  /** For people: the operators in order. */
  words: string;
}

interface Value {
  name: string;
  dims: readonly number[];
}

/** Draws from the list; 0 when it is used up. */
type Draw = (below: number) => number;

interface Making {
  draw: Draw;
  nodes: OnnxNode[];
  initializers: OnnxTensor[];
  values: Value[];
}

type Step = (making: Making, x: Value) => Value | undefined;

export function generateGraph(numbers: readonly number[]): GeneratedGraph {
  let at = 0;
  const draw: Draw = (below) => (numbers[at++] ?? 0) % below;
  const rank = 1 + draw(3);
  const dims = Array.from({ length: rank }, () => 2 + draw(3));
  const making: Making = { draw, nodes: [], initializers: [], values: [{ name: 'x', dims: [rowsInShapes, ...dims] }] };
  while (at < numbers.length) {
    const step = steps[draw(steps.length)];
    const { values } = making;
    // What came last is most often taken on.
    const from = values[draw(3) === 0 ? draw(values.length) : values.length - 1];
    const made = from && step?.(making, from);
    if (made) values.push(made);
  }
  const last = making.values.at(-1) ?? { name: 'x', dims };
  making.nodes.push({ opType: 'Identity', inputs: [last.name], outputs: ['y'] });
  const bytes = encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: ['n', ...dims] }],
    outputs: [{ name: 'y', type: 'float', dims: last.dims.map((_, i) => `d${i}`) }],
    initializers: making.initializers,
    nodes: making.nodes,
  });
  return { bytes, dims, words: making.nodes.map(({ opType, inputs }) => `${opType}(${inputs.join(' ')})`).join(' ') };
}

const sizeOf = (dims: readonly number[]): number => dims.reduce((size, dim) => size * dim, 1);

function add(making: Making, opType: string, inputs: readonly string[], more: Partial<OnnxNode> = {}): string {
  const name = `${opType.toLowerCase()}${making.nodes.length}`;
  making.nodes.push({ opType, inputs, outputs: [name], ...more });
  return name;
}

function floats(making: Making, dims: readonly number[]): string {
  const name = `c${making.initializers.length}`;
  const data = Float32Array.from({ length: sizeOf(dims) }, () => (making.draw(9) - 4) / 3);
  making.initializers.push({ name, dims, data });
  return name;
}

function integers(making: Making, values: readonly number[], dims: readonly number[] = [values.length]): string {
  const name = `c${making.initializers.length}`;
  making.initializers.push({ name, dims, data: BigInt64Array.from(values, BigInt) });
  return name;
}

const int = (name: string, value: number) => ({ name, int: value });
const ints = (name: string, values: readonly number[]) => ({ name, ints: values });

function broadcast(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const dims = Array.from(
    { length: rank },
    (_, i) => [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1] as const,
  );
  if (dims.some(([x, y]) => x !== y && x !== 1 && y !== 1)) return undefined;
  return dims.map(([x, y]) => Math.max(x, y));
}

const unary: Step = (making, { name, dims }) => {
  const opTypes = ['Relu', 'Tanh', 'Sigmoid', 'Neg', 'Abs', 'Identity', 'Softplus', 'Dropout', 'Clip', 'Erf'];
  return { name: add(making, opTypes[making.draw(opTypes.length)] ?? 'Relu', [name]), dims };
};

const binary: Step = (making, { name, dims }) => {
  const other = making.values[making.draw(making.values.length)];
  const made = other && broadcast(dims, other.dims);
  const opTypes = ['Add', 'Sub', 'Mul', 'Max', 'Min'];
  return made && { name: add(making, opTypes[making.draw(opTypes.length)] ?? 'Add', [name, other.name]), dims: made };
};

const withConstant: Step = (making, { name, dims }) => {
  const shape = dims
    .slice(making.draw(dims.length + 1))
    .map((dim) => (dim === rowsInShapes || making.draw(2) === 0 ? 1 : dim));
  return { name: add(making, making.draw(2) === 0 ? 'Add' : 'Mul', [name, floats(making, shape)]), dims };
};

const matMul: Step = (making, { name, dims }) => {
  const width = 2 + making.draw(3);
  const last = dims.at(-1) ?? 1;
  if (dims.length === 0) return undefined;
  if (making.draw(3) === 0 && dims.length > 1) {
    const weights = floats(making, [width, dims.at(-2) ?? 1]);
    return { name: add(making, 'MatMul', [weights, name]), dims: [...dims.slice(0, -2), width, last] };
  }
  return { name: add(making, 'MatMul', [name, floats(making, [last, width])]), dims: [...dims.slice(0, -1), width] };
};

const matMulOfTwo: Step = (making, { name, dims }) => {
  const other = making.values[making.draw(making.values.length)];
  if (!other || dims.length < 2 || other.dims.length < 2 || dims.at(-1) !== other.dims.at(-2)) return undefined;
  const outer = broadcast(dims.slice(0, -2), other.dims.slice(0, -2));
  return (
    outer && {
      name: add(making, 'MatMul', [name, other.name]),
      dims: [...outer, dims.at(-2) ?? 1, other.dims.at(-1) ?? 1],
    }
  );
};

const gemm: Step = (making, { name, dims: [height = 1, width = 1, ...rest] }) => {
  if (rest.length > 0) return undefined;
  const turned = making.draw(2);
  const outer = 2 + making.draw(3);
  const weights = floats(making, [turned === 0 ? width : height, outer]);
  const made = add(making, 'Gemm', [name, weights, floats(making, [outer])], { attributes: [int('transA', turned)] });
  return { name: made, dims: [turned === 0 ? height : width, outer] };
};

const alongAxis: Step = (making, { name, dims }) => {
  if (dims.length === 0) return undefined;
  const axis = making.draw(dims.length);
  switch (making.draw(4)) {
    case 0:
      return { name: add(making, 'CumSum', [name, integers(making, [axis], [])]), dims };
    case 1: {
      const scale = floats(
        making,
        dims.slice(axis).map((dim) => (dim === rowsInShapes ? 1 : dim)),
      );
      return { name: add(making, 'LayerNormalization', [name, scale], { attributes: [int('axis', axis)] }), dims };
    }
    case 2:
      return { name: add(making, 'LpNormalization', [name], { attributes: [int('axis', axis)] }), dims };
    default:
      return {
        name: add(making, making.draw(2) === 0 ? 'Softmax' : 'LogSoftmax', [name], { attributes: [int('axis', axis)] }),
        dims,
      };
  }
};

const reduce: Step = (making, { name, dims }) => {
  const opTypes = ['ReduceMean', 'ReduceMax', 'ReduceL2', 'ReduceSum'];
  const opType = opTypes[making.draw(opTypes.length)] ?? 'ReduceMean';
  const axes = dims.flatMap((_, axis) => (making.draw(3) === 0 ? [axis] : []));
  const keeps = making.draw(2);
  const all = axes.length === 0;
  const made = dims.flatMap((dim, axis) => (all || axes.includes(axis) ? (keeps === 1 ? [1] : []) : [dim]));
  // From opset 13 on the axes of a sum are an input.
  const settings =
    all || opType === 'ReduceSum' ? [int('keepdims', keeps)] : [int('keepdims', keeps), ints('axes', axes)];
  const inputs = opType === 'ReduceSum' && !all ? [name, integers(making, axes)] : [name];
  return { name: add(making, opType, inputs, { attributes: settings }), dims: made };
};

const best: Step = (making, { name, dims }) => {
  if (dims.length === 0) return undefined;
  const axis = making.draw(dims.length);
  const found = add(making, 'ArgMax', [name], { attributes: [int('axis', axis), int('keepdims', 0)] });
  return { name: add(making, 'Cast', [found], { attributes: [int('to', 1)] }), dims: dims.toSpliced(axis, 1) };
};

const transpose: Step = (making, { name, dims }) => {
  const left = dims.map((_, place) => place);
  const order = dims.flatMap(() => left.splice(making.draw(left.length), 1));
  return {
    name: add(making, 'Transpose', [name], { attributes: [ints('perm', order)] }),
    dims: order.map((place) => dims[place] ?? 1),
  };
};

const reshape: Step = (making, { name, dims }) => {
  const size = sizeOf(dims);
  const divisors = [2, 3, 4, 6, 8, 12].filter((each) => size % each === 0);
  const inner = divisors[making.draw(divisors.length || 1)] ?? 1;
  const wanted = [[-1, inner], [0, -1], [-1], [inner, -1], [-1, 1, inner], [1, -1, inner], [0, 0, -1]][
    making.draw(7)
  ] ?? [-1];
  const kept = wanted.map((dim, place) => (dim === 0 ? (dims[place] ?? 0) : dim));
  const rest = size / sizeOf(kept.filter((dim) => dim !== -1));
  if (!Number.isInteger(rest)) return undefined;
  return {
    name: add(making, 'Reshape', [name, integers(making, wanted)]),
    dims: kept.map((dim) => (dim === -1 ? rest : dim)),
  };
};

/** By a shape that is taken from the tensor's own, or from the input's. */
const reshapeByShape: Step = (making, { name, dims }) => {
  const source = making.draw(2) === 0 ? { name, dims } : { name: 'x', dims: making.values[0]?.dims ?? [] };
  const place = making.draw(source.dims.length || 1);
  const shape = add(making, 'Shape', [source.name]);
  const first = add(making, 'Gather', [shape, integers(making, [place])], { attributes: [int('axis', 0)] });
  const size = source.dims[place] ?? 1;
  if (sizeOf(dims) % size !== 0) return undefined;
  const whole = add(
    making,
    'Concat',
    making.draw(2) === 0 ? [first, integers(making, [-1])] : [integers(making, [-1]), first],
    {
      attributes: [int('axis', 0)],
    },
  );
  const isFirst = making.nodes.at(-1)?.inputs[0] === first;
  const rest = sizeOf(dims) / size;
  return { name: add(making, 'Reshape', [name, whole]), dims: isFirst ? [size, rest] : [rest, size] };
};

const flatten: Step = (making, { name, dims }) => {
  const axis = making.draw(dims.length + 1);
  const made = [sizeOf(dims.slice(0, axis)), sizeOf(dims.slice(axis))];
  return { name: add(making, 'Flatten', [name], { attributes: [int('axis', axis)] }), dims: made };
};

const unsqueeze: Step = (making, { name, dims }) => {
  const axis = making.draw(dims.length + 1);
  return dims.length > 3
    ? undefined
    : { name: add(making, 'Unsqueeze', [name, integers(making, [axis])]), dims: dims.toSpliced(axis, 0, 1) };
};

const squeeze: Step = (making, { name, dims }) => {
  const ones = dims.flatMap((dim, place) => (dim === 1 ? [place] : []));
  const place = ones[making.draw(ones.length || 1)];
  if (place === undefined) return undefined;
  if (making.draw(3) === 0) return { name: add(making, 'Squeeze', [name]), dims: dims.filter((dim) => dim !== 1) };
  return { name: add(making, 'Squeeze', [name, integers(making, [place])]), dims: dims.toSpliced(place, 1) };
};

const concat: Step = (making, { name, dims }) => {
  const axis = making.draw(dims.length || 1);
  const others = making.values.filter(
    (each) => each.dims.length === dims.length && each.dims.every((dim, i) => i === axis || dim === dims[i]),
  );
  const other = others[making.draw(others.length || 1)];
  if (!other || dims.length === 0) return undefined;
  const made = dims.with(axis, (dims[axis] ?? 0) + (other.dims[axis] ?? 0));
  return { name: add(making, 'Concat', [name, other.name], { attributes: [int('axis', axis)] }), dims: made };
};

const slice: Step = (making, { name, dims }) => {
  const axis = making.draw(dims.length || 1);
  const [start, end] = [making.draw(2), [2 ** 31 - 1, -1, 2][making.draw(3)] ?? 2];
  const length = dims[axis] ?? 0;
  const made = Math.min(end < 0 ? length + end : end, length) - start;
  if (dims.length === 0 || made < 1) return undefined;
  const settings = [[start], [end], [axis], [1]].map((each) => integers(making, each));
  return { name: add(making, 'Slice', [name, ...settings]), dims: dims.with(axis, made) };
};

const gather: Step = (making, { name, dims }) => {
  const axis = making.draw(dims.length || 1);
  if (dims.length === 0) return undefined;
  const scalar = making.draw(2) === 0;
  const indices = scalar ? integers(making, [0], []) : integers(making, [0, (dims[axis] ?? 1) > 1 ? 1 : 0]);
  const made = add(making, 'Gather', [name, indices], { attributes: [int('axis', axis)] });
  return { name: made, dims: dims.toSpliced(axis, 1, ...(scalar ? [] : [2])) };
};

/** Something of the input's own shape that comes of its shape alone. */
const filled: Step = (making, { name, dims }) => {
  const shape = add(making, 'Shape', [name]);
  const value =
    making.draw(2) === 0
      ? add(making, 'ConstantOfShape', [shape])
      : add(making, 'Expand', [floats(making, [1]), shape]);
  return { name: add(making, 'Add', [name, value]), dims };
};

/** Each row with its place, or by their number. */
const told: Step = (making, { name, dims }) => {
  const shape = add(making, 'Shape', [name]);
  const place = making.draw(dims.length || 1);
  if (dims.length === 0) return undefined;
  const size = add(making, 'Gather', [shape, integers(making, [place], [])], { attributes: [int('axis', 0)] });
  const count = add(making, 'Cast', [size], { attributes: [int('to', 1)] });
  return { name: add(making, making.draw(2) === 0 ? 'Div' : 'Mul', [name, count]), dims };
};

const tile: Step = (making, { name, dims }) => {
  if (sizeOf(dims) > 400) return undefined;
  const repeats = dims.map(() => 1 + (making.draw(3) === 0 ? 1 : 0));
  return {
    name: add(making, 'Tile', [name, integers(making, repeats)]),
    dims: dims.map((dim, i) => dim * (repeats[i] ?? 1)),
  };
};

const pad: Step = (making, { name, dims }) => {
  const pads = [...dims, ...dims].map(() => (making.draw(4) === 0 ? 1 : 0));
  const made = dims.map((dim, i) => dim + (pads[i] ?? 0) + (pads[i + dims.length] ?? 0));
  return { name: add(making, 'Pad', [name, integers(making, pads)]), dims: made };
};

const choose: Step = (making, { name, dims }) => {
  const above = add(making, 'Greater', [name, floats(making, [])]);
  return { name: add(making, 'Where', [above, name, floats(making, [1])]), dims };
};

const quantise: Step = (making, { name, dims }) => {
  const made = `dynamic${making.nodes.length}`;
  making.nodes.push({ opType: 'DynamicQuantizeLinear', inputs: [name], outputs: [made, `${made}s`, `${made}z`] });
  return { name: add(making, 'DequantizeLinear', [made, `${made}s`, `${made}z`]), dims };
};

const convolve: Step = (making, { name, dims: [rows = 1, channels = 1, ...rest] }) => {
  if (rest.length !== 1 || (rest[0] ?? 0) < 2) return undefined;
  const [width = 0] = rest;
  switch (making.draw(4)) {
    case 0:
      return { name: add(making, 'Conv', [name, floats(making, [3, channels, 2])]), dims: [rows, 3, width - 1] };
    case 1:
      return {
        name: add(making, 'MaxPool', [name], { attributes: [ints('kernel_shape', [2])] }),
        dims: [rows, channels, width - 1],
      };
    case 2:
      return { name: add(making, 'GlobalAveragePool', [name]), dims: [rows, channels, 1] };
    default:
      if (channels === rowsInShapes) return undefined;
      return {
        name: add(making, 'InstanceNormalization', [name, floats(making, [channels]), floats(making, [channels])]),
        dims: [rows, channels, width],
      };
  }
};

const recur: Step = (making, { name, dims: [steps = 1, batch = 1, ...rest] }) => {
  const [width = 0] = rest;
  if (rest.length !== 1 || width === rowsInShapes) return undefined;
  const weights = [floats(making, [1, 6, width]), floats(making, [1, 6, 2])];
  const made = add(making, 'GRU', [name, ...weights], { attributes: [int('hidden_size', 2)] });
  return { name: made, dims: [steps, 1, batch, 2] };
};

const einsum: Step = (making, { name, dims }) => {
  const letters = 'abcd'.slice(0, dims.length);
  const other = making.values.find(
    (each) => each.dims.length === dims.length && each.dims.every((dim, i) => dim === dims[i]),
  );
  const kept = [...letters].filter(() => making.draw(2) === 0);
  if (!other || dims.length === 0 || dims.length > 3) return undefined;
  const equation = { name: 'equation', text: `${letters},${letters}->${kept.join('')}` };
  return {
    name: add(making, 'Einsum', [name, other.name], { attributes: [equation] }),
    dims: kept.map((letter) => dims[letters.indexOf(letter)] ?? 1),
  };
};

const topOne: Step = (making, { name, dims }) => {
  if (dims.length === 0) return undefined;
  const axis = making.draw(dims.length);
  const made = `top${making.nodes.length}`;
  making.nodes.push({
    opType: 'TopK',
    inputs: [name, integers(making, [1])],
    outputs: [made, `${made}i`],
    attributes: [int('axis', axis)],
  });
  return { name: made, dims: dims.with(axis, 1) };
};

const steps: readonly Step[] = [
  ...[unary, unary, binary, withConstant, matMul, matMulOfTwo, gemm, alongAxis, reduce, best, transpose, reshape],
  ...[reshapeByShape, flatten, unsqueeze, squeeze, concat, slice, gather, filled, told, tile, pad, choose, quantise],
  ...[convolve, recur, einsum, topOne],
];
