// Reference profiles: what a model's features and answers look like on the data it was made with, in the bins that
// devices count into from then on.
import { AppError } from '@edgeloop/shared/errors';
import type { NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import { binOf } from '@edgeloop/shared/sketches/histogram';
import { psi } from '@edgeloop/shared/sketches/psi';

const maxBins = 32;
/** Room around a value that gets a bin of its own: wider than 32-bit rounding, narrower than any real difference. */
const relativeGap = 1e-6;
const smallestGap = 1e-12;

/**
 * Profile of one numeric value. At most 32 bins with edges at the quantiles of the finite values, every one of which
 * falls inside a bin, and every bin holds at least one. A value so frequent that it is several quantiles gets a bin of
 * its own, as does the only value of a constant. NaN and infinities count as missing; without any finite value the
 * only edge is 0. `blockSize`: rows per block for `blockPsi`, in the given order (an incomplete last block is left
 * out); without `blockSize`, or with fewer than two whole blocks, there is none.
 */
export function numericProfile(values: ArrayLike<number>, { blockSize }: { blockSize?: number } = {}): NumericProfile {
  const all = Float64Array.from(values);
  const edges = binEdges(all.filter(Number.isFinite).sort());
  const counts = countBins(edges, all);
  const blockPsi = blockSize === undefined ? undefined : blockVariation({ edges, counts, values: all, blockSize });
  return blockPsi === undefined ? { edges, counts } : { edges, counts, blockPsi };
}

function countBins(edges: readonly number[], values: Float64Array): number[] {
  const counts = new Array<number>(edges.length + 2).fill(0);
  for (const value of values) {
    const bin = binOf(edges, value);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

function binEdges(sorted: Float64Array): number[] {
  const [smallest, largest] = [sorted[0], sorted.at(-1)];
  if (smallest === undefined || largest === undefined) return [0];
  const edges = new Set<number>();
  let previous = Number.NaN;
  for (let i = 0; i <= maxBins; i++) {
    const quantile: number = sorted[Math.round((i / maxBins) * (sorted.length - 1))] ?? largest;
    if (quantile === previous) {
      edges.delete(quantile);
      edges.add(below(quantile)).add(above(quantile));
    } else edges.add(quantile);
    previous = quantile;
  }
  const inner = [...edges].filter((edge) => edge > smallest && edge < largest).sort((a, b) => a - b);
  return withoutEmptyBins([below(smallest), ...inner, above(largest)], sorted);
}

/** Joins each empty bin with the one before it: it would only add noise to comparisons. The first is never empty. */
function withoutEmptyBins(edges: number[], sorted: Float64Array): number[] {
  const counts = countBins(edges, sorted);
  return edges.filter((_, i) => i === 0 || i === edges.length - 1 || (counts[i + 1] ?? 0) > 0);
}

function below(value: number): number {
  return Math.max(value - Math.max(Math.abs(value) * relativeGap, smallestGap), -Number.MAX_VALUE);
}

function above(value: number): number {
  return -below(-value);
}

interface Blocks {
  edges: readonly number[];
  counts: readonly number[];
  values: Float64Array;
  blockSize: number;
}

function blockVariation({ edges, counts, values, blockSize }: Blocks): NumericProfile['blockPsi'] {
  if (!Number.isInteger(blockSize) || blockSize < 1)
    throw new AppError('invalid_request', `blockSize must be a whole number of rows from 1, not ${blockSize}`);
  const blocks = Math.floor(values.length / blockSize);
  if (blocks < 2) return undefined;
  const stabilities = Array.from({ length: blocks }, (_, i) =>
    psi(counts, countBins(edges, values.subarray(i * blockSize, (i + 1) * blockSize))),
  );
  const mean = stabilities.reduce((sum, value) => sum + value, 0) / blocks;
  const squares = stabilities.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean: Math.max(mean, 0), deviation: Math.sqrt(squares / (blocks - 1)), blockSize };
}

export interface ReferenceInput {
  /** Names of the columns of `rows`. */
  features: readonly string[];
  /** Raw features, rows x features, row-major; NaN is missing. */
  rows: Float32Array;
  /** Highest class score of each row. */
  confidences: Float32Array;
  /** Class index that the model predicts for each row. */
  predictedClasses: Int32Array;
  /** Class names by index. */
  labels: readonly string[];
  /** Accuracy on held-out data, 0 to 1. */
  accuracy?: number;
  /** Rows per block for `blockPsi`; 300, the fewest samples that drift is judged on, when unset. */
  blockSize?: number;
}

/** Profile of a model's features and answers. Throws `invalid_request` when the arrays differ in their rows. */
export function referenceProfile(input: ReferenceInput): ReferenceProfile {
  const { features, rows, confidences, predictedClasses, labels, accuracy, blockSize = 300 } = input;
  const count = predictedClasses.length;
  if (count === 0 || rows.length !== count * features.length || confidences.length !== count)
    throw new AppError(
      'invalid_request',
      `a reference needs as many rows as predictions: ${rows.length} values of ${features.length} features, ` +
        `${confidences.length} confidences, ${count} predicted classes`,
    );
  const classCounts = Object.fromEntries(labels.map((label) => [label, 0]));
  for (const index of predictedClasses) {
    const label = labels[index];
    if (label === undefined) throw new AppError('invalid_request', `labels has no name for predicted class ${index}`);
    classCounts[label] = (classCounts[label] ?? 0) + 1;
  }
  const column = (at: number) =>
    Float64Array.from({ length: count }, (_, row) => rows[row * features.length + at] ?? 0);
  return {
    rows: count,
    features: Object.fromEntries(features.map((name, at) => [name, numericProfile(column(at), { blockSize })])),
    confidence: numericProfile(confidences, { blockSize }),
    classes: { counts: classCounts },
    ...(accuracy === undefined ? {} : { accuracy }),
  };
}
