// Boxes out of the tensors of a detector: thresholds, and non-maximum suppression per class. Pure.
import type { DetectionOutputs } from '../manifest.ts';
import type { NamedTensor } from '../tensor-data.ts';
import { type DetectionLayout, layoutOf, numberOf } from './detection-layout.ts';

/** Edges, in any one unit. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface Candidate {
  /** Place of the class. */
  place: number;
  score: number;
  box: Box;
}

/** Candidates beyond these, with lower scores, are not looked at. */
const maxCandidates = 10_000;

/**
 * What the model sees, highest score first, in pixels of its input of `size`. `labels`: how many classes the manifest
 * names. A string says why the outputs don't fit the manifest.
 */
export function detect(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
  labels?: number,
): Candidate[] | string {
  const layout = layoutOf(detection, outputs, labels);
  return typeof layout === 'string' ? layout : suppress(candidatesOf(layout, detection, size), detection);
}

function candidatesOf(
  { boxes, edges, scores, objectness, places }: DetectionLayout,
  detection: DetectionOutputs,
  size: { width: number; height: number },
): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [column, ofClass] of scores.entries()) {
    for (let at = 0; at < boxes; at++) {
      const score = numberOf(ofClass, at) * (objectness ? numberOf(objectness, at) : 1);
      if (!(score >= detection.scoreThreshold)) continue;
      const place = places ? Math.round(numberOf(places, at)) : column;
      if (place === detection.background) continue;
      const box = boxOf(
        edges.map((edge) => numberOf(edge, at)),
        detection,
        size,
      );
      if (box.right > box.left && box.bottom > box.top) candidates.push({ place, score, box });
    }
  }
  return candidates;
}

function boxOf(
  [a = 0, b = 0, c = 0, d = 0]: readonly number[],
  { format, normalised }: DetectionOutputs,
  { width, height }: { width: number; height: number },
): Box {
  const [left, top, right, bottom] =
    format === 'xyxy' ? [a, b, c, d] : format === 'yxyx' ? [b, a, d, c] : [a - c / 2, b - d / 2, a + c / 2, b + d / 2];
  const [x, y] = normalised ? [width, height] : [1, 1];
  return { left: left * x, top: top * y, right: right * x, bottom: bottom * y };
}

/** Keeps, from the highest score down, each box that overlaps no kept one of its class by more than the threshold. */
export function suppress(
  candidates: readonly Candidate[],
  { iouThreshold, maxDetections }: Pick<DetectionOutputs, 'iouThreshold' | 'maxDetections'>,
): Candidate[] {
  const kept: Candidate[] = [];
  for (const candidate of candidates.toSorted((a, b) => b.score - a.score).slice(0, maxCandidates)) {
    if (kept.length === maxDetections) break;
    const hidden = kept.some(
      ({ place, box }) => place === candidate.place && overlap(box, candidate.box) > iouThreshold,
    );
    if (!hidden) kept.push(candidate);
  }
  return kept;
}

/** Intersection over union, 0 to 1. */
export function overlap(a: Box, b: Box): number {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / (area(a) + area(b) - shared);
}

function area({ left, top, right, bottom }: Box): number {
  return (right - left) * (bottom - top);
}
