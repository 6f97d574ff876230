// ONNX models that tests and benches make themselves, written by the control plane's encoder. Programs never import it.

import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import type { dataTypes } from '@edgeloop/shared/onnx/data-types';
import { encodeModel, type OnnxGraph, type OnnxNode, type OnnxTensor } from '@edgeloop/shared/onnx/encode';

export type ElementType = keyof typeof dataTypes;

export function encodeGraph(graph: Omit<OnnxGraph, 'name'>): Uint8Array {
  return encodeModel({
    irVersion: 8,
    opset: 17,
    producer: { name: 'test', version: '1' },
    graph: { name: 'graph', ...graph },
  });
}

/** `x` -> `y`, the same. */
export function identity(type: ElementType, dims: readonly (number | string)[]): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'x', type, dims }],
    outputs: [{ name: 'y', type, dims }],
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
  });
}

/** `wide` [n, 2] beside `a` [n, 1] -> `y` [n, 3]. */
export function sideBySide(): Uint8Array {
  return encodeGraph({
    inputs: [
      { name: 'wide', type: 'float', dims: ['n', 2] },
      { name: 'a', type: 'float', dims: ['n', 1] },
    ],
    outputs: [{ name: 'y', type: 'float', dims: ['n', 3] }],
    nodes: [{ opType: 'Concat', inputs: ['wide', 'a'], outputs: ['y'], attributes: [{ name: 'axis', int: 1 }] }],
  });
}

/** `input` [n, weights] -> softmax(input * weights + bias) `scores` [n, bias]. `weights` has a row per feature. */
export function softmaxClassifier(
  weights: readonly number[][],
  bias: readonly number[],
  input = 'features',
): Uint8Array {
  return encodeGraph({
    inputs: [{ name: input, type: 'float', dims: ['n', weights.length] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['n', bias.length] }],
    initializers: [
      { name: 'w', dims: [weights.length, bias.length], data: Float32Array.from(weights.flat()) },
      { name: 'b', dims: [bias.length], data: Float32Array.from(bias) },
    ],
    nodes: [
      { opType: 'MatMul', inputs: [input, 'w'], outputs: ['product'] },
      { opType: 'Add', inputs: ['product', 'b'], outputs: ['logits'] },
      { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
    ],
  });
}

/** Gray picture `x` of 2 x 2 -> its four quarters as `boxes` in a picture of this size, their brightness as `scores`. */
export function quarters(size: number): Uint8Array {
  const half = size / 2;
  const corners = [
    [0, 0, half, half],
    [half, 0, size, half],
    [0, half, half, size],
    [half, half, size, size],
  ];
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: [1, 1, 2, 2] }],
    outputs: [
      { name: 'scores', type: 'float', dims: [1, 4] },
      { name: 'boxes', type: 'float', dims: [1, 4, 4] },
    ],
    initializers: [{ name: 'corners', dims: [1, 4, 4], data: Float32Array.from(corners.flat()) }],
    nodes: [
      { opType: 'Flatten', inputs: ['x'], outputs: ['scores'], attributes: [{ name: 'axis', int: 1 }] },
      { opType: 'Identity', inputs: ['corners'], outputs: ['boxes'] },
    ],
  });
}

/** A perceptron `x` [batch, widths[0]] -> `y` [batch, last width], with weights that differ by `seed`. */
export function perceptron(widths: readonly number[], seed = 1): Uint8Array {
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  const random = createRandom(seed);
  const last = widths.length - 1;
  for (let i = 0; i < last; i++) {
    const dims = [widths[i] ?? 1, widths[i + 1] ?? 1];
    const size = (dims[0] ?? 1) * (dims[1] ?? 1);
    const scale = 1 / Math.sqrt(dims[0] ?? 1);
    initializers.push({
      name: `w${i}`,
      dims,
      data: Float32Array.from({ length: size }, () => (random() - 0.5) * scale),
    });
    nodes.push({
      opType: 'MatMul',
      inputs: [i === 0 ? 'x' : `h${i - 1}`, `w${i}`],
      outputs: [i === last - 1 ? 'y' : `m${i}`],
    });
    if (i < last - 1) nodes.push({ opType: 'Relu', inputs: [`m${i}`], outputs: [`h${i}`] });
  }
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: ['batch', widths[0] ?? 1] }],
    outputs: [{ name: 'y', type: 'float', dims: ['batch', widths[last] ?? 1] }],
    nodes,
    initializers,
  });
}

/** By block of MobileNetV2 (Sandler et al., 2018, table 2): expansion, channels, repeats. */
const blocks = [
  [1, 16, 1],
  [6, 24, 2],
  [6, 32, 3],
  [6, 64, 4],
  [6, 96, 3],
  [6, 160, 3],
  [6, 320, 1],
] as const;

/**
 * The layers of MobileNetV2 with 1.4 times its channels, 24 MB, `inserted` weights more in front of them. `quantised`: weights of 8 bits
 * with a scale for each channel. The weights are made up, and differ by `seed`.
 */
export function mobileNet({ seed = 1, quantised = false, inserted = 0 } = {}): Uint8Array {
  const random = createRandom(seed);
  const wide = (channels: number) => Math.ceil((channels * 1.4) / 8) * 8;
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  let from = 'x';
  if (inserted > 0)
    initializers.push({ name: 'inserted', dims: [inserted], data: weightsOf(createRandom(seed + 1), inserted) });
  const layer = (dims: readonly number[], group = 1) => {
    const name = `layer${nodes.length}`;
    const weights = weightsOf(
      random,
      dims.reduce((product, each) => product * each, 1),
    );
    const bias = { name: `${name}.bias`, dims: dims.slice(0, 1), data: weightsOf(random, dims[0] ?? 1) };
    if (quantised) {
      initializers.push({
        name: `${name}.weight`,
        dims,
        data: Int8Array.from(weights, (each) => Math.round(each * 127)),
      });
      initializers.push({ name: `${name}.scale`, dims: dims.slice(0, 1), data: weightsOf(random, dims[0] ?? 1) });
    } else initializers.push({ name: `${name}.weight`, dims, data: weights });
    initializers.push(bias);
    const inputs = [from, `${name}.weight`, `${name}.bias`];
    const attributes = [{ name: 'group', int: group }];
    nodes.push({ opType: quantised ? 'ConvInteger' : 'Conv', inputs, outputs: [name], attributes });
    from = name;
  };
  let channels = wide(32);
  layer([channels, 3, 3, 3]);
  for (const [expansion, out, repeats] of blocks)
    for (let i = 0; i < repeats; i++) {
      const hidden = channels * expansion;
      if (expansion > 1) layer([hidden, channels, 1, 1]);
      layer([hidden, 1, 3, 3], hidden);
      layer([wide(out), hidden, 1, 1]);
      channels = wide(out);
    }
  layer([1792, channels, 1, 1]);
  layer([1000, 1792, 1, 1]);
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: ['n', 3, 224, 224] }],
    outputs: [{ name: from, type: 'float', dims: ['n', 1000, 7, 7] }],
    ...{ nodes, initializers },
  });
}

function weightsOf(random: () => number, count: number): Float32Array {
  return Float32Array.from({ length: count }, () => random() + random() - 1);
}
