// Whether a manifest's detector or segmentation fits the outputs of the model.
import type { DetectionOutputs, SegmentationOutputs } from '../detection-manifest.ts';
import type { Manifest } from '../manifest.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { checkCount, isClassWidthSaid } from './class-scores.ts';
import { numbersBehind, widthsOf } from './detection.ts';
import { checkHead } from './detection-head.ts';
import { tableShape } from './detection-layout.ts';
import type { PictureInput } from './media-inputs.ts';
import { listed, reject } from './rejection.ts';
import { mapShape } from './segmentation.ts';

/** Throws `model_rejected` naming the field that contradicts the model. Undefined when the model is no detector. */
export function detectionOutputs(
  { outputs: { detection, labels } }: Manifest,
  signature: ModelSignature,
  [picture]: readonly PictureInput[],
): DetectionOutputs | undefined {
  if (!detection) return undefined;
  const { outputs } = signature;
  const { boxes, scores, classes, table, maps, head, masks, found } = detection;
  const named = { boxes, scores, classes, table, 'masks.prototypes': masks?.prototypes, found };
  for (const [field, name] of Object.entries(named)) checkName(`outputs.detection.${field}`, name, outputs);
  for (const name of maps ?? []) checkName('outputs.detection.maps', name, outputs);
  if (!picture) throw reject('outputs.detection', 'needs an input with "image"');
  if (head && picture.image.crop === 'inside') throw reject('outputs.detection.head', 'needs a picture of one size');
  if (head) {
    const read = [...(maps ?? []), ...(table === undefined ? [] : [table])];
    const tensors = read.flatMap((name) => outputs.find((output) => output.name === name) ?? []);
    const widths = widthsOf(detection, outputs, labels?.length);
    // Of masks it is the prototypes that say how many.
    const isKnown = masks === undefined || widths.behind > 0;
    const reason = isKnown ? checkHead(head, tensors, picture.image, widths) : undefined;
    if (reason !== undefined) throw reject('outputs.detection.head', reason);
  } else if (table !== undefined) {
    checkTable(detection, outputs, labels?.length);
  }
  if (labels) checkCount(labels, signature, saysCount(detection, outputs, labels.length));
  return detection;
}

function checkName(field: string, name: string | undefined, outputs: readonly TensorSpec[]): void {
  if (name === undefined || outputs.some((output) => output.name === name)) return;
  throw reject(field, `the model has no output "${name}"; it has ${listed(outputs)}`);
}

function checkTable(detection: DetectionOutputs, outputs: readonly TensorSpec[], labels: number | undefined): void {
  const { masks } = detection;
  const prototypes = masks && outputs.find(({ name }) => name === masks.prototypes);
  if (prototypes && (prototypes.shape.length < 3 || prototypes.shape.length > 4) && prototypes.shape.length > 0) {
    throw reject('outputs.detection.masks.prototypes', `[${prototypes.shape}] is not [1, maps, rows, columns]`);
  }
  const read = knownTable(detection, outputs, labels);
  if (typeof read === 'string') throw reject('outputs.detection.table', read);
}

/** How the table is to be read, or why it can't; undefined when that is known only when the model runs. */
function knownTable(
  detection: DetectionOutputs,
  outputs: readonly TensorSpec[],
  labels: number | undefined,
): ReturnType<typeof tableShape> | undefined {
  const shape = outputs.find(({ name }) => name === detection.table)?.shape ?? [];
  const behind = numbersBehind(detection, outputs);
  if (shape.length === 0 || shape.includes(-1) || behind < 0 || (detection.masks && behind === 0)) return undefined;
  return tableShape(shape, detection, { labels, behind });
}

/** Whether an output itself says that there are as many classes. */
function saysCount(detection: DetectionOutputs, outputs: readonly TensorSpec[], labels: number): boolean {
  if (detection.head) return true;
  const scored = outputs.find(({ name }) => name === detection.scores)?.shape ?? [];
  return knownTable(detection, outputs, labels) !== undefined || isClassWidthSaid(scored, labels);
}

/** The file's class names, unless its table is known to be made for another number of them. */
export function detectorNames(
  detection: DetectionOutputs,
  { outputs, classNames }: ModelSignature,
): readonly string[] | undefined {
  if (detection.head) return classNames;
  return typeof knownTable(detection, outputs, classNames?.length) === 'string' ? undefined : classNames;
}

/** The same of the map of a segmentation. */
export function segmentNames(
  segmentation: SegmentationOutputs,
  { outputs, classNames }: ModelSignature,
): readonly string[] | undefined {
  const shape = outputs.find(({ name }) => name === segmentation.output)?.shape ?? [];
  const isKnown = shape.length > 0 && !shape.includes(-1);
  const read = isKnown && mapShape(shape, { segmentation, labels: classNames?.length });
  return typeof read === 'string' ? undefined : classNames;
}

/** The same for models that say of every pixel what is there. */
export function segmentationOutputs(
  { outputs: { segmentation, labels, detection } }: Manifest,
  { outputs }: ModelSignature,
  pictures: readonly PictureInput[],
): SegmentationOutputs | undefined {
  if (!segmentation) return undefined;
  if (detection) throw reject('outputs.segmentation', 'give one of detection and segmentation, not both');
  checkName('outputs.segmentation.output', segmentation.output, outputs);
  if (pictures.length === 0) throw reject('outputs.segmentation', 'needs an input with "image"');
  const shape = outputs.find(({ name }) => name === segmentation.output)?.shape ?? [];
  const read = shape.length > 0 && !shape.includes(-1) && mapShape(shape, { segmentation, labels: labels?.length });
  if (typeof read === 'string') throw reject('outputs.segmentation.output', read);
  return segmentation;
}
