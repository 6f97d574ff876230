// Reference profiles: what a model's features and answers look like on the data it was made with, in the bins that
// devices count into from then on.
import { AppError } from '@edgeloop/shared/errors';
import type { CategoryProfile, NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import { binOf } from '@edgeloop/shared/sketches/histogram';
import { psi } from '@edgeloop/shared/sketches/psi';
import { blocksOf, categoryScores, numericScores, stretchRows } from '@edgeloop/shared/sketches/scores';

const maxBins = 32;
/** Room around a value that gets a bin of its own: wider than 32-bit rounding, narrower than any real difference. */
const relativeGap = 1e-6;
const smallestGap = 1e-12;

/**
 * Profile of one numeric value. At most 32 bins with edges at the quantiles of the finite values, every one of which
 * falls inside a bin, and every bin holds at least one. A value so frequent that it is several quantiles gets a bin of
 * its own, as does the only value of a constant. NaN and infinities count as missing; without any finite value the
 * only edge is 0. `blockSize`: rows per block for `blockPsi`, in the given order (an incomplete last block is left
 * out); without `blockSize`, or with fewer than two whole blocks, there is none. With it the rows count as consecutive, and
 * `blocks` tells how much they are like their neighbours.
 */
export function numericProfile(values: ArrayLike<number>, { blockSize }: { blockSize?: number } = {}): NumericProfile {
  const all = Float64Array.from(values);
  const edges = binEdges(all.filter(Number.isFinite).sort());
  const counts = countBins(edges, all);
  if (blockSize === undefined) return { edges, counts };
  const piecesOf = (size: number) =>
    stretches(all.length, size).map(({ from, to }) => countBins(edges, all.subarray(from, to)));
  const blocks = blocksOf(numericScores(counts), piecesOf(stretchRows(checkedSize(blockSize))));
  return {
    edges,
    counts,
    ...variation(counts, piecesOf(checkedSize(blockSize)), blockSize),
    ...(blocks.length > 0 && { blocks }),
  };
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

/** Whole consecutive stretches of `size` among so many rows. */
function stretches(rows: number, size: number): { from: number; to: number }[] {
  return Array.from({ length: Math.floor(rows / size) }, (_, i) => ({ from: i * size, to: (i + 1) * size }));
}

function checkedSize(blockSize: number): number {
  if (Number.isInteger(blockSize) && blockSize >= 1) return blockSize;
  throw new AppError('invalid_request', `blockSize must be a whole number of rows from 1, not ${blockSize}`);
}

function variation(
  whole: readonly number[],
  blocks: readonly (readonly number[])[],
  blockSize: number,
): Pick<NumericProfile, 'blockPsi'> {
  if (blocks.length < 2) return {};
  const stabilities = blocks.map((block) => psi(whole, block));
  const mean = stabilities.reduce((sum, value) => sum + value, 0) / blocks.length;
  const squares = stabilities.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    blockPsi: { mean: Math.max(mean, 0), deviation: Math.sqrt(squares / (blocks.length - 1)), blockSize },
  };
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
  /** Of each row, whether the prediction is right; unset when nobody knows. */
  correct?: readonly boolean[];
  /** Accuracy on held-out data, 0 to 1, and the rows it was measured on. */
  accuracy?: number;
  accuracyRows?: number;
  /** Rows per block for `blockPsi`; 300, the fewest samples that drift is judged on, when unset. */
  blockSize?: number;
}

/** Profile of a model's features and answers. Throws `invalid_request` when the arrays differ in their rows. */
export function referenceProfile(input: ReferenceInput): ReferenceProfile {
  const { features, rows, confidences, predictedClasses, labels, blockSize = 300 } = input;
  const count = predictedClasses.length;
  if (count === 0 || rows.length !== count * features.length || confidences.length !== count)
    throw new AppError(
      'invalid_request',
      `a reference needs as many rows as predictions: ${rows.length} values of ${features.length} features, ` +
        `${confidences.length} confidences, ${count} predicted classes`,
    );
  const names = Array.from(predictedClasses, (index) => {
    const label = labels[index];
    if (label === undefined) throw new AppError('invalid_request', `labels has no name for predicted class ${index}`);
    return label;
  });
  const column = (at: number) =>
    Float64Array.from({ length: count }, (_, row) => rows[row * features.length + at] ?? 0);
  const confidence = numericProfile(confidences, { blockSize });
  return {
    rows: count,
    features: Object.fromEntries(features.map((name, at) => [name, numericProfile(column(at), { blockSize })])),
    confidence,
    classes: categoryProfile(labels, names, blockSize),
    ...accuracyPart(input, confidence),
  };
}

/** How often each name occurs, and how much that moves along the rows. */
function categoryProfile(labels: readonly string[], names: readonly string[], blockSize: number): CategoryProfile {
  const place = new Map(labels.map((label, i) => [label, i]));
  const countsOf = (of: readonly string[]) => {
    const counts = new Array<number>(labels.length).fill(0);
    for (const name of of) {
      const at = place.get(name) ?? 0;
      counts[at] = (counts[at] ?? 0) + 1;
    }
    return counts;
  };
  const piecesOf = (size: number) =>
    stretches(names.length, size).map(({ from, to }) => countsOf(names.slice(from, to)));
  const whole = countsOf(names);
  const counts = Object.fromEntries(labels.map((label, i) => [label, whole[i] ?? 0]));
  const blocks = blocksOf(categoryScores(counts, labels), piecesOf(stretchRows(checkedSize(blockSize))));
  return {
    counts,
    ...variation(whole, piecesOf(checkedSize(blockSize)), blockSize),
    ...(blocks.length > 0 && { blocks }),
  };
}

function accuracyPart(
  { accuracy, accuracyRows, correct, confidences }: ReferenceInput,
  { edges, counts }: NumericProfile,
): Partial<ReferenceProfile> {
  const right =
    correct &&
    countBins(
      edges,
      Float64Array.from(confidences).filter((_, row) => correct[row] === true),
    );
  return {
    ...(accuracy === undefined ? {} : { accuracy }),
    ...(accuracyRows === undefined ? {} : { accuracyRows }),
    ...(right === undefined ? {} : { confidenceCorrect: counts.map((_, bin) => right[bin] ?? 0) }),
  };
}
