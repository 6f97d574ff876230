// What a model's tensors mean, by its manifest: which inputs carry named features, which output holds class scores. The one
// checker of manifests: the registry refuses what it refuses, and agents load what it takes.
import type { DetectionOutputs, SegmentationOutputs } from '../detection-manifest.ts';
import { type EmbeddingOutputs, featureNames, type InputManifest, type Manifest } from '../manifest.ts';
import { elementCount, type NamedTensor, numbersOf } from '../tensor-data.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { carriedStates } from './carried-states.ts';
import { type ClassScores, classScores, fileNames } from './class-scores.ts';
import { tensorOf } from './constant-inputs.ts';
import { detectionOutputs, detectorNames, segmentationOutputs, segmentNames } from './detection-check.ts';
import { checkOneMeaning, type PictureInput, pictureInput, type SoundInput, soundInput } from './media-inputs.ts';
import { type MissingValues, missingValues } from './missing-values.ts';
import { checkOutputs, checkReference } from './output-checks.ts';
import { Faults, listed, reject, repetitionIn } from './rejection.ts';
import { controlTensors, type SequenceControl, sequenceControls } from './sequence-controls.ts';
import { embeddingOutputs, type TextPlan, textPlan } from './text-input.ts';

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
  /** Set for models that take texts. */
  texts: TextPlan | undefined;
  /** What inputs hold that nobody need send, by name. */
  constants: ReadonlyMap<string, NamedTensor>;
  /** Names of classes, or of the values of a regression: the manifest's, or else those that the file has for its classes. */
  labels: readonly string[] | undefined;
  /** What goes from window to window of a recording: the output by the name of its input. */
  states: ReadonlyMap<string, string>;
  /** Inputs that tell the model where in its sequence a request stands. */
  controls: readonly SequenceControl[];
  /** Set for classifiers. Without labels, a class is named by its place. */
  scores: ClassScores | undefined;
  /** Set for detectors. */
  detection: DetectionOutputs | undefined;
  /** Set for models that say of every pixel what is there. */
  segmentation: SegmentationOutputs | undefined;
  /** Set for models that make vectors. */
  embedding: EmbeddingOutputs | undefined;
}

/** Reads a manifest against the signature. Throws `model_rejected` naming every field that contradicts it. */
export function interpret(manifest: Manifest, signature: ModelSignature): Interpretation {
  const faults = new Faults();
  const inputs = readInputs(manifest, signature, faults);
  const areThere = faults.attempt(() => checkOutputs(manifest, signature));
  const isClassifier = manifest.task === 'classification' && areThere === true;
  const scores = isClassifier ? faults.attempt(() => classScores(manifest.outputs, signature)) : undefined;
  const detection = faults.attempt(() => detectionOutputs(manifest, signature, inputs.pictures));
  const segmentation = faults.attempt(() => segmentationOutputs(manifest, signature, inputs.pictures));
  const embedding = faults.attempt(() => embeddingOutputs(manifest, signature, inputs.texts));
  checkReference(manifest, faults);
  faults.end();
  const names = new Set(inputs.featureInputs.flatMap(({ features }) => features));
  const labels = labelsOf(manifest, signature);
  return { ...inputs, featureNames: names, labels, scores, detection, segmentation, embedding };
}

/** Names of classes, or of the values of a regression, wherever they are said; undefined when they are not. */
export function labelsOf({ task, outputs }: Manifest, signature: ModelSignature): readonly string[] | undefined {
  if (outputs.labels) return outputs.labels;
  if (outputs.detection) return detectorNames(outputs.detection, signature);
  if (outputs.segmentation) return segmentNames(outputs.segmentation, signature);
  return task === 'classification' ? fileNames(outputs, signature) : undefined;
}

type Inputs = Pick<Interpretation, 'pictures' | 'sounds' | 'texts' | 'constants' | 'states' | 'controls'> & {
  featureInputs: FeatureInput[];
};

function readInputs(manifest: Manifest, signature: ModelSignature, faults: Faults): Inputs {
  const featureInputs: FeatureInput[] = [];
  const pictures: PictureInput[] = [];
  const sounds: SoundInput[] = [];
  const constants = new Map<string, NamedTensor>();
  for (const [name, input] of Object.entries(manifest.inputs)) {
    faults.attempt(() => {
      const spec = signature.inputs.find((each) => each.name === name);
      if (!spec) throw reject(`inputs.${name}`, `the model has no such input; it takes ${listed(signature.inputs)}`);
      checkOneMeaning(name, input);
      const missing = missingValues(spec, input);
      if (input.features) featureInputs.push({ ...featureInput(spec, input.features), missing });
      if (input.image) pictures.push(pictureInput(spec, input.image));
      if (input.audio) sounds.push(soundInput(spec, input.audio));
      const begin = input.value ?? (input.state === undefined ? undefined : 0);
      if (begin !== undefined) constants.set(name, constant(spec, begin));
    });
  }
  faults.attempt(() => checkSharedNames(manifest));
  const states = faults.attempt(() => carriedStates(manifest, signature, sounds)) ?? new Map<string, string>();
  const texts = faults.attempt(() => textPlan(manifest, signature));
  const controls = faults.attempt(() => sequenceControls(manifest, signature)) ?? [];
  // What is asked alone is a sequence of one.
  const alone = controlTensors(controls, { id: '0', start: true, end: true });
  if (typeof alone !== 'string') for (const tensor of alone) constants.set(tensor.name, tensor);
  return { featureInputs, pictures, sounds, texts, constants, states, controls };
}

function featureInput(spec: TensorSpec, features: readonly string[]): Omit<FeatureInput, 'missing'> {
  const repeated = repetitionIn(features);
  if (repeated !== undefined) throw reject(`inputs.${spec.name}.features`, `names "${repeated}" twice`);
  const width = spec.shape.at(-1);
  if (width !== undefined && width !== -1 && width !== features.length) {
    throw reject(`inputs.${spec.name}.features`, `${features.length} names for a last dimension of ${width}`);
  }
  return { spec, features };
}

/** Rows hold the features of all inputs side by side, so each name stands for one value. */
function checkSharedNames(manifest: Manifest): void {
  const once = (input: InputManifest): boolean => repetitionIn(input.features ?? []) === undefined;
  const repeated = Object.values(manifest.inputs).every(once) ? repetitionIn(featureNames(manifest)) : undefined;
  if (repeated !== undefined) throw reject('inputs', `the feature name "${repeated}" is given to two inputs`);
}

function constant(spec: TensorSpec, value: unknown): NamedTensor {
  const tensor = tensorOf(spec, value);
  if (typeof tensor === 'string') throw reject(`inputs.${spec.name}.value`, tensor);
  return tensor;
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
