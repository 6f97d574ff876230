// What a manifest says must fit the model that it comes with; every contradiction is named by its field.
import { AppError, type FieldError } from '@edgeloop/shared/errors';
import { featureNames, type Manifest } from '@edgeloop/shared/manifest';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';

type Input = Manifest['inputs'][string];

/** @throws AppError `model_rejected` with every field that does not fit */
export function checkManifest(manifest: Manifest, signature: ModelSignature): void {
  const errors = [
    ...Object.entries(manifest.inputs).flatMap(([name, input]) => inputErrors(name, input, signature)),
    ...sharedNames(manifest),
    ...outputErrors(manifest.outputs, signature),
    ...referenceErrors(manifest),
  ].slice(0, 20);
  const [first] = errors;
  if (first === undefined) return;
  throw new AppError('model_rejected', `the manifest does not fit the model: ${first.field}: ${first.message}`, {
    errors,
  });
}

function inputErrors(name: string, { features, image }: Input, { inputs }: ModelSignature): FieldError[] {
  const field = `manifest.inputs.${name}`;
  const spec = inputs.find((input) => input.name === name);
  if (spec === undefined) return [{ field, message: `the model has no such input; it has ${namesOf(inputs)}` }];
  if (features !== undefined && image !== undefined) {
    return [{ field, message: 'give features or image, not both' }];
  }
  if (features !== undefined) return featureErrors(`${field}.features`, features, spec);
  return image === undefined ? [] : imageErrors(`${field}.image`, image, spec);
}

function featureErrors(field: string, features: string[], spec: TensorSpec): FieldError[] {
  const last = spec.shape.at(-1);
  const repeated = repetitionIn(features);
  if (repeated !== undefined) return [{ field, message: `names "${repeated}" twice` }];
  if (last === undefined) return [{ field, message: 'the input is a scalar and has no features' }];
  if (last === -1 || last === features.length) return [];
  return [{ field, message: `names ${features.length} features, but the input's last dimension is ${last}` }];
}

/** Rows hold the features of all inputs side by side, so each name stands for one value. */
function sharedNames(manifest: Manifest): FieldError[] {
  const once = Object.values(manifest.inputs).every(({ features }) => repetitionIn(features ?? []) === undefined);
  const repeated = once ? repetitionIn(featureNames(manifest)) : undefined;
  if (repeated === undefined) return [];
  return [{ field: 'manifest.inputs', message: `the feature name "${repeated}" is given to two inputs` }];
}

function imageErrors(field: string, image: NonNullable<Input['image']>, spec: TensorSpec): FieldError[] {
  const { width, height, layout } = image;
  const channels = image.color === 'gray' ? 1 : 3;
  const wanted = layout === 'nchw' ? [-1, channels, height, width] : [-1, height, width, channels];
  const fits =
    spec.shape.length === 4 && spec.shape.every((dim, i) => dim === -1 || wanted[i] === -1 || dim === wanted[i]);
  if (fits) return [];
  return [{ field, message: `describes a tensor of shape [${wanted}], but the input has [${spec.shape}]` }];
}

function outputErrors({ labels, scores }: Manifest['outputs'], { outputs }: ModelSignature): FieldError[] {
  const named = outputs.find((output) => output.name === scores);
  if (scores !== undefined && named === undefined) {
    const message = `the model has no output "${scores}"; it has ${namesOf(outputs)}`;
    return [{ field: 'manifest.outputs.scores', message }];
  }
  if (labels === undefined) return [];
  const field = 'manifest.outputs.labels';
  const repeated = repetitionIn(labels);
  if (repeated !== undefined) return [{ field, message: `names "${repeated}" twice` }];
  const candidates = named === undefined ? outputs : [named];
  if (candidates.some(({ shape }) => shape.at(-1) === labels.length || shape.at(-1) === -1)) return [];
  const shapes = candidates.map(({ name, shape }) => `"${name}" [${shape}]`).join(', ');
  const message = `names ${labels.length} labels, but no scores have a last dimension of that size: ${shapes}`;
  return [{ field, message }];
}

function referenceErrors(manifest: Manifest): FieldError[] {
  const {
    outputs,
    monitoring: { reference },
  } = manifest;
  if (reference === undefined) return [];
  const features = new Set(featureNames(manifest));
  const labels = new Set(outputs.labels ?? []);
  const unknown = (names: string[], known: Set<string>, where: string, what: string): FieldError[] =>
    names
      .filter((name) => !known.has(name))
      .map((name) => ({ field: `manifest.monitoring.reference.${where}.${name}`, message: what }));
  return [
    ...unknown(Object.keys(reference.features), features, 'features', 'is no feature that manifest.inputs names'),
    ...(outputs.labels === undefined
      ? []
      : unknown(Object.keys(reference.classes?.counts ?? {}), labels, 'classes', 'is no label of manifest.outputs')),
  ];
}

function namesOf(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(', ');
}

function repetitionIn(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}
