// What a detector sees, in pixels of the picture: boxes, with masks or key points where the model gives them.
import type { DetectionOutputs } from '@edgeloop/shared/detection-manifest';
import { AppError } from '@edgeloop/shared/errors';
import { detect, numbersOfPoint, type Seen } from '@edgeloop/shared/meaning/detection';
import { type Mask, type Prototypes, prototypeMask, prototypesOf } from '@edgeloop/shared/meaning/mask';
import {
  type Area,
  areaInModel,
  boxInPicture,
  type Placement,
  pointInPicture,
  type Size,
} from '@edgeloop/shared/meaning/picture-placement';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../../inference/engine.ts';
import type { Inputs } from './inputs.ts';

/** Cells of all masks of an answer; they are made in the thread that answers others too. */
const maxMaskCells = 2_000_000;

/** How the picture went into the model. */
export interface Seeing {
  placement: Placement;
  size: Size;
}

/** `image`, `detections`, and `warnings` where something is not as it should be. */
export function detectionsAnswer(
  model: LoadedModel,
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  inputs: Inputs,
): object {
  const seeing = seeingOf(inputs);
  const { labels } = model.interpretation;
  const { activation } = model.files.manifest.outputs;
  const found = detect({ detection, labels: labels?.length, activation }, outputs, seeing.size);
  if (typeof found === 'string') throw unlike(model, found);
  const prototypes = detection.masks && prototypesOf(detection.masks.prototypes, outputs);
  if (typeof prototypes === 'string') throw unlike(model, prototypes);
  const inside = found.seen.flatMap((seen) => {
    const area = boxInPicture(seen.box, seeing.placement);
    return area ? [{ seen, area }] : [];
  });
  const outside = found.seen.length - inside.length;
  const cells = maxMaskCells / Math.max(1, inside.length);
  const warnings = [
    ...found.warnings,
    ...(outside > 0 ? [`${outside} of ${found.seen.length} boxes lie outside the picture`] : []),
  ];
  return {
    image: seeing.placement.picture,
    detections: inside.map(({ seen, area }) => ({
      label: labels?.[seen.place] ?? String(seen.place),
      score: seen.score,
      box: rounded(area),
      ...(prototypes && { mask: maskOfBox({ prototypes, seen, area, seeing, cells }) }),
      ...(detection.keypoints && { keypoints: keypointsOf(detection, seen, seeing) }),
    })),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** Throws `invalid_request` when there is no picture. */
export function seeingOf({ placement, size }: Inputs): Seeing {
  if (placement && size) return { placement, size };
  throw new AppError('invalid_request', 'the model takes a picture, the request has none');
}

/** The model does something else than its manifest says. */
export function unlike({ files }: LoadedModel, reason: string): AppError {
  return new AppError('internal', `model "${files.name}" does not answer as its manifest says: ${reason}`);
}

/** To hundredths of a pixel. */
export function rounded({ left, top, width, height }: Area): { x: number; y: number; width: number; height: number } {
  return { x: hundredths(left), y: hundredths(top), width: hundredths(width), height: hundredths(height) };
}

function hundredths(pixels: number): number {
  return Math.round(pixels * 100) / 100;
}

interface Masked {
  prototypes: Prototypes;
  seen: Seen;
  /** The box in the picture. */
  area: Area;
  seeing: Seeing;
  /** Most cells of the mask. */
  cells: number;
}

/** Over the box, as fine as the model saw the picture, and not finer than the picture is. */
function maskOfBox({ prototypes, seen, area, seeing, cells }: Masked): Mask {
  const inModel = areaInModel(area, seeing.placement);
  const columns = Math.min(area.width, inModel.right - inModel.left);
  const rows = Math.min(area.height, inModel.bottom - inModel.top);
  const scale = Math.min(1, Math.sqrt(cells / (rows * columns)));
  const grid = { rows: whole(rows * scale), columns: whole(columns * scale) };
  return prototypeMask(prototypes, seen.behind, { area: inModel, size: seeing.size, grid });
}

function whole(length: number): number {
  return Math.max(1, Math.round(length));
}

function keypointsOf(detection: DetectionOutputs, { behind }: Seen, { placement, size }: Seeing): object[] {
  const { keypoints, head, normalised = head === undefined } = detection;
  if (!keypoints) return [];
  const [x, y] = normalised ? [size.width, size.height] : [1, 1];
  const each = numbersOfPoint(keypoints);
  return Array.from({ length: behind.length / each }, (_, i) => {
    const [left = 0, top = 0, score] = behind.slice(i * each, (i + 1) * each);
    const point = pointInPicture(left * x, top * y, placement);
    const name = keypoints.names?.[i];
    return { ...(name !== undefined && { name }), x: hundredths(point.x), y: hundredths(point.y), score };
  });
}
