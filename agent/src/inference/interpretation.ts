// What a model's tensors mean, by its manifest: which inputs carry named features, which output holds class scores.
import { AppError } from '@edgeloop/shared/errors';
import type { Manifest } from '@edgeloop/shared/manifest';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { elementCount, type NamedTensor, numbersOf } from './tensors.ts';

export interface FeatureInput {
  spec: TensorSpec;
  features: readonly string[];
}

export interface Interpretation {
  /** In the order of the manifest, as recorded rows are. */
  featureInputs: readonly FeatureInput[];
  /** The names of all of them, in order. */
  featureNames: ReadonlySet<string>;
  /** Set for classifiers. Without labels, a class is named by its place. */
  scores: { output: string; labels: readonly string[] | undefined } | undefined;
}

/** Per row of a classifier: the class with the highest score, and that score. */
export interface Predictions {
  predicted: string[];
  scores: number[];
}

/** Reads a manifest against the signature. Throws `model_rejected` naming the field that contradicts it. */
export function interpret(manifest: Manifest, signature: ModelSignature): Interpretation {
  const featureInputs = Object.entries(manifest.inputs).flatMap(([name, { features }]) => {
    const spec = signature.inputs.find((input) => input.name === name);
    if (!spec) throw reject(`inputs.${name}`, `the model has no such input; it takes ${names(signature.inputs)}`);
    if (!features) return [];
    const width = spec.shape.at(-1);
    if (width !== undefined && width !== -1 && width !== features.length) {
      throw reject(`inputs.${name}.features`, `${features.length} names for a last dimension of ${width}`);
    }
    return [{ spec, features }];
  });
  const featureNames = new Set<string>();
  for (const name of featureInputs.flatMap(({ features }) => features)) {
    if (featureNames.has(name)) throw reject('inputs', `the feature name "${name}" is given twice`);
    featureNames.add(name);
  }
  const scores = manifest.task === 'classification' ? scoresOutput(manifest, signature) : undefined;
  return { featureInputs, featureNames, scores };
}

function scoresOutput({ outputs }: Manifest, signature: ModelSignature): Interpretation['scores'] {
  const { labels, scores } = outputs;
  const fitsLabels = ({ shape }: TensorSpec): boolean =>
    !labels || shape.length === 0 || shape.at(-1) === -1 || shape.at(-1) === labels.length;
  if (scores !== undefined) {
    const spec = signature.outputs.find((output) => output.name === scores);
    if (!spec)
      throw reject('outputs.scores', `the model has no output "${scores}"; it has ${names(signature.outputs)}`);
    if (!fitsLabels(spec)) throw reject('outputs.labels', `${labels?.length} labels for scores of [${spec.shape}]`);
    return { output: scores, labels };
  }
  const floats = signature.outputs.filter(({ datatype }) => /^FP/.test(datatype));
  const exact = floats.find(({ shape }) => shape.length > 0 && shape.at(-1) === labels?.length);
  const spec = exact ?? floats.find(fitsLabels);
  if (!spec)
    throw reject('outputs.scores', `no output holds a score for each class; it has ${names(signature.outputs)}`);
  return { output: spec.name, labels };
}

function reject(field: string, reason: string): AppError {
  const message = `manifest.${field}: ${reason}`;
  return new AppError('model_rejected', message, { errors: [{ field: `manifest.${field}`, message: reason }] });
}

function names(specs: readonly TensorSpec[]): string {
  return specs.map(({ name, shape }) => `"${name}" [${shape}]`).join(', ');
}

/** Scores of each row, or undefined when the model is no classifier or its scores don't fit the labels. */
export function scoreRows(scores: Interpretation['scores'], outputs: readonly NamedTensor[]): number[][] | undefined {
  const output = outputs.find(({ name }) => name === scores?.output);
  const values = output && numbersOf(output);
  const width = output?.shape.at(-1) ?? 0;
  if (!values || width === 0 || (scores?.labels && scores.labels.length !== width)) return undefined;
  return Array.from({ length: values.length / width }, (_, row) =>
    Array.from({ length: width }, (_, column) => values[row * width + column] ?? Number.NaN),
  );
}

/** The class of each row, for the journal and for answers. */
export function predictionsOf(
  scores: Interpretation['scores'],
  outputs: readonly NamedTensor[],
): Predictions | undefined {
  const rows = scoreRows(scores, outputs);
  if (!rows) return undefined;
  const best = rows.map((row) => row.reduce((top, score, i) => (score > (row[top] ?? score) ? i : top), 0));
  return {
    predicted: best.map((place) => labelAt(scores, place)),
    scores: best.map((place, row) => rows[row]?.[place] ?? Number.NaN),
  };
}

/** Name of the class at this place. */
export function labelAt(scores: Interpretation['scores'], place: number): string {
  return scores?.labels?.[place] ?? String(place);
}

/**
 * The named features of a request, row-major in the order of the manifest (several inputs side by side), or undefined
 * when there are none, they aren't numbers, or the inputs disagree about the rows.
 */
export function featureRows(
  featureInputs: readonly FeatureInput[],
  inputs: readonly NamedTensor[],
): { rows: number; width: number; values: Float32Array } | undefined {
  const columns = featureInputs.flatMap(({ spec, features }) => {
    const input = inputs.find(({ name }) => name === spec.name);
    const values = input && numbersOf(input);
    return values && values.length % features.length === 0 ? [{ values, width: features.length }] : [];
  });
  const [first] = columns;
  const rows = first ? first.values.length / first.width : 0;
  const agree = columns.every(({ values, width }) => values.length / width === rows);
  if (rows === 0 || columns.length < featureInputs.length || !agree) return undefined;
  const width = columns.reduce((sum, column) => sum + column.width, 0);
  const values = new Float32Array(rows * width);
  for (let row = 0, at = 0; row < rows; row++) {
    for (const column of columns) {
      for (let i = 0; i < column.width; i++) values[at++] = column.values[row * column.width + i] ?? Number.NaN;
    }
  }
  return { rows, width, values };
}

/** Rows of a request: the product of all dimensions but a trailing feature one, by its first named or first input. */
export function rowsOf(featureInputs: readonly FeatureInput[], inputs: readonly NamedTensor[]): number {
  const [named] = featureInputs;
  const input = inputs.find(({ name }) => name === named?.spec.name);
  if (named && input) return Math.floor(elementCount(input.shape) / named.features.length);
  return inputs[0]?.shape[0] ?? 1;
}
