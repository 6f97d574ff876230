// Class scores of rows by an ONNX file. `run` is native code that blocks its thread and may end the process, so this is
// for the evaluation process only.
import { AppError } from '@edgeloop/shared/errors';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { z } from 'zod';

/** An ONNX classifier over named features. */
export const Classifier = z.object({
  path: z.string(),
  /** Name of the input tensor. */
  input: z.string(),
  /** Names along the input's last dimension. */
  features: z.array(z.string()),
  /** Class names in the order of the scores. */
  labels: z.array(z.string()),
  /** The output with the scores; found by its size when unset. */
  scores: z.string().optional(),
});
export type Classifier = z.infer<typeof Classifier>;

const chunkRows = 256;

export interface Scored {
  /** Rows x classes, row-major. */
  scores: Float32Array;
  /** Index of the highest score of each row, the first of equals. */
  predicted: Int32Array;
  /** The highest score of each row. */
  confidences: Float32Array;
  /** Name of the output tensor. */
  output: string;
}

/** Scores rows (rows x features, row-major, in the order of `features`). Throws `model_rejected` for what is no such classifier. */
export async function scoreWith(classifier: Classifier, rows: Float32Array): Promise<Scored> {
  const session = await InferenceSession.create(classifier.path, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const width = classifier.features.length;
    const count = rows.length / width;
    const classes = classifier.labels.length;
    const scores = new Float32Array(count * classes);
    const output = outputOf(session, classifier);
    for (let start = 0; start < count; start += chunkRows) {
      const size = Math.min(chunkRows, count - start);
      const part = rows.subarray(start * width, (start + size) * width);
      const results = await session.run({ [classifier.input]: new Tensor('float32', part, [size, width]) }, [output]);
      scores.set(floatsOf(results[output], { output, expected: size * classes }), start * classes);
    }
    return { scores, output, ...highest(scores, classes) };
  } finally {
    await session.release();
  }
}

function outputOf(session: InferenceSession, { scores, labels }: Classifier): string {
  if (scores !== undefined) return scores;
  const fitting = session.outputMetadata.filter((output) => output.isTensor && output.shape.at(-1) === labels.length);
  const name = fitting[0]?.name ?? session.outputNames[0];
  if (name === undefined) throw new AppError('model_rejected', 'the model has no output');
  return name;
}

function floatsOf(tensor: Tensor | undefined, { output, expected }: { output: string; expected: number }) {
  if (!(tensor?.data instanceof Float32Array))
    throw new AppError('model_rejected', `output "${output}" is no tensor of 32-bit floats`);
  if (tensor.data.length !== expected)
    throw new AppError('model_rejected', `output "${output}" has ${tensor.data.length} values, expected ${expected}`);
  return tensor.data;
}

function highest(scores: Float32Array, classes: number): { predicted: Int32Array; confidences: Float32Array } {
  const count = scores.length / classes;
  const predicted = new Int32Array(count);
  const confidences = new Float32Array(count);
  for (let row = 0; row < count; row++) {
    const own = scores.subarray(row * classes, (row + 1) * classes);
    for (let i = 1; i < classes; i++) if ((own[i] ?? 0) > (own[predicted[row] ?? 0] ?? 0)) predicted[row] = i;
    confidences[row] = own[predicted[row] ?? 0] ?? 0;
  }
  return { predicted, confidences };
}
