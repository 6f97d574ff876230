// Boxes out of the tensors of a detector: thresholds, and non-maximum suppression per class. Pure.
import type { DetectionOutputs } from '@edgeloop/shared/manifest';
import { type NamedTensor, numbersOf } from './tensors.ts';

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
 * What the model sees, highest score first, in pixels of its input of `size`. A string says why the outputs don't fit
 * the manifest.
 */
export function detect(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
): Candidate[] | string {
  const found = candidatesOf(detection, outputs, size);
  return typeof found === 'string' ? found : suppress(found, detection);
}

function candidatesOf(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
): Candidate[] | string {
  const read = (name: string): ArrayLike<number> | undefined => {
    const output = outputs.find((each) => each.name === name);
    return output && numbersOf(output);
  };
  const [edges, scores] = [read(detection.boxes), read(detection.scores)];
  const places = detection.classes === undefined ? undefined : read(detection.classes);
  if (!edges || !scores || edges.length % 4 !== 0) return 'its boxes and scores are not tensors of numbers';
  const count = edges.length / 4;
  if (count === 0) return [];
  const classes = scores.length / count;
  if (!Number.isInteger(classes)) return `it has ${scores.length} scores for ${count} boxes`;
  if (places && (classes !== 1 || places.length !== count)) return `it has ${places.length} classes for ${count} boxes`;
  const candidates: Candidate[] = [];
  for (let at = 0; at < scores.length; at++) {
    const score = scores[at] ?? Number.NaN;
    if (!(score >= detection.scoreThreshold)) continue;
    const row = Math.floor(at / classes);
    const place = places ? Math.round(places[row] ?? 0) : at % classes;
    if (place === detection.background) continue;
    const box = boxAt(edges, row * 4, detection, size);
    if (box.right > box.left && box.bottom > box.top) candidates.push({ place, score, box });
  }
  return candidates;
}

function boxAt(
  edges: ArrayLike<number>,
  at: number,
  { format, normalised }: DetectionOutputs,
  { width, height }: { width: number; height: number },
): Box {
  const [a = 0, b = 0, c = 0, d = 0] = [edges[at], edges[at + 1], edges[at + 2], edges[at + 3]];
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
