// The model that whole-system tests push and serve, with its manifest.
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { softmaxClassifier } from './onnx-models.ts';

const labels = ['low', 'high'];
export const manifest: ManifestInput = {
  task: 'classification',
  inputs: { features: { features: ['a', 'b'] } },
  outputs: { labels, scores: 'scores' },
  capture: { rate: 1 },
};

/** Softmax over [0, weight * (a + b)]: `high` when `weight * (a + b)` is positive. Another `bias` makes another file. */
export function sumClassifier({ weight = 1, bias = 0 }: { weight?: number; bias?: number } = {}): Uint8Array {
  return softmaxClassifier(
    [
      [0, weight],
      [0, weight],
    ],
    [0, bias],
  );
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
