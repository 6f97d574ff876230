// What a model's tensors mean, by its manifest: which inputs carry named features, which output holds class scores.
import type { DetectionOutputs, Manifest } from '../manifest.ts';
import { elementCount, type NamedTensor, numbersOf } from '../tensor-data.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { tensorOf } from './constant-inputs.ts';
import { tableShape } from './detection-layout.ts';
import { checkOneMeaning, type PictureInput, pictureInput, type SoundInput, soundInput } from './media-inputs.ts';
import { type MissingValues, missingValues } from './missing-values.ts';
import { listed, reject } from './rejection.ts';

export interface FeatureInput {
  spec: TensorSpec;
  features: readonly string[];
  /** What features without a value become. */
  missing: MissingValues;
}

export interface Interpretation {
  /** In the order of the manifest, as recorded rows are. */
  featureInputs: readonly FeatureInput[];
  /** The names of all of them, in order. */
  featureNames: ReadonlySet<string>;
  pictures: readonly PictureInput[];
  sounds: readonly SoundInput[];
  /** What inputs hold that nobody need send, by name. */
  constants: ReadonlyMap<string, NamedTensor>;
  /** Set for classifiers. Without labels, a class is named by its place. */
  scores: ClassScores | undefined;
  /** Set for detectors. */
  detection: DetectionOutputs | undefined;
}

interface ClassScores {
  output: string;
  labels: readonly string[] | undefined;
  activation?: 'softmax' | 'sigmoid' | undefined;
}

/** Per row of a classifier: the class with the highest score, and that score. */
export interface Predictions {
  predicted: string[];
  scores: number[];
}

/** Reads a manifest against the signature. Throws `model_rejected` naming the field that contradicts it. */
export function interpret(manifest: Manifest, signature: ModelSignature): Interpretation {
  const featureInputs: FeatureInput[] = [];
  const pictures: PictureInput[] = [];
  const sounds: SoundInput[] = [];
  const constants = new Map<string, NamedTensor>();
  for (const [name, input] of Object.entries(manifest.inputs)) {
    const spec = signature.inputs.find((each) => each.name === name);
    if (!spec) throw reject(`inputs.${name}`, `the model has no such input; it takes ${listed(signature.inputs)}`);
    checkOneMeaning(name, input);
    const missing = missingValues(spec, input);
    if (input.features) featureInputs.push({ ...featureInput(spec, input.features), missing });
    if (input.image) pictures.push(pictureInput(spec, input.image));
    if (input.audio) sounds.push(soundInput(spec, input.audio));
    if (input.value !== undefined) constants.set(name, constant(spec, input.value));
  }
  const scores = manifest.task === 'classification' ? scoresOutput(manifest, signature) : undefined;
  const detection = detectionOutputs(manifest, signature, pictures);
  const featureNames = uniqueNames(featureInputs);
  return { featureInputs, featureNames, pictures, sounds, constants, scores, detection };
}

function featureInput(spec: TensorSpec, features: readonly string[]): Omit<FeatureInput, 'missing'> {
  const width = spec.shape.at(-1);
  if (width !== undefined && width !== -1 && width !== features.length) {
    throw reject(`inputs.${spec.name}.features`, `${features.length} names for a last dimension of ${width}`);
  }
  return { spec, features };
}

function uniqueNames(featureInputs: readonly FeatureInput[]): Set<string> {
  const featureNames = new Set<string>();
  for (const name of featureInputs.flatMap(({ features }) => features)) {
    if (featureNames.has(name)) throw reject('inputs', `the feature name "${name}" is given twice`);
    featureNames.add(name);
  }
  return featureNames;
}

function constant(spec: TensorSpec, value: unknown): NamedTensor {
  const tensor = tensorOf(spec, value);
  if (typeof tensor === 'string') throw reject(`inputs.${spec.name}.value`, tensor);
  return tensor;
}

function detectionOutputs(
  { outputs: { detection, labels } }: Manifest,
  { outputs }: ModelSignature,
  pictures: readonly PictureInput[],
): DetectionOutputs | undefined {
  if (!detection) return undefined;
  const { boxes, scores, classes, table } = detection;
  for (const [field, name] of Object.entries({ boxes, scores, classes, table })) {
    if (name === undefined || outputs.some((output) => output.name === name)) continue;
    throw reject(`outputs.detection.${field}`, `the model has no output "${name}"; it has ${listed(outputs)}`);
  }
  const shape = outputs.find(({ name }) => name === table)?.shape ?? [];
  const read = shape.length > 0 && !shape.includes(-1) && tableShape(shape, detection, labels?.length);
  if (typeof read === 'string') throw reject('outputs.detection.table', read);
  if (pictures.length === 0) throw reject('outputs.detection', 'needs an input with "image"');
  return detection;
}

function scoresOutput({ outputs }: Manifest, signature: ModelSignature): Interpretation['scores'] {
  const { labels, scores, activation } = outputs;
  const fitsLabels = ({ shape }: TensorSpec): boolean =>
    !labels || shape.length === 0 || shape.at(-1) === -1 || shape.at(-1) === labels.length;
  if (scores !== undefined) {
    const spec = signature.outputs.find((output) => output.name === scores);
    if (!spec)
      throw reject('outputs.scores', `the model has no output "${scores}"; it has ${listed(signature.outputs)}`);
    if (!fitsLabels(spec)) throw reject('outputs.labels', `${labels?.length} labels for scores of [${spec.shape}]`);
    return { output: scores, labels, activation };
  }
  const floats = signature.outputs.filter(({ datatype }) => /^FP/.test(datatype));
  const exact = floats.find(({ shape }) => shape.length > 0 && shape.at(-1) === labels?.length);
  const spec = exact ?? floats.find(fitsLabels);
  if (!spec)
    throw reject('outputs.scores', `no output holds a score for each class; it has ${listed(signature.outputs)}`);
  return { output: spec.name, labels, activation };
}

/** Scores of all rows, row-major, as the model gave them. */
interface ScoreTable {
  values: ArrayLike<number>;
  rows: number;
  width: number;
}

/** Undefined when the model is no classifier or its scores don't fit the labels. */
function scoreTable(scores: Interpretation['scores'], outputs: readonly NamedTensor[]): ScoreTable | undefined {
  const output = scores && outputs.find(({ name }) => name === scores.output);
  const values = output && numbersOf(output);
  const width = output?.shape.at(-1) ?? 0;
  if (!values || width === 0 || (scores?.labels && scores.labels.length !== width)) return undefined;
  return { values, rows: values.length / width, width };
}

/** Scores of each row after the activation, or undefined when there are none. */
export function scoreRows(scores: Interpretation['scores'], outputs: readonly NamedTensor[]): number[][] | undefined {
  const table = scoreTable(scores, outputs);
  if (!table) return undefined;
  const { values, rows, width } = table;
  return Array.from({ length: rows }, (_, row) => {
    const scale = scaleOf(values, row * width, width, scores?.activation);
    return Array.from({ length: width }, (_, place) => activated(values[row * width + place], scale));
  });
}

/** What the activation of one row needs to know of the whole row. */
type RowScale = { kind: 'none' | 'sigmoid' } | { kind: 'softmax'; highest: number; sum: number };

function scaleOf(
  values: ArrayLike<number>,
  start: number,
  width: number,
  activation: ClassScores['activation'],
): RowScale {
  if (activation !== 'softmax') return activation === undefined ? unscaled : sigmoid;
  let highest = Number.NEGATIVE_INFINITY;
  for (let at = start; at < start + width; at++) highest = Math.max(highest, values[at] ?? Number.NaN);
  let sum = 0;
  for (let at = start; at < start + width; at++) sum += Math.exp((values[at] ?? Number.NaN) - highest);
  return { kind: 'softmax', highest, sum };
}

const unscaled: RowScale = { kind: 'none' };
const sigmoid: RowScale = { kind: 'sigmoid' };

function activated(value = Number.NaN, scale: RowScale): number {
  if (scale.kind === 'softmax') return Math.exp(value - scale.highest) / scale.sum;
  return scale.kind === 'sigmoid' ? 1 / (1 + Math.exp(-value)) : value;
}

/** The class of each row, for the journal and for answers. An activation never changes which score is the highest. */
export function predictionsOf(
  scores: Interpretation['scores'],
  outputs: readonly NamedTensor[],
): Predictions | undefined {
  const table = scoreTable(scores, outputs);
  if (!table) return undefined;
  const { values, rows, width } = table;
  const found: Predictions = { predicted: [], scores: [] };
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    let best = start;
    for (let at = start + 1; at < start + width; at++) {
      if ((values[at] ?? Number.NaN) > (values[best] ?? Number.NaN)) best = at;
    }
    found.predicted.push(labelAt(scores, best - start));
    found.scores.push(activated(values[best], scaleOf(values, start, width, scores?.activation)));
  }
  return found;
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
