// Measures a trained ONNX file on held-out rows, in a process of its own: the file may end its process or never return.

import { AppError } from '@edgeloop/shared/errors';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { elementCount } from '@edgeloop/shared/tensor-data';
import type { JsonTensor } from '@edgeloop/shared/tensors';
import type { LabelledRows } from '../../data/rows.ts';
import { readParquet, readTable } from '../../data/tables.ts';
import { predictedColumn, scoreColumn } from '../jobs/trainer-contract.ts';
import { referenceProfile } from '../trainers/profile.ts';
import type { PairedCounts } from './comparison.ts';
import { type Measurement, type MeasurementAnswer, MeasurementInput } from './measurement.ts';
import { type OpenClassifier, openClassifier, type Scored } from './scoring.ts';

const goldenSamples = 8;

async function measure(input: MeasurementInput): Promise<Measurement> {
  const { files, recent, predictions } = input;
  const challenger = await openClassifier(input.challenger);
  const champion = input.champion && (await openClassifier(input.champion));
  const validation = await readParquet(files.validation, 'validation');
  const test = await readParquet(files.test, 'test');
  const train = await readParquet(files.train, 'train');
  const scored = await challenger.score(columns(test, challenger));
  const right = correct(test, challenger, scored);
  const rival = champion === null ? null : correct(test, champion, await champion.score(columns(test, champion)));
  const majority = mostFrequent(train.labels);
  return {
    champion: rival === null ? null : pair(right, rival),
    majority: pair(
      right,
      test.labels.map((label) => label === majority),
    ),
    parity: await parityOf(predictions, challenger, scored),
    reference: await profile({
      challenger,
      parts: recent === null ? [validation, test] : [await readParquet(recent, 'test')],
      accuracy: right.filter(Boolean).length / right.length,
      accuracyRows: right.length,
    }),
    golden: golden(challenger, columns(test, challenger), scored),
  };
}

/** The values in the model's own order of features. */
function columns({ features, values, labels }: LabelledRows, model: OpenClassifier): Float32Array {
  const sources = model.features.map((name) => features.indexOf(name));
  const missing = model.features[sources.indexOf(-1)];
  if (missing !== undefined) throw new AppError('model_rejected', `the dataset has no feature "${missing}"`);
  const width = sources.length;
  const ordered = new Float32Array(labels.length * width);
  for (let row = 0; row < labels.length; row++)
    for (let at = 0; at < width; at++)
      ordered[row * width + at] = values[row * features.length + (sources[at] ?? 0)] ?? Number.NaN;
  return ordered;
}

function correct({ labels }: LabelledRows, model: OpenClassifier, { predicted }: Scored): boolean[] {
  return labels.map((label, row) => model.labels[predicted[row] ?? -1] === label);
}

function pair(challenger: readonly boolean[], rival: readonly boolean[]): PairedCounts {
  const counts = { both: 0, challengerOnly: 0, rivalOnly: 0, neither: 0 };
  for (const [row, right] of challenger.entries()) {
    if (right) counts[rival[row] === true ? 'both' : 'challengerOnly'] += 1;
    else counts[rival[row] === true ? 'rivalOnly' : 'neither'] += 1;
  }
  return counts;
}

function mostFrequent(labels: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const [first] = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return first?.[0] ?? '';
}

async function parityOf(path: string, { labels }: OpenClassifier, scored: Scored): Promise<Measurement['parity']> {
  const { features, rows } = await readTable({ path, format: 'parquet', label: predictedColumn });
  const sources = labels.map((_, index) => features.indexOf(scoreColumn(index)));
  if (sources.includes(-1) || rows.length !== scored.predicted.length)
    throw new AppError(
      'model_rejected',
      `predictions.parquet must have ${scored.predicted.length} rows with the columns ${scoreColumn(0)} to ` +
        `${scoreColumn(labels.length - 1)} and ${predictedColumn}`,
    );
  let maxDifference = 0;
  let same = 0;
  for (const [row, { values, label }] of rows.entries()) {
    for (const [at, source] of sources.entries()) {
      const difference = Math.abs((values[source] ?? 0) - (scored.scores[row * labels.length + at] ?? 0));
      maxDifference = Number.isFinite(difference) ? Math.max(maxDifference, difference) : Number.MAX_VALUE;
    }
    if (labels[scored.predicted[row] ?? -1] === label) same += 1;
  }
  return { maxDifference, sameClass: same / rows.length };
}

/** Of rows that training did not see, each part in its order. */
async function profile({
  challenger,
  parts,
  accuracy,
  accuracyRows,
}: {
  challenger: OpenClassifier;
  parts: LabelledRows[];
  accuracy: number;
  accuracyRows: number;
}) {
  const rows = joined(parts.map((part) => columns(part, challenger)));
  const scored = await challenger.score(rows);
  const { features, labels } = challenger;
  const truth = parts.flatMap((part) => part.labels);
  return referenceProfile({
    ...{ features, rows, labels, accuracy, accuracyRows },
    confidences: scored.confidences,
    predictedClasses: scored.predicted,
    correct: truth.map((label, row) => labels[scored.predicted[row] ?? -1] === label),
  });
}

function joined(parts: Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}

/** A few test rows, evenly spread, with the scores that every device must reproduce. */
function golden({ input, features }: OpenClassifier, rows: Float32Array, scored: Scored): GoldenSamples {
  const count = scored.predicted.length;
  const size = Math.min(goldenSamples, count);
  const { values, inner } = scored.raw;
  const chosen = Array.from({ length: size }, (_, i) => Math.floor((i * count) / size));
  return {
    tolerance: { absolute: 1e-4, relative: 1e-3 },
    samples: chosen.map((row) => ({
      inputs: { [input]: rowTensor(rows, row, [features.length]) },
      outputs: { [scored.output]: rowTensor(values, row, inner) },
    })),
  };
}

/** `inner`: the shape of one row. */
function rowTensor(values: Float32Array, row: number, inner: readonly number[]): JsonTensor {
  const width = elementCount(inner);
  const data = Array.from(values.subarray(row * width, (row + 1) * width), (value) =>
    Number.isFinite(value) ? value : String(value),
  );
  return { datatype: 'FP32', shape: [1, ...inner], data };
}

answerBounded(async (input): Promise<MeasurementAnswer> => {
  try {
    return { measurement: await measure(MeasurementInput.parse(input)) };
  } catch (error) {
    if (error instanceof AppError) return { refused: error.message };
    throw error;
  }
});
