// ONNX models that tests and benches make themselves.
import { encodeModel, type OnnxGraph, type OnnxNode, type OnnxTensor } from '@edgeloop/control-plane/onnx/encode';
import type { dataTypes } from '@edgeloop/control-plane/onnx/schema';

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

/** A perceptron `x` [batch, widths[0]] -> `y` [batch, last width], with weights that differ by `seed`. */
export function perceptron(widths: readonly number[], seed = 1): Uint8Array {
  const nodes: OnnxNode[] = [];
  const initializers: OnnxTensor[] = [];
  const random = mulberry(seed);
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

/** Small seeded generator (mulberry32), 0 up to 1. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
