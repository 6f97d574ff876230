// Pipelines of many steps made of a list of numbers, and the same as one ONNX graph: what ONNX Runtime makes of that is what
// the pipeline must give. Used by tests only.
import type { z } from 'zod';
import { encodeGraph } from '../../../test/support/onnx-models.ts';
import type { OnnxNode, OnnxTensor } from '../onnx/encode.ts';
import type { Pipeline } from '../pipeline-manifest.ts';

type StepInput = z.input<typeof Pipeline>['steps'][number];

export interface GeneratedPipeline {
  pipeline: z.input<typeof Pipeline>;
  /** Of the steps that are models. */
  files: Record<string, Uint8Array>;
  /** All of it as one graph. */
  whole: Uint8Array;
  dims: readonly number[];
}

interface Value {
  name: string;
  dims: readonly number[];
}

type Draw = (below: number) => number;

interface Making {
  draw: Draw;
  steps: StepInput[];
  files: Record<string, Uint8Array>;
  nodes: OnnxNode[];
  constants: OnnxTensor[];
  values: Value[];
}

export function generatePipeline(numbers: readonly number[]): GeneratedPipeline {
  let at = 0;
  const draw: Draw = (below) => (numbers[at++] ?? 0) % below;
  const dims = Array.from({ length: 1 + draw(3) }, () => 1 + draw(4));
  const making: Making = { draw, steps: [], files: {}, nodes: [], constants: [], values: [{ name: 'x', dims }] };
  do addStep(making);
  while (at < numbers.length && making.steps.length < 20);
  const outputs = unread(making);
  return {
    dims,
    files: making.files,
    pipeline: {
      inputs: [{ name: 'x', datatype: 'FP32', shape: dims }],
      outputs: outputs.map(({ name }) => name),
      steps: shuffled(making.steps, draw),
    },
    whole: encodeGraph({
      inputs: [{ name: 'x', type: 'float', dims: [...dims] }],
      outputs: outputs.map(({ name, dims: of }) => ({ name, type: 'float', dims: [...of] })),
      initializers: making.constants,
      nodes: making.nodes,
    }),
  };
}

/** What no step reads comes out. */
function unread({ values, nodes }: Making): Value[] {
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  return values.filter(({ name }) => name !== 'x' && !read.has(name));
}

/** Steps may stand in any order. */
function shuffled<T>(list: readonly T[], draw: Draw): T[] {
  const left = [...list];
  return list.map(() => left.splice(draw(left.length), 1)[0] as T);
}

function addStep(making: Making): void {
  const { draw, values, steps } = making;
  const from = values[draw(values.length)] ?? { name: 'x', dims: [] };
  const output = `t${steps.length}`;
  const kinds = [aModel, softmax, sigmoid, scale, average, threshold];
  if (from.dims.length > 0) kinds.push(argmax, slice, select, concat, topK);
  kinds[draw(kinds.length)]?.(making, from, output);
}

type Make = (making: Making, from: Value, output: string) => void;

const single = (from: Value, output: string) => ({ name: `make-${output}`, input: from.name, output });

/** A file of its own. */
const aModel: Make = ({ draw, steps, files, nodes, values }, from, output) => {
  const opType = ['Neg', 'Tanh', 'Abs', 'Relu'][draw(4)] ?? 'Neg';
  const model = `${output}.onnx`;
  files[model] = encodeGraph({
    inputs: [{ name: 'in', type: 'float', dims: [...from.dims] }],
    outputs: [{ name: 'out', type: 'float', dims: [...from.dims] }],
    nodes: [{ opType, inputs: ['in'], outputs: ['out'] }],
  });
  steps.push({ name: `run-${output}`, model, inputs: { in: from.name }, outputs: { out: output } });
  nodes.push({ opType, inputs: [from.name], outputs: [output] });
  values.push({ name: output, dims: from.dims });
};

const softmax: Make = (making, from, output) => {
  if (from.dims.length === 0) return sigmoid(making, from, output);
  const axis = making.draw(from.dims.length) - (making.draw(2) === 0 ? from.dims.length : 0);
  making.steps.push({ ...single(from, output), operation: 'softmax', axis });
  push(making, { opType: 'Softmax', from, output, attributes: [{ name: 'axis', int: axis }] });
};

const sigmoid: Make = (making, from, output) => {
  making.steps.push({ ...single(from, output), operation: 'sigmoid' });
  push(making, { opType: 'Sigmoid', from, output });
};

const scale: Make = (making, from, output) => {
  const { draw, steps, nodes, values } = making;
  const factor = 1 + draw(4) / 4;
  const axis = from.dims.length === 0 ? undefined : draw(from.dims.length);
  const size = axis === undefined ? 1 : (from.dims[axis] ?? 1);
  const mean = Array.from({ length: draw(2) === 0 ? 1 : size }, () => draw(5) / 8);
  const std = Array.from({ length: draw(2) === 0 ? 1 : size }, () => 1 + draw(5) / 4);
  steps.push({
    ...single(from, output),
    operation: 'scale',
    scale: factor,
    mean,
    std,
    ...(axis !== undefined && { axis }),
  });
  const along = (list: readonly number[]): number[] =>
    list.length === 1 ? [] : from.dims.map((_, place) => (place === axis ? size : 1));
  const scaled = constant(making, `${output}-scale`, [factor], []);
  const middle = constant(making, `${output}-mean`, mean, along(mean));
  const width = constant(making, `${output}-std`, std, along(std));
  nodes.push({ opType: 'Mul', inputs: [from.name, scaled], outputs: [`${output}-a`] });
  nodes.push({ opType: 'Sub', inputs: [`${output}-a`, middle], outputs: [`${output}-b`] });
  nodes.push({ opType: 'Div', inputs: [`${output}-b`, width], outputs: [output] });
  values.push({ name: output, dims: from.dims });
};

const average: Make = (making, from, output) => {
  const { draw, steps, nodes, values } = making;
  const alike = values.filter(({ dims }) => dims.join() === from.dims.join());
  const inputs = Array.from({ length: 2 + draw(2) }, () => alike[draw(alike.length)]?.name ?? from.name);
  const weights = inputs.map(() => 1 + draw(4));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  steps.push({ name: `make-${output}`, operation: 'average', inputs, output, weights });
  const parts = inputs.map((input, at) => {
    const share = constant(making, `${output}-share${at}`, [(weights[at] ?? 0) / total], []);
    nodes.push({ opType: 'Mul', inputs: [input, share], outputs: [`${output}-part${at}`] });
    return `${output}-part${at}`;
  });
  nodes.push({ opType: 'Sum', inputs: parts, outputs: [output] });
  values.push({ name: output, dims: from.dims });
};

const threshold: Make = (making, from, output) => {
  const { draw, steps, nodes, values } = making;
  const bound = draw(4) / 4 + 0.12345;
  steps.push({ ...single(from, `${output}-bool`), operation: 'threshold', from: bound });
  steps.push({ name: `cast-${output}`, operation: 'cast', input: `${output}-bool`, output, to: 'FP32' });
  const least = constant(making, `${output}-from`, [bound], []);
  nodes.push({ opType: 'GreaterOrEqual', inputs: [from.name, least], outputs: [`${output}-bool`] });
  nodes.push({ opType: 'Cast', inputs: [`${output}-bool`], outputs: [output], attributes: [{ name: 'to', int: 1 }] });
  values.push({ name: output, dims: from.dims });
};

const argmax: Make = ({ draw, steps, nodes, values }, from, output) => {
  const axis = draw(from.dims.length);
  steps.push({ ...single(from, `${output}-int`), operation: 'argmax', axis });
  steps.push({ name: `cast-${output}`, operation: 'cast', input: `${output}-int`, output, to: 'FP32' });
  const attributes = [
    { name: 'axis', int: axis },
    { name: 'keepdims', int: 0 },
  ];
  nodes.push({ opType: 'ArgMax', inputs: [from.name], outputs: [`${output}-int`], attributes });
  nodes.push({ opType: 'Cast', inputs: [`${output}-int`], outputs: [output], attributes: [{ name: 'to', int: 1 }] });
  values.push({ name: output, dims: from.dims.toSpliced(axis, 1) });
};

const slice: Make = (making, from, output) => {
  const { draw, steps } = making;
  const axis = draw(from.dims.length);
  const size = from.dims[axis] ?? 1;
  const begin = draw(size);
  const end = begin + 1 + draw(size - begin);
  const negative = draw(2) === 0;
  steps.push({ ...single(from, output), operation: 'slice', axis, begin: negative ? begin - size : begin, end });
  const [starts, ends, axes] = [begin, end, axis].map((value, at) => whole(making, `${output}-s${at}`, value));
  push(making, {
    opType: 'Slice',
    from,
    output,
    more: [starts ?? '', ends ?? '', axes ?? ''],
    dims: from.dims.with(axis, end - begin),
  });
};

const select: Make = (making, from, output) => {
  const axis = making.draw(from.dims.length);
  const at = making.draw(from.dims[axis] ?? 1);
  making.steps.push({ ...single(from, output), operation: 'select', axis, at });
  const place = whole(making, `${output}-at`, at, []);
  const attributes = [{ name: 'axis', int: axis }];
  push(making, { opType: 'Gather', from, output, more: [place], attributes, dims: from.dims.toSpliced(axis, 1) });
};

const concat: Make = ({ draw, steps, nodes, values }, from, output) => {
  const axis = draw(from.dims.length);
  const fits = values.filter(
    ({ dims }) => dims.length === from.dims.length && dims.every((dim, i) => i === axis || dim === from.dims[i]),
  );
  const chosen = Array.from({ length: 2 + draw(2) }, () => fits[draw(fits.length)] ?? from);
  const inputs = chosen.map(({ name }) => name);
  const size = chosen.reduce((sum, { dims }) => sum + (dims[axis] ?? 0), 0);
  steps.push({ name: `make-${output}`, operation: 'concat', inputs, output, axis });
  nodes.push({ opType: 'Concat', inputs, outputs: [output], attributes: [{ name: 'axis', int: axis }] });
  values.push({ name: output, dims: from.dims.with(axis, size) });
};

const topK: Make = (making, from, output) => {
  const { draw, steps, nodes, values } = making;
  const k = 1 + draw(from.dims.at(-1) ?? 1);
  steps.push({ name: `make-${output}`, operation: 'top-k', input: from.name, k, outputs: { values: output } });
  const count = whole(making, `${output}-k`, k);
  nodes.push({ opType: 'TopK', inputs: [from.name, count], outputs: [output, `${output}-places`] });
  values.push({ name: output, dims: from.dims.with(-1, k) });
};

function constant({ constants }: Making, name: string, values: readonly number[], dims: readonly number[]): string {
  constants.push({ name, dims, data: Float32Array.from(values) });
  return name;
}

function whole({ constants }: Making, name: string, value: number, dims: readonly number[] = [1]): string {
  constants.push({ name, dims, data: BigInt64Array.of(BigInt(value)) });
  return name;
}

interface Pushed {
  opType: string;
  from: Value;
  output: string;
  more?: readonly string[];
  attributes?: OnnxNode['attributes'];
  dims?: readonly number[];
}

function push(
  { nodes, values }: Making,
  { opType, from, output, more = [], attributes, dims = from.dims }: Pushed,
): void {
  nodes.push({ opType, inputs: [from.name, ...more], outputs: [output], ...(attributes && { attributes }) });
  values.push({ name: output, dims });
}
