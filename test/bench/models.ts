// The models of the inference bench: two made here, and those that are found on the machine.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { perceptron } from '../support/onnx-models.ts';
import { writeModel } from '../support/serving.ts';

export interface BenchModel {
  name: string;
  input: string;
  shape: readonly number[];
  bytes: Uint8Array;
  manifest?: unknown;
}

const features = Array.from({ length: 16 }, (_, i) => `f${i}`);

export const tiny: BenchModel = {
  name: 'tiny',
  input: 'x',
  shape: [1, 16],
  bytes: perceptron([16, 32, 4]),
  manifest: {
    task: 'classification',
    inputs: { x: { features } },
    outputs: { labels: ['a', 'b', 'c', 'd'], scores: 'y', activation: 'softmax' },
  },
};

/** Sixteen rows through twelve layers of 1024: tens of milliseconds on a small machine. */
function wide(): BenchModel {
  const bytes = perceptron(Array.from({ length: 13 }, () => 1024));
  return { name: 'wide', input: 'x', shape: [16, 1024], bytes };
}

/** `data` is a folder that may hold `mnist/mnist.onnx` and `ultraface/version-RFB-320.onnx`. */
export function benchModels(data: string | undefined): BenchModel[] {
  const found: BenchModel[] = [];
  const add = (file: string, model: Omit<BenchModel, 'bytes'>) => {
    const path = join(data ?? '', file);
    if (data !== undefined && existsSync(path)) found.push({ ...model, bytes: readFileSync(path) });
  };
  add('mnist/mnist.onnx', { name: 'mnist', input: 'Input3', shape: [1, 1, 28, 28] });
  add('ultraface/version-RFB-320.onnx', { name: 'faces', input: 'input', shape: [1, 3, 240, 320] });
  return [tiny, ...found, wide()];
}

export async function writeBenchModels(folder: string, models: readonly BenchModel[]): Promise<void> {
  for (const { name, bytes, manifest } of models) await writeModel(folder, name, bytes, { manifest });
}
