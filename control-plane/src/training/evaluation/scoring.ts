// Classes of rows by an ONNX file, as an agent will read them. `run` is native code that blocks its thread and may end the
// process, so this is for the evaluation process only.
import { AppError } from '@edgeloop/shared/errors';
import { Manifest, OutputsManifest } from '@edgeloop/shared/manifest';
import type { ClassScores } from '@edgeloop/shared/meaning/class-scores';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import { predictionsOf, scoreRows } from '@edgeloop/shared/meaning/predictions';
import { type ModelSource, openServable } from '@edgeloop/shared/node/servable-model';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { z } from 'zod';

/** An ONNX classifier over named features. */
export const Classifier = z.object({
  path: z.string(),
  /** Name of the input tensor. */
  input: z.string(),
  /** Names along the input's last dimension. */
  features: z.array(z.string()),
  /** What the manifest says of the outputs; class names that it leaves out are read from the file. */
  outputs: OutputsManifest,
});
export type Classifier = z.infer<typeof Classifier>;

const chunkRows = 256;

export interface Scored {
  /** Rows x classes, row-major, as the model gave them. */
  scores: Float32Array;
  /** The output as it is, in tensors of the shape `[rows, …inner]`. */
  raw: { values: Float32Array; inner: readonly number[] };
  /** Place of the class of each row. */
  predicted: Int32Array;
  /** The score of that class. */
  confidences: Float32Array;
  /** Name of the output tensor. */
  output: string;
}

export interface OpenClassifier {
  features: readonly string[];
  input: string;
  /** Class names in the order of the scores. */
  labels: readonly string[];
  /** Scores rows (rows x features, row-major, in the order of `features`). Throws `model_rejected` when it gives no classes. */
  score(rows: Float32Array): Promise<Scored>;
  close(): Promise<void>;
}

/** Throws `model_rejected` for what is no such classifier. */
export async function openClassifier({ path, input, features, outputs }: Classifier): Promise<OpenClassifier> {
  const { session, signature } = await openServable(path, createSession);
  const manifest = Manifest.parse({ task: 'classification', inputs: { [input]: { features } }, outputs });
  const { scores, labels } = interpret(manifest, signature);
  const output = scores?.output;
  if (!scores || output === undefined) throw new AppError('model_rejected', 'the model gives no score for each class');
  if (!labels) throw new AppError('model_rejected', 'neither its manifest nor its file names the classes');
  const run = async (part: Float32Array): Promise<NamedTensor[]> => {
    const size = part.length / features.length;
    const wanted = [output, ...(scores.own ? [scores.own.output] : [])];
    const results = await session.run({ [input]: new Tensor('float32', part, [size, features.length]) }, wanted);
    return wanted.map((name) => tensorOf(name, results[name]));
  };
  return {
    features,
    input,
    labels,
    async score(rows) {
      const parts: Scored[] = [];
      for (let start = 0; start < rows.length; start += chunkRows * features.length) {
        const part = rows.subarray(start, start + chunkRows * features.length);
        parts.push(scoredBy(await run(part), { scores, labels, output, rows: part.length / features.length }));
      }
      return joined(parts, output);
    },
    close: () => session.release(),
  };
}

function createSession(source: ModelSource): Promise<InferenceSession> {
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;
  return 'path' in source
    ? InferenceSession.create(source.path, options)
    : InferenceSession.create(source.bytes, options);
}

function tensorOf(name: string, tensor: Tensor | undefined): NamedTensor {
  const shape = tensor?.dims ?? [];
  const data = tensor?.data;
  if (data instanceof Float32Array) return { name, datatype: 'FP32', shape, data };
  if (data instanceof BigInt64Array) return { name, datatype: 'INT64', shape, data };
  if (data instanceof Int32Array) return { name, datatype: 'INT32', shape, data };
  if (Array.isArray(data)) return { name, datatype: 'BYTES', shape, data };
  throw new AppError('model_rejected', `output "${name}" holds neither 32-bit floats nor classes`);
}

interface Meaning {
  scores: ClassScores;
  labels: readonly string[];
  output: string;
  rows: number;
}

function scoredBy(outputs: readonly NamedTensor[], { scores, labels, output, rows }: Meaning): Scored {
  const [tensor] = outputs;
  if (!(tensor?.data instanceof Float32Array))
    throw new AppError('model_rejected', `output "${output}" is no tensor of 32-bit floats`);
  const width = tensor.data.length / rows;
  // Both classes of one probability need the activation; else the scores are the trainer's own numbers.
  const table = scoreRows(width === 1 ? scores : { ...scores, activation: undefined }, outputs, rows);
  const best = predictionsOf(scores, outputs, rows);
  if (typeof table === 'string') throw new AppError('model_rejected', table);
  if (!table || !best?.scores || table.length !== rows) {
    const values = `${tensor.data.length} values for ${rows} rows`;
    throw new AppError(
      'model_rejected',
      `output "${output}" has ${values}, expected a score for each of ${labels.length} classes`,
    );
  }
  return {
    scores: Float32Array.from(table.flat()),
    raw: { values: tensor.data, inner: tensor.shape.slice(1) },
    predicted: Int32Array.from(best.predicted, (label) => labels.indexOf(label)),
    confidences: Float32Array.from(best.scores),
    output,
  };
}

function joined(parts: readonly Scored[], output: string): Scored {
  const [first] = parts;
  return {
    scores: floats(parts.map(({ scores }) => scores)),
    raw: { values: floats(parts.map(({ raw }) => raw.values)), inner: first?.raw.inner ?? [] },
    predicted: Int32Array.from(parts.flatMap(({ predicted }) => [...predicted])),
    confidences: floats(parts.map(({ confidences }) => confidences)),
    output,
  };
}

function floats(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
