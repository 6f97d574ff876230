// What a manifest says of the outputs and of the model's reference, whatever the task.
import { featureNames, type Manifest } from '../manifest.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { isClassWidth } from './class-scores.ts';
import { type Faults, listed, reject, repetitionIn } from './rejection.ts';

/** True, or throws `model_rejected` for outputs that are not there and labels that fit none. */
export function checkOutputs({ task, outputs }: Manifest, signature: ModelSignature): true {
  const { scores, label, labels, detection, segmentation } = outputs;
  for (const [field, name] of Object.entries({ scores, label })) {
    if (name === undefined || signature.outputs.some((output) => output.name === name)) continue;
    throw reject(`outputs.${field}`, `the model has no output "${name}"; it has ${listed(signature.outputs)}`);
  }
  if (labels === undefined) return true;
  const repeated = repetitionIn(labels);
  if (repeated !== undefined) throw reject('outputs.labels', `names "${repeated}" twice`);
  // What a classifier, a detector or a map makes of labels is a matter of its own.
  if (task === 'classification' || detection || segmentation) return true;
  const named = signature.outputs.filter(({ name }) => scores === undefined || name === scores);
  const isEach = task === 'regression' && named.length === labels.length && named.every(isOneEach);
  if (isEach || named.some(({ shape }) => isClassWidth(shape, labels.length))) return true;
  throw reject('outputs.labels', `${labels.length} labels, but no output has a value for each: ${listed(named)}`);
}

/** One value for each row. */
function isOneEach({ shape }: TensorSpec): boolean {
  return shape.slice(1).every((dim) => dim === 1);
}

/** The reference must speak of what the manifest names. */
export function checkReference(manifest: Manifest, faults: Faults): void {
  const { outputs, monitoring } = manifest;
  const { reference } = monitoring;
  const check = (names: string[], known: readonly string[], where: string, what: string): void => {
    const has = new Set(known);
    for (const name of names) {
      if (!has.has(name)) faults.add(reject(`monitoring.reference.${where}.${name}`, what));
    }
  };
  check(
    Object.keys(reference?.features ?? {}),
    featureNames(manifest),
    'features',
    'is no feature that manifest.inputs names',
  );
  if (outputs.labels === undefined) return;
  const classes = Object.keys(reference?.classes?.counts ?? {});
  check(classes, outputs.labels, 'classes', 'is no label of manifest.outputs');
}
