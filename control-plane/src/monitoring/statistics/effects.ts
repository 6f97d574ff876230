// How far the mean score of a window lies from that of the reference without any drift, from the contiguous blocks of the
// reference (`blocks` of a profile).
import type { Blocks } from '@edgeloop/shared/profile';
import { chiSquareBound } from './chi-square.ts';

/** Blocks tell an effect only so well: it is taken as large as it is with this confidence … */
const confidence = 0.9;
/** … unless no length of blocks differs from independent rows at this level. */
const independence = 0.01;

/** Variance of the difference of mean scores, in units of the variance of one row, for a window of so many samples. */
export type MovementOfScore = (samples: number) => number;

interface Level {
  size: number;
  /** At least 1, at the upper end of what the blocks allow. */
  effect: number;
}

/** Of the score at this place; without blocks rows count as independent. */
export function movementOfScore(blocks: Blocks | undefined, at: number, referenceSize: number): MovementOfScore {
  const levels = levelsOf(blocks ?? [], at);
  // The reference is itself one long window.
  const reference = varianceOfMean(levels, Math.max(1, referenceSize));
  return (samples) => varianceOfMean(levels, samples) + reference;
}

function levelsOf(blocks: Blocks, at: number): Level[] {
  const seen = blocks.map(({ size, count, effects }) => ({ size, degrees: count - 1, effect: effects[at] ?? 1 }));
  const level = independence / Math.max(1, seen.length);
  if (!seen.some(({ degrees, effect }) => degrees * effect > boundOf(level, degrees))) return [];
  return seen.map(({ size, degrees, effect }) => ({
    size,
    effect: Math.max(1, (effect * degrees) / boundOf(confidence, degrees)),
  }));
}

/**
 * Two bounds hold, and the lower one counts: a mean over more rows than a block moves at most as much as that over the block; and the
 * effect grows with the length, so it is at most that of a longer block.
 */
function varianceOfMean(levels: readonly Level[], samples: number): number {
  if (levels.length === 0) return 1 / samples;
  return Math.min(...levels.map(({ size, effect }) => effect / Math.min(size, samples)));
}

/** The features of a model have blocks of the same numbers. */
const bounds = new Map<string, number>();
const keptBounds = 1000;

function boundOf(tail: number, degrees: number): number {
  const key = `${tail} ${degrees}`;
  const bound = bounds.get(key) ?? chiSquareBound(tail, degrees);
  if (bounds.size > keptBounds) bounds.clear();
  bounds.set(key, bound);
  return bound;
}
