// Boxes out of the tensors of a detector: thresholds, and non-maximum suppression per class. Pure.
import type { DetectionOutputs } from '../detection-manifest.ts';
import { type NamedTensor, numbersOf } from '../tensor-data.ts';
import { type HeadWidths, headLayout } from './detection-head.ts';
import { type Box, type DetectionLayout, numberOf, separateLayout, tableLayout } from './detection-layout.ts';

export interface Candidate {
  /** Place of the class. */
  place: number;
  score: number;
  box: Box;
}

/** Something that the model sees. */
export interface Seen extends Candidate {
  /** What stands behind its scores: factors of a mask, or key points. */
  behind: number[];
}

export interface Detected {
  /** Highest score first, in pixels of the model's input. */
  seen: Seen[];
  /** What of it is not as it should be, for people. */
  warnings: string[];
}

export interface Detector {
  detection: DetectionOutputs;
  /** How many classes the manifest names. */
  labels?: number | undefined;
  activation?: 'sigmoid' | 'softmax' | undefined;
}

/** Candidates beyond these, with lower scores, are not looked at. */
const maxCandidates = 10_000;

/** What a model of this input size sees. A string says why the outputs don't fit the manifest. */
export function detect(
  { detection, labels, activation }: Detector,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
): Detected | string {
  const layout = layoutOf({ detection, labels }, outputs, size);
  if (typeof layout === 'string') return layout;
  const scored = scoredIn(layout, detection, scorerOf(layout, activation));
  const candidates = scored.kept.map(({ at, ...rest }) => ({ ...rest, at, box: layout.boxAt(at) }));
  const sound = candidates.filter(({ box }) => box.right > box.left && box.bottom > box.top);
  const { kept, isCut } = suppress(sound, detection);
  const warnings = [
    ...boxWarnings(candidates, sound.length),
    ...(scored.highest > 1.001 ? [logitsWarning(scored.highest)] : []),
    ...(isCut ? [`cut at ${detection.maxDetections} detections; outputs.detection.maxDetections allows more`] : []),
    ...stepWarnings(detection, outputs, layout.boxes),
    ...(scored.cut > 0
      ? [`${scored.cut} boxes beyond the ${maxCandidates} with the best scores were not looked at`]
      : []),
  ];
  const seen = kept.map(({ at, ...rest }) => ({ ...rest, behind: layout.behind(at) }));
  return { seen, warnings };
}

function layoutOf(
  { detection, labels }: Omit<Detector, 'activation'>,
  outputs: readonly NamedTensor[],
  size: { width: number; height: number },
): DetectionLayout | string {
  const { head, table, maps } = detection;
  if (head) {
    const tensors = (maps ?? [table]).flatMap((name) => outputs.find((output) => output.name === name) ?? []);
    return headLayout(head, tensors, size, widthsOf(detection, outputs, labels));
  }
  if (table === undefined) return separateLayout(detection, outputs, size);
  return tableLayout(detection, outputs, size, { labels, behind: numbersBehind(detection, outputs) });
}

/** How wide the numbers of a cell are: `labels` of the manifest. */
export function widthsOf(
  detection: Pick<DetectionOutputs, 'masks' | 'keypoints'>,
  outputs: readonly { name: string; shape: readonly number[] }[],
  labels: number | undefined,
): HeadWidths {
  const { keypoints } = detection;
  return { labels, behind: numbersBehind(detection, outputs), point: keypoints && numbersOfPoint(keypoints) };
}

/** How many numbers of a box stand behind its scores. */
export function numbersBehind(
  { masks, keypoints }: Pick<DetectionOutputs, 'masks' | 'keypoints'>,
  outputs: readonly { name: string; shape: readonly number[] }[],
): number {
  if (masks) return outputs.find(({ name }) => name === masks.prototypes)?.shape.at(-3) ?? 0;
  return keypoints ? (keypoints.names?.length ?? keypoints.count ?? 0) * numbersOfPoint(keypoints) : 0;
}

export function numbersOfPoint({ scored }: NonNullable<DetectionOutputs['keypoints']>): number {
  return scored === false ? 2 : 3;
}

/** What a number of a class counts for a box, before the weight. */
type Scorer = (value: number, at: number) => number;

function scorerOf({ score, scores, boxes }: DetectionLayout, activation: Detector['activation']): Scorer {
  if (activation === undefined) return score;
  if (activation === 'sigmoid') return (value) => score(1 / (1 + Math.exp(-value)));
  const highest = new Float64Array(boxes).fill(Number.NEGATIVE_INFINITY);
  const sums = new Float64Array(boxes);
  for (const column of scores) {
    for (let at = 0; at < boxes; at++) highest[at] = Math.max(highest[at] ?? 0, numberOf(column, at));
  }
  for (const column of scores) {
    for (let at = 0; at < boxes; at++) sums[at] = (sums[at] ?? 0) + Math.exp(numberOf(column, at) - (highest[at] ?? 0));
  }
  return (value, at) => score(Math.exp(value - (highest[at] ?? 0)) / (sums[at] ?? 1));
}

interface Scored {
  at: number;
  place: number;
  score: number;
}

/** The boxes above the threshold, best first. */
function scoredIn(
  { boxes, scores, weight, places, multiLabel }: DetectionLayout,
  detection: DetectionOutputs,
  scorer: Scorer,
): { kept: Scored[]; cut: number; highest: number } {
  const { scoreThreshold, background } = detection;
  const weights = weight && Float64Array.from({ length: boxes }, (_, at) => weight(at));
  const all: Scored[] = [];
  const best = new Map<number, Scored>();
  let highest = 0;
  for (const [column, { values, start, step }] of scores.entries()) {
    for (let at = 0; at < boxes; at++) {
      const factor = weights?.[at] ?? 1;
      // Scores are at most 1, so what a weight makes too little need not be reckoned.
      if (!(factor >= scoreThreshold)) continue;
      const score = scorer(values[start + at * step] ?? Number.NaN, at) * factor;
      if (!(score >= scoreThreshold)) continue;
      const place = places ? Math.round(numberOf(places, at)) : column;
      if (place === background) continue;
      highest = Math.max(highest, score);
      if (detection.multiLabel ?? multiLabel) all.push({ at, place, score });
      else if (score > (best.get(at)?.score ?? Number.NEGATIVE_INFINITY)) best.set(at, { at, place, score });
    }
  }
  const found = [...all, ...best.values()].sort((a, b) => b.score - a.score);
  return { kept: found.slice(0, maxCandidates), cut: Math.max(0, found.length - maxCandidates), highest };
}

/** A pipeline may have left boxes out before. */
function stepWarnings({ found }: DetectionOutputs, outputs: readonly NamedTensor[], boxes: number): string[] {
  const told = outputs.find(({ name }) => name === found);
  const count = Number((told && numbersOf(told)?.[0]) ?? 0);
  return count > boxes ? [`the pipeline cut ${count} boxes to ${boxes}; its steps may allow more`] : [];
}

function boxWarnings(candidates: readonly Candidate[], sound: number): string[] {
  const all = candidates.length;
  const look = 'see "format", "normalised" and "head" of outputs.detection';
  if (sound < all) return [`${all - sound} of ${all} boxes above the score threshold have no area; ${look}`];
  const isTiny = ({ box }: Candidate): boolean => box.right - box.left < 1 && box.bottom - box.top < 1;
  if (all === 0 || !candidates.every(isTiny)) return [];
  return [`all ${all} boxes are smaller than a pixel of the model's input; ${look}`];
}

function logitsWarning(highest: number): string {
  const most = highest.toPrecision(3);
  return `scores go up to ${most}, so they are no probabilities; see "activation" of outputs, and "head" of outputs.detection`;
}

/** Keeps, from the highest score down, each box that overlaps no kept one of its class by more than the threshold. */
export function suppress<C extends Candidate>(
  candidates: readonly C[],
  { iouThreshold, maxDetections }: Pick<DetectionOutputs, 'iouThreshold' | 'maxDetections'>,
): { kept: C[] /** There were more. */; isCut: boolean } {
  const kept: C[] = [];
  for (const candidate of candidates.toSorted((a, b) => b.score - a.score)) {
    const hidden = kept.some(
      ({ place, box }) => place === candidate.place && overlap(box, candidate.box) > iouThreshold,
    );
    if (hidden) continue;
    if (kept.length === maxDetections) return { kept, isCut: true };
    kept.push(candidate);
  }
  return { kept, isCut: false };
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
