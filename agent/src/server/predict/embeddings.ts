// A vector for each row: an output as it is, or what is left when the vectors of a text's tokens become one.
import type { EmbeddingOutputs } from '@edgeloop/shared/manifest';
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../../inference/engine.ts';
import { unlike } from './detections.ts';
import type { Inputs } from './inputs.ts';

/** `{embedding}` for each row. */
export function embeddingRows(
  model: LoadedModel,
  { output: name, pooling = 'none', normalise = false }: EmbeddingOutputs,
  outputs: readonly NamedTensor[],
  { rows, tokens }: Inputs,
): { embedding: number[] }[] {
  const output = outputs.find((each) => each.name === name);
  const values = output && numbersOf(output);
  const width = output?.shape.at(-1) ?? 0;
  const each = (values?.length ?? 0) / rows;
  const places = pooling === 'none' ? 1 : each / width;
  if (!values || !Number.isInteger(each) || each === 0 || !Number.isInteger(places)) {
    throw unlike(model, `its output "${name}" [${output?.shape}] is no vector for each of ${rows} rows`);
  }
  return Array.from({ length: rows }, (_, row) => {
    const start = row * each;
    if (pooling === 'none')
      return {
        embedding: finished(
          Array.from({ length: each }, (_, i) => values[start + i] ?? 0),
          normalise,
        ),
      };
    const span = tokens?.spans[row] ?? { start: 0, end: places };
    const { start: from, end } = pooling === 'cls' ? { start: span.start, end: span.start + 1 } : span;
    const mean = new Array<number>(width).fill(0);
    for (let place = from; place < end; place++) {
      for (let i = 0; i < width; i++)
        mean[i] = (mean[i] ?? 0) + (values[start + place * width + i] ?? Number.NaN) / (end - from);
    }
    return { embedding: finished(mean, normalise) };
  });
}

function finished(vector: number[], normalise: boolean): number[] {
  const length = normalise ? Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0)) : 1;
  return length === 0 ? vector : vector.map((value) => value / length);
}
