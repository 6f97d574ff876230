// How far the mean score of a window lies from that of the reference without any drift, from the contiguous blocks of the
// reference (`blocks` of a profile): batch means of several lengths, brought to the length of the window.
import type { Blocks } from '@edgeloop/shared/profile';
import { chiSquareBound } from './chi-square.ts';

/** Rows count as independent unless blocks of some length differ from that at this level. */
const independence = 0.01;

/** Of the difference of two mean scores, divided by the deviation of one row. */
export interface Movement {
  variance: number;
  /** Of Student's distribution: fewer the fewer blocks tell the variance, and the heavier their tails are. */
  degrees: number;
}

/** For a window of so many samples. */
export type MovementOfScore = (samples: number) => Movement;

/** Mean scores over so many rows: their variance, how many degrees of freedom tell it, and their excess kurtosis. */
interface Level {
  size: number;
  variance: number;
  degrees: number;
  excess: number;
}
type Moments = Omit<Level, 'size'>;

/** One row, by the definition of a score. */
const row: Level = { size: 1, variance: 1, degrees: Number.POSITIVE_INFINITY, excess: 0 };

/** Of the score at this place; without blocks rows count as independent. */
export function movementOfScore(blocks: Blocks | undefined, at: number, referenceSize: number): MovementOfScore {
  const levels = levelsOf(blocks ?? [], at);
  // The reference is itself one long window.
  const reference = momentsAt(levels, Math.max(1, referenceSize));
  return (samples) => together(momentsAt(levels, samples), reference);
}

/** Few long blocks tell little of their tails: a mean of independent parts has the excess of these times its variance over theirs. */
function levelsOf(blocks: Blocks, at: number): Level[] {
  const seen = blocks.map(({ size, count, effects, excess }) => ({
    ...{ size, count, effect: effects[at] ?? 1, excess: heavier(excess?.[at] ?? 0, count) },
  }));
  const level = independence / Math.max(1, seen.length);
  if (!seen.some(({ count, effect }) => (count - 1) * effect > boundOf(level, count - 1))) return [];
  const known: Level[] = [];
  for (const { size, count, effect, excess: own } of seen) {
    const variance = Math.max(1, effect) / size;
    const excess = Math.max(own, ...known.map((shorter) => (shorter.excess * variance) / shorter.variance));
    // The variance of a variance: 2 / degrees of normal means, and what heavy tails add.
    known.push({ size, variance, excess, degrees: 2 / (2 / (count - 1) + excess / count) });
  }
  return known[0]?.size === 1 ? known : [row, ...known];
}

/**
 * How many rows come as one, at most: what lies further out than all of the reference comes in bursts, whose length no mean over
 * whole seasons tells. The largest effect of any score over blocks as short as the window.
 */
export function burstOf(blocks: Blocks | undefined, samples: number): number {
  const scores = blocks?.[0]?.effects.length ?? 0;
  const effects = Array.from({ length: scores }, (_, at) => {
    const levels = levelsOf(blocks ?? [], at);
    const shorter = levels.filter(({ size }) => size <= samples).map(({ size, variance }) => size * variance);
    return Math.max(samples * momentsAt(levels, samples).variance, ...shorter);
  });
  return Math.max(1, ...effects);
}

/** Beyond what so many normal variables show by chance (one standard error, 24 / count). */
function heavier(excess: number, count: number): number {
  return Math.max(0, excess - Math.sqrt(24 / count));
}

/** Between two lengths along a power of the length, as the variance of a mean goes; beyond the longest along the last such power. */
function momentsAt(levels: readonly Level[], samples: number): Moments {
  if (levels.length === 0) return { variance: 1 / samples, degrees: Number.POSITIVE_INFINITY, excess: 0 };
  const above = levels.findIndex(({ size }) => size >= samples);
  const [long, short] = above < 0 ? [levels.at(-1), levels.at(-2)] : [levels[above], levels[above - 1]];
  if (long === undefined || short === undefined) return long ?? row;
  if (above < 0) return beyond(short, long, samples);
  const part = Math.log(samples / short.size) / Math.log(long.size / short.size);
  return {
    variance: short.variance ** (1 - part) * long.variance ** part,
    degrees: 1 / ((1 - part) ** 2 / short.degrees + part ** 2 / long.degrees),
    excess: (1 - part) * short.excess + part * long.excess,
  };
}

/**
 * A slow movement is not averaged away: the variance falls no faster than it did up to here, with one standard error of that
 * power against it, and at most as that of independent means (power -1; of means with long memory it is above, Beran, "Statistics
 * for Long-Memory Processes", 1994).
 */
function beyond(short: Level, long: Level, samples: number): Moments {
  const step = Math.log(long.size / short.size);
  const power = Math.max(-1, Math.log(long.variance / short.variance) / step);
  const error = Math.sqrt(2 / short.degrees + 2 / long.degrees) / step;
  return { ...long, variance: long.variance * (samples / long.size) ** Math.min(0, power + error) };
}

/**
 * Window and reference together: degrees by Welch and Satterthwaite; Student's distribution of 4 + 6 / k degrees has the excess
 * kurtosis k, and its variance is degrees / (degrees - 2).
 */
function together(window: Moments, reference: Moments): Movement {
  const variance = window.variance + reference.variance;
  const share = window.variance / variance;
  const known = 1 / (share ** 2 / window.degrees + (1 - share) ** 2 / reference.degrees);
  const tails = 4 + 6 / (window.excess * share ** 2);
  return { variance: variance * (1 - 2 / tails), degrees: 1 / (1 / known + 1 / tails) };
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
