// Small real ONNX models for whole-system tests.
import { encodeModel } from '@edgeloop/control-plane/onnx/encode';
import type { ManifestInput } from '@edgeloop/shared/manifest';

const labels = ['low', 'high'];
export const manifest: ManifestInput = {
  task: 'classification',
  inputs: { features: { features: ['a', 'b'] } },
  outputs: { labels, scores: 'scores' },
  capture: { rate: 1 },
};

/** Softmax over [0, weight * (a + b)]: `high` when `weight * (a + b)` is positive. Another `bias` makes another file. */
export function sumClassifier({ weight = 1, bias = 0 }: { weight?: number; bias?: number } = {}): Uint8Array {
  return encodeModel({
    irVersion: 8,
    opset: 17,
    producer: { name: 'test', version: '1' },
    graph: {
      name: 'sum',
      inputs: [{ name: 'features', type: 'float', dims: ['batch', 2] }],
      outputs: [{ name: 'scores', type: 'float', dims: ['batch', 2] }],
      initializers: [
        { name: 'w', dims: [2, 2], data: Float32Array.of(0, weight, 0, weight) },
        { name: 'b', dims: [2], data: Float32Array.of(0, bias) },
      ],
      nodes: [
        { opType: 'MatMul', inputs: ['features', 'w'], outputs: ['product'] },
        { opType: 'Add', inputs: ['product', 'b'], outputs: ['logits'] },
        { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
      ],
    },
  });
}

/** The multipart form of `POST /models/{name}/versions`. */
export function versionForm(
  model: Uint8Array | string,
  parts: { manifest?: unknown; golden?: unknown } = {},
): FormData {
  const form = new FormData();
  form.set('model', new Blob([typeof model === 'string' ? model : Uint8Array.from(model)]), 'model.onnx');
  if (parts.manifest !== undefined) form.set('manifest', JSON.stringify(parts.manifest));
  if (parts.golden !== undefined) form.set('golden', JSON.stringify(parts.golden));
  return form;
}
