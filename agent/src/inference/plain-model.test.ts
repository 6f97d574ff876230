import { existsSync, readFileSync } from 'node:fs';
import { sourceOf } from '@edgeloop/shared/onnx/fields';
import { readGraph } from '@edgeloop/shared/onnx/graph';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { describe, expect, it } from 'vitest';
import {
  endlessLoop,
  hugeOutput,
  loadKiller,
  memoryBomb,
  processKiller,
} from '../../../test/support/hostile-models.ts';
import { encodeGraph, perceptron, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { isPlain as isPlainGraph } from './plain-model.ts';

const spec = (shape: number[], datatype: TensorSpec['datatype'] = 'FP32'): TensorSpec => ({
  name: 'x',
  datatype,
  shape,
});
const signature = (...inputs: TensorSpec[]) => ({ inputs, outputs: [] });
const isPlain = (bytes: Uint8Array, of: ModelSignature) => isPlainGraph(readGraph(sourceOf(bytes)), of);
const one = signature(spec([-1, 2]));

describe('a model that may run in the thread that answers HTTP', () => {
  it.each([
    ['a perceptron', perceptron([2, 4, 3])],
    ['a classifier', softmaxClassifier([[1], [2]], [0])],
    ['a division that may trap: it ends, one way or the other', processKiller()],
    ['a constant that traps', loadKiller()],
  ])('is %s', (_, bytes) => expect(isPlain(bytes, one)).toBe(true));

  it.each([
    ['one that loops', endlessLoop()],
    ['one that makes as much as it is told', memoryBomb()],
    ['one that answers as much as it is told', hugeOutput()],
  ])('is not %s', (_, bytes) => expect(isPlain(bytes, one)).toBe(false));

  it('is none with operators that are not ONNX’s own', () => {
    const known = encodeGraph({
      inputs: [{ name: 'x', type: 'float', dims: [1] }],
      outputs: [{ name: 'y', type: 'float', dims: [1] }],
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
    });
    expect(isPlain(known, one)).toBe(true);
    expect(isPlain(withDomain(known, 'ai.onnx.ml'), one)).toBe(true);
    expect(isPlain(withDomain(known, 'com.example'), one)).toBe(false);
  });

  it('has inputs whose size one number says', () => {
    const bytes = perceptron([2, 4, 3]);
    expect(isPlain(bytes, signature(spec([]), spec([4]), spec([-1, 3, 3])))).toBe(true);
    expect(isPlain(bytes, signature(spec([-1, -1])))).toBe(false);
    expect(isPlain(bytes, signature(spec([2], 'BYTES')))).toBe(false);
  });

  const digits = new URL('../../../../shared/data/models/mnist/mnist.onnx', import.meta.url);
  it.skipIf(!existsSync(digits))('is the digits model of the zoo', () => {
    expect(isPlain(readFileSync(digits), signature(spec([1, 1, 28, 28])))).toBe(true);
  });
});

/** The same model with its graph replaced by one node of that domain: protobuf merges what comes later. */
function withDomain(model: Uint8Array, domain: string): Uint8Array {
  const text = (field: number, value: string) => [(field << 3) | 2, value.length, ...Buffer.from(value)];
  const node = [...text(1, 'x'), ...text(2, 'z'), ...text(4, 'Scaler'), ...text(7, domain)];
  const graph = [0x0a, node.length, ...node];
  return Buffer.concat([model, Buffer.from([0x3a, graph.length, ...graph])]);
}
