import type { OnnxGraph, OnnxNode, OnnxTensor } from '@edgeloop/shared/onnx/encode';
import { encodeModel } from '@edgeloop/shared/onnx/encode';
import { sourceOf } from '@edgeloop/shared/onnx/fields';
import { readGraph } from '@edgeloop/shared/onnx/graph';
import { describe, expect, it } from 'vitest';
import { reasonAgainstJoining } from './row-walk.ts';

type Attributes = NonNullable<OnnxNode['attributes']>;

const x = (...dims: (number | string)[]) => ({ name: 'x', type: 'float', dims: ['n', ...dims] }) as const;
const ints = (name: string, ...values: number[]): OnnxTensor => ({
  name,
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const single = (name: string, value: number): OnnxTensor => ({ name, dims: [], data: BigInt64Array.of(BigInt(value)) });
const weights = (name: string, ...dims: number[]): OnnxTensor => ({
  name,
  dims,
  data: new Float32Array(dims.reduce((size, dim) => size * dim, 1)),
});

/** `x` through nodes that each give one output, named as `opType` inputs `->` output. */
function node(opType: string, inputs: string, output: string, attributes: Attributes = []): OnnxNode {
  return {
    opType,
    inputs: inputs.split(' ').map((name) => (name === '_' ? '' : name)),
    outputs: output.split(' '),
    attributes,
  };
}

function verdict(graph: Omit<OnnxGraph, 'name' | 'outputs'>, { opset = 17, domains = {}, output = 'y' } = {}) {
  const bytes = encodeModel({
    irVersion: 8,
    opset,
    domains,
    producer: { name: 'test', version: '1' },
    graph: { name: 'g', outputs: [{ name: output, type: 'float', dims: ['m'] }], ...graph },
  });
  return reasonAgainstJoining(readGraph(sourceOf(bytes)), [output]);
}

const axis = (int: number): Attributes => [{ name: 'axis', int }];

describe('the walk over a graph', () => {
  it.each<[string, Parameters<typeof verdict>[0]]>([
    [
      'a perceptron',
      {
        inputs: [x(4)],
        initializers: [weights('w', 4, 3), weights('b', 3)],
        nodes: [node('Gemm', 'x w b', 'h'), node('Relu', 'h', 'r'), node('Softmax', 'r', 'y', axis(-1))],
      },
    ],
    [
      'a convolutional network with a fixed width behind it',
      {
        inputs: [x(1, 28, 28)],
        initializers: [weights('k', 8, 1, 5, 5), ints('shape', -1, 1152), weights('w', 1152, 10)],
        nodes: [
          node('Conv', 'x k', 'c'),
          node('MaxPool', 'c', 'p', [
            { name: 'kernel_shape', ints: [2, 2] },
            { name: 'strides', ints: [2, 2] },
          ]),
          node('Reshape', 'p shape', 'f'),
          node('MatMul', 'f w', 'y'),
        ],
      },
    ],
    [
      'a shape that keeps the first dimension',
      {
        inputs: [x(2, 3)],
        initializers: [ints('shape', 0, -1)],
        nodes: [node('Reshape', 'x shape', 'y')],
      },
    ],
    [
      'attention, whose shapes are computed from that of the input',
      {
        inputs: [x('steps', 8)],
        initializers: [
          weights('w', 8, 8),
          single('zero', 0),
          single('one', 1),
          ints('heads', 2),
          ints('width', 4),
          ints('at', 0),
          ints('all', 8),
        ],
        nodes: [
          node('MatMul', 'x w', 'q'),
          node('Shape', 'x', 's'),
          node('Gather', 's zero', 'batch'),
          node('Gather', 's one', 'steps'),
          node('Unsqueeze', 'batch at', 'b1'),
          node('Unsqueeze', 'steps at', 's1'),
          node('Concat', 'b1 s1 heads width', 'split', axis(0)),
          node('Reshape', 'q split', 'parted'),
          node('Transpose', 'parted', 't', [{ name: 'perm', ints: [0, 2, 1, 3] }]),
          node('Transpose', 'parted', 'k', [{ name: 'perm', ints: [0, 2, 3, 1] }]),
          node('MatMul', 't k', 'scores'),
          node('Softmax', 'scores', 'share', axis(-1)),
          node('MatMul', 'share t', 'mixed'),
          node('Transpose', 'mixed', 'back', [{ name: 'perm', ints: [0, 2, 1, 3] }]),
          node('Concat', 'b1 s1 all', 'whole', axis(0)),
          node('Reshape', 'back whole', 'joined'),
          node('Add', 'joined x', 'y'),
        ],
      },
    ],
    [
      'a mask that is expanded to the rows',
      {
        inputs: [x('steps')],
        initializers: [weights('one', 1, 1), ints('minus', -1)],
        nodes: [
          node('Shape', 'x', 's'),
          node('ConstantOfShape', 's', 'zeros'),
          node('Expand', 'one s', 'mask'),
          node('Add', 'mask zeros', 'm'),
          node('Mul', 'x m', 'y'),
        ],
      },
    ],
    [
      'recurrence over the second dimension, begun with zeros for each row',
      {
        inputs: [x('steps', 3)],
        initializers: [
          weights('w', 1, 16, 3),
          weights('r', 1, 16, 4),
          weights('b', 1, 32),
          single('zero', 0),
          ints('at', 0),
          ints('one', 1),
          ints('width', 4),
        ],
        nodes: [
          node('Transpose', 'x', 't', [{ name: 'perm', ints: [1, 0, 2] }]),
          node('Shape', 'x', 's'),
          node('Gather', 's zero', 'batch'),
          node('Unsqueeze', 'batch at', 'b1'),
          node('Concat', 'one b1 width', 'state', axis(0)),
          node('ConstantOfShape', 'state', 'h'),
          node('LSTM', 't w r b _ h h', 'all last', [{ name: 'hidden_size', int: 4 }]),
          node('Squeeze', 'last at', 'y'),
        ],
      },
    ],
    [
      'time steps folded into rows and unfolded',
      {
        inputs: [x(6, 4)],
        initializers: [weights('w', 4, 2), ints('flat', -1, 4), ints('back', -1, 6, 2)],
        nodes: [node('Reshape', 'x flat', 'f'), node('MatMul', 'f w', 'h'), node('Reshape', 'h back', 'y')],
      },
    ],
    [
      'an embedding of places',
      {
        inputs: [{ name: 'x', type: 'int64', dims: ['n', 'steps'] }],
        initializers: [weights('table', 10, 4)],
        nodes: [
          node('Gather', 'table x', 'e'),
          node('ReduceMean', 'e', 'y', [
            { name: 'axes', ints: [1] },
            { name: 'keepdims', int: 0 },
          ]),
        ],
      },
    ],
    [
      'integers by a scale of the file',
      {
        inputs: [x(4)],
        initializers: [weights('scale'), { name: 'zero', dims: [], data: Uint8Array.of(128) }],
        nodes: [node('QuantizeLinear', 'x scale zero', 'q'), node('DequantizeLinear', 'q scale zero', 'y')],
      },
    ],
    [
      'sums of products by letters',
      {
        inputs: [x(4, 3)],
        initializers: [weights('w', 3, 5)],
        nodes: [node('Einsum', 'x w', 'y', [{ name: 'equation', text: 'bij,jk->bik' }])],
      },
    ],
  ])('lets pass %s', (_, graph) => {
    expect(verdict(graph)).toBeUndefined();
  });

  it.each<[string, Parameters<typeof verdict>[0], RegExp]>([
    ['softmax over the rows', { inputs: [x(2)], nodes: [node('Softmax', 'x', 'y', axis(0))] }, /along the rows/],
    [
      'a running sum over the rows',
      { inputs: [x(2)], initializers: [single('zero', 0)], nodes: [node('CumSum', 'x zero', 'y')] },
      /along the rows/,
    ],
    [
      'a mean over everything',
      { inputs: [x(2)], nodes: [node('ReduceMean', 'x', 'm'), node('Sub', 'x m', 'y')] },
      /ReduceMean "m": it works along the rows/,
    ],
    [
      'a scale over everything',
      { inputs: [x(2)], nodes: [node('DynamicQuantizeLinear', 'x', 'q s z'), node('DequantizeLinear', 'q s z', 'y')] },
      /that of all rows together/,
    ],
    [
      'recurrence over the rows',
      {
        inputs: [x(1, 2)],
        initializers: [weights('w', 1, 8, 2), weights('r', 1, 8, 2)],
        nodes: [node('LSTM', 'x w r', 'a y', [{ name: 'hidden_size', int: 2 }])],
      },
      /steps of its sequence/,
    ],
    [
      'new rows of parts of several',
      { inputs: [x(6)], initializers: [ints('s', -1, 4)], nodes: [node('Reshape', 'x s', 'y')] },
      /not known where its shape has the rows/,
    ],
    [
      'rows that are turned around',
      { inputs: [x(2)], nodes: [node('Transpose', 'x', 'y')] },
      /first dimension of output "y"/,
    ],
    [
      'rows that meet all rows',
      { inputs: [x(2)], nodes: [node('Transpose', 'x', 't'), node('MatMul', 'x t', 'y')] },
      /each row together with all rows/,
    ],
    [
      'sums over the rows',
      {
        inputs: [x(2)],
        initializers: [weights('w', 3, 2)],
        nodes: [node('Transpose', 'x', 't'), node('MatMul', 't x', 'y')],
      },
      /sums over the rows/,
    ],
    [
      'rows told by their place',
      {
        inputs: [x(2)],
        initializers: [single('zero', 0), single('one', 1)],
        nodes: [
          node('Shape', 'x', 's'),
          node('Gather', 's zero', 'n'),
          node('Range', 'zero n one', 'r'),
          node('Cast', 'r', 'f', [{ name: 'to', int: 1 }]),
          node('Add', 'x f', 'y'),
        ],
      },
      /told by its place/,
    ],
    [
      'the number of rows as a value',
      {
        inputs: [x(2)],
        initializers: [single('zero', 0)],
        nodes: [
          node('Shape', 'x', 's'),
          node('Gather', 's zero', 'n'),
          node('Cast', 'n', 'f', [{ name: 'to', int: 1 }]),
          node('Div', 'x f', 'y'),
        ],
      },
      /number of rows for a value/,
    ],
    [
      'a table with a value for each of a fixed number of rows',
      { inputs: [x(2)], initializers: [weights('w', 5, 2)], nodes: [node('Add', 'x w', 'y')] },
      /does not have the rows/,
    ],
    [
      'the first rows',
      { inputs: [x(2)], initializers: [ints('a', 0), ints('b', 1)], nodes: [node('Slice', 'x a b a', 'y')] },
      /cuts along the rows/,
    ],
    [
      'all but the last row',
      { inputs: [x(2)], initializers: [ints('a', 0), ints('b', -1)], nodes: [node('Slice', 'x a b a', 'y')] },
      /cuts along the rows/,
    ],
    [
      'a row by its place',
      { inputs: [x(2)], initializers: [ints('a', 0)], nodes: [node('Gather', 'x a', 'y')] },
      /rows by their place/,
    ],
    ['rows twice', { inputs: [x(2)], nodes: [node('Concat', 'x x', 'y', axis(0))] }, /rows behind the rows/],
    [
      'a normalisation that trains',
      {
        inputs: [x(2)],
        initializers: [weights('a', 2)],
        nodes: [node('BatchNormalization', 'x a a a a', 'y m v', [{ name: 'training_mode', int: 1 }])],
      },
      /mean of all rows/,
    ],
    [
      'a dimension that is left out when there is one row',
      { inputs: [x(2)], nodes: [node('Squeeze', 'x', 'y')] },
      /when there is one row/,
    ],
    [
      'a condition',
      {
        inputs: [x(2)],
        initializers: [{ name: 'c', dims: [], data: Uint8Array.of(1) }],
        nodes: [
          node('If', 'c', 'y', [{ name: 'then_branch', graph: { name: 't', nodes: [], inputs: [], outputs: [] } }]),
        ],
      },
      /decided while it runs/,
    ],
    [
      'an operator that nobody knows',
      { inputs: [x(2)], nodes: [{ ...node('Relu', 'x', 'y'), domain: 'com.example' }] },
      /"com.example:Relu" is not among/,
    ],
    [
      'an output that does not depend on the rows',
      { inputs: [x(2)], initializers: [weights('w', 1, 2)], nodes: [node('Identity', 'w', 'y')] },
      /does not depend on the rows/,
    ],
    [
      'an integer division by what the rows say',
      {
        inputs: [{ name: 'x', type: 'int64', dims: ['n'] }],
        initializers: [single('one', 1)],
        nodes: [node('Div', 'one x', 'y')],
      },
      /divides integers/,
    ],
    [
      'an input without rows',
      { inputs: [x(2), { name: 'k', type: 'float', dims: [2] }], nodes: [node('Add', 'x k', 'y')] },
      /input "k" takes 2/,
    ],
    [
      'places in all pictures together',
      {
        inputs: [x(1, 4, 4)],
        nodes: [node('MaxPool', 'x', 'p y', [{ name: 'kernel_shape', ints: [2, 2] }])],
      },
      /more than is looked at/,
    ],
  ])('does not let pass %s', (_, graph, reason) => {
    expect(verdict(graph)).toMatch(reason);
  });

  it('goes by the version of the operator set', () => {
    const graph = { inputs: [x(2, 3)], nodes: [node('Softmax', 'x', 'y')] };
    expect(verdict(graph, { opset: 12 })).toBeUndefined();
    // Until 12, all dimensions from the axis on were one.
    const zero = { ...graph, nodes: [node('Softmax', 'x', 'y', axis(0))] };
    expect(verdict(zero, { opset: 12 })).toMatch(/along the rows/);
    expect(verdict(graph, { opset: 6 })).toMatch(/version 6/);
    expect(verdict(graph, { opset: 99 })).toMatch(/version 99/);
  });

  it('looks at what no output needs, too', () => {
    const graph = { inputs: [x(2)], initializers: [ints('second', 1)], nodes: [node('Relu', 'x', 'y')] };
    expect(verdict(graph)).toBeUndefined();
    // It is run, and fails where there is one row.
    const more = { ...graph, nodes: [...graph.nodes, node('Gather', 'x second', 'z')] };
    expect(verdict(more)).toMatch(/rows by their place/);
  });

  it('follows operators that the file defines itself', () => {
    const bytes = encodeModel({
      irVersion: 8,
      opset: 17,
      producer: { name: 'test', version: '1' },
      domains: { mine: 1 },
      graph: {
        name: 'g',
        inputs: [x(2)],
        outputs: [{ name: 'y', type: 'float', dims: ['m', 2] }],
        nodes: [{ ...node('Twice', 'x', 'y'), domain: 'mine' }],
      },
    });
    const model = readGraph(sourceOf(bytes));
    const made = (inner: ReturnType<typeof readGraph>['graph']['nodes']) => ({
      ...model,
      functions: [{ domain: 'mine', name: 'Twice', inputs: ['a'], outputs: ['b'], nodes: inner, opsets: new Map() }],
    });
    const inner = (opType: string, settings: Attributes) =>
      readGraph(
        sourceOf(
          encodeModel({
            irVersion: 8,
            opset: 17,
            producer: { name: 'test', version: '1' },
            graph: {
              name: 'g',
              inputs: [],
              outputs: [{ name: 'b', type: 'float', dims: [] }],
              nodes: [node(opType, 'a', 'b', settings)],
            },
          }),
        ),
      ).graph.nodes;
    expect(reasonAgainstJoining(made(inner('Softmax', axis(1))), ['y'])).toBeUndefined();
    expect(reasonAgainstJoining(made(inner('Softmax', axis(0))), ['y'])).toMatch(/Twice .*Softmax .*along the rows/);
    expect(reasonAgainstJoining(model, ['y'])).toMatch(/"mine:Twice" is not among/);
  });
});
