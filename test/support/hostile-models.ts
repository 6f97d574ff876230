// Models that attack the server that loads or runs them, and odd ones that it must refuse. All but the ones for loading
// are harmless with zeros as input.
import { encodeGraph } from './onnx-models.ts';

const vector = (name: string, type: 'int64' | 'float') => ({ name, type, dims: ['n'] }) as const;
const smallest = { name: 'smallest', dims: [1], data: BigInt64Array.of(-(2n ** 63n)) };
const one = { name: 'one', dims: [1], data: BigInt64Array.of(1n) };

/** `y` = (`x` - 2^63) / (`d` + 1): with `x` = 0 and `d` = -2 the quotient overflows, which ends the process with SIGFPE. */
export function processKiller(): Uint8Array {
  return encodeGraph({
    inputs: [vector('x', 'int64'), vector('d', 'int64')],
    outputs: [vector('y', 'int64')],
    initializers: [one, smallest],
    nodes: [
      { opType: 'Add', inputs: ['x', 'smallest'], outputs: ['dividend'] },
      { opType: 'Add', inputs: ['d', 'one'], outputs: ['divisor'] },
      { opType: 'Div', inputs: ['dividend', 'divisor'], outputs: ['y'] },
    ],
  });
}

/** The same inputs and output without the trap: a good version to fall back to. */
export function harmless(): Uint8Array {
  return encodeGraph({
    inputs: [vector('x', 'int64'), vector('d', 'int64')],
    outputs: [vector('y', 'int64')],
    nodes: [{ opType: 'Add', inputs: ['x', 'd'], outputs: ['y'] }],
  });
}

/** Ends the process that loads it: ONNX Runtime folds the constant INT64_MIN / -1 when it makes the session. */
export function loadKiller(): Uint8Array {
  return encodeGraph({
    inputs: [vector('x', 'int64')],
    outputs: [vector('y', 'int64')],
    initializers: [smallest, { name: 'minus', dims: [1], data: BigInt64Array.of(-1n) }],
    nodes: [
      { opType: 'Div', inputs: ['smallest', 'minus'], outputs: ['q'] },
      { opType: 'Add', inputs: ['x', 'q'], outputs: ['y'] },
    ],
  });
}

/**
 * `y` = `x` + 0.5, and takes some 0.1 s for each of `products` to load: ONNX Runtime multiplies the constant matrices when it
 * makes the session. Small as a file, and quick to run.
 */
export function slowToLoad(products = 28, side = 1500): Uint8Array {
  const initializers = [
    { name: 'share', dims: [1, 1], data: Float32Array.of(0.5 / side) },
    { name: 'shape', dims: [2], data: BigInt64Array.of(BigInt(side), BigInt(side)) },
    { name: 'one', dims: [1, 1], data: Float32Array.of(1 / side) },
    { name: 'side', dims: [], data: Float32Array.of(side) },
  ];
  const powers = Array.from({ length: products }, (_, i) => ({
    opType: 'MatMul',
    inputs: [`m${i}`, 'mean'],
    outputs: [`m${i + 1}`],
  }));
  return encodeGraph({
    inputs: [vector('x', 'float')],
    outputs: [vector('y', 'float')],
    initializers,
    nodes: [
      { opType: 'Expand', inputs: ['share', 'shape'], outputs: ['m0'] },
      { opType: 'Expand', inputs: ['one', 'shape'], outputs: ['mean'] },
      ...powers,
      { opType: 'ReduceSum', inputs: [`m${products}`], outputs: ['sum'], attributes: [{ name: 'keepdims', int: 0 }] },
      { opType: 'Div', inputs: ['sum', 'side'], outputs: ['half'] },
      { opType: 'Add', inputs: ['x', 'half'], outputs: ['y'] },
    ],
  });
}

/** Never returns when `x` is above `bound`. */
export function endlessLoop(bound = 0): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: [1] }],
    initializers: [{ name: 'bound', dims: [], data: Float32Array.of(bound) }],
    nodes: [
      { opType: 'ReduceSum', inputs: ['x'], outputs: ['sum'], attributes: [{ name: 'keepdims', int: 0 }] },
      { opType: 'Greater', inputs: ['sum', 'bound'], outputs: ['go'] },
      {
        opType: 'Loop',
        inputs: ['', 'go', 'x'],
        outputs: ['y'],
        attributes: [{ name: 'body', graph: loopBody }],
      },
    ],
  });
}

const loopBody = {
  name: 'body',
  inputs: [
    { name: 'i', type: 'int64', dims: [] },
    { name: 'again', type: 'bool', dims: [] },
    { name: 'v', type: 'float', dims: [1] },
  ],
  outputs: [
    { name: 'again_out', type: 'bool', dims: [] },
    { name: 'v_out', type: 'float', dims: [1] },
  ],
  nodes: [
    { opType: 'Identity', inputs: ['again'], outputs: ['again_out'] },
    { opType: 'Identity', inputs: ['v'], outputs: ['v_out'] },
  ],
} as const;

/** Makes `size` floats out of nothing inside, `size` being its input, and gives their sum. */
export function memoryBomb(): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'size', type: 'int64', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: [] }],
    nodes: [
      { opType: 'ConstantOfShape', inputs: ['size'], outputs: ['floats'] },
      { opType: 'ReduceSum', inputs: ['floats'], outputs: ['y'], attributes: [{ name: 'keepdims', int: 0 }] },
    ],
  });
}

/** Gives `size` floats as its output. */
export function hugeOutput(): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'size', type: 'int64', dims: [1] }],
    outputs: [{ name: 'y', type: 'float', dims: ['n'] }],
    nodes: [{ opType: 'ConstantOfShape', inputs: ['size'], outputs: ['y'] }],
  });
}

/** `y` = `x` + a tensor `w` that is said to be kept in the file `location`. */
export function externalData(location: string): Uint8Array {
  const place = [...field(1, text('location')), ...field(2, text(location))];
  // TensorProto: two floats, in the place of EXTERNAL.
  const tensor = [0x08, 2, 0x10, 1, ...field(8, text('w')), ...field(13, place), 0x70, 1];
  return withGraphField(
    encodeGraph({
      inputs: [{ name: 'x', type: 'float', dims: [2] }],
      outputs: [{ name: 'y', type: 'float', dims: [2] }],
      nodes: [{ opType: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
    }),
    field(5, tensor),
  );
}

/** `x` -> `s`, a sequence of tensors. */
export function sequenceOutput(): Uint8Array {
  const tensor = field(1, [0x08, 1]);
  return withGraphField(
    encodeGraph({
      inputs: [{ name: 'x', type: 'float', dims: [1] }],
      outputs: [],
      nodes: [{ opType: 'SequenceConstruct', inputs: ['x'], outputs: ['s'] }],
    }),
    field(12, [...field(1, text('s')), ...field(2, field(4, field(1, tensor)))]),
  );
}

/** Adds what the encoder does not write: protobuf merges another piece of the graph with the first. */
function withGraphField(model: Uint8Array, content: number[]): Uint8Array {
  return Buffer.concat([model, Buffer.from(field(7, content))]);
}

/** A field of bytes, shorter than 128. */
function field(number: number, content: number[]): number[] {
  return [(number << 3) | 2, content.length, ...content];
}

const text = (value: string): number[] => [...Buffer.from(value)];
