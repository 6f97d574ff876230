// How much a signal moves without any drift, from the blocks of its reference (`blockPsi` of the profile), brought to
// the size of the judged window.
import type { CategoryProfile, NumericProfile } from '@edgeloop/shared/profile';
import { total } from './bins.ts';
import { chiSquareBound, chiSquareTail } from './chi-square.ts';

/** Movement beyond what drawing `blockSize` independent rows explains: mean and variance of that part of the PSI. */
export interface BlockMovement {
  mean: number;
  variance: number;
  blockSize: number;
  referenceSize: number;
}

interface Seen {
  samples: number;
  degrees: number;
}

/**
 * Splits the PSI of the reference's blocks into the part that chance explains, which depends on the sample size, and
 * the rest, which is the signal's own movement. A block is drawn from the reference itself, so chance has mean
 * k (1/b - 1/N) and variance 2 k (1/b - 1/N)^2 there, with k + 1 bins in use. For the same reason a block differs less
 * from the whole than a window that was no part of it: (m + 1) / (m - 1) times less with m blocks.
 */
export function movementOf(
  profile: Pick<NumericProfile | CategoryProfile, 'counts' | 'blockPsi'>,
): BlockMovement | undefined {
  if (profile.blockPsi === undefined) return undefined;
  const { mean, deviation, blockSize } = profile.blockPsi;
  const counts = Object.values(profile.counts);
  const referenceSize = total(counts);
  const degrees = Math.max(0, counts.filter((count) => count > 0).length - 1);
  const chance = Math.max(0, 1 / blockSize - 1 / Math.max(1, referenceSize));
  const blocks = Math.max(2, referenceSize / blockSize);
  const outside = (blocks + 1) / (blocks - 1);
  return {
    mean: Math.max(0, mean - degrees * chance) * outside,
    variance: Math.max(0, deviation ** 2 - 2 * degrees * chance ** 2) * outside ** 2,
    blockSize,
    referenceSize,
  };
}

/**
 * PSI that a window without drift has, in its mean plus so many standard deviations; with `level`, at least the value
 * that it exceeds with this probability.
 */
export function blockBound(
  movement: BlockMovement,
  at: Seen & { deviations: number; level?: number | undefined },
): number {
  const { mean, variance } = momentsAt(movement, at);
  const bound = mean + at.deviations * Math.sqrt(variance);
  if (at.level === undefined || mean === 0 || variance === 0) return bound;
  const { degrees, unit } = matchedChiSquare(mean, variance);
  return Math.max(bound, unit * chiSquareBound(at.level, degrees));
}

/** Probability of a PSI this large in a window without drift. */
export function blockTail(movement: BlockMovement, at: Seen & { psi: number }): number {
  const { mean, variance } = momentsAt(movement, at);
  if (mean === 0 || variance === 0) return at.psi > mean ? 0 : 1;
  const { degrees, unit } = matchedChiSquare(mean, variance);
  return chiSquareTail(at.psi / unit, degrees);
}

/**
 * Chance at the window's own size plus the signal's movement. A longer window averages more of the movement out, by how
 * much depends on the signal, so nothing is taken off for it; a shorter one sees less variety, at worst in proportion.
 */
function momentsAt(movement: BlockMovement, { samples, degrees }: Seen): { mean: number; variance: number } {
  const chance = 1 / samples + 1 / Math.max(1, movement.referenceSize);
  const shorter = Math.max(1, movement.blockSize / samples);
  return {
    mean: movement.mean * shorter + degrees * chance,
    variance: movement.variance * shorter ** 2 + 2 * degrees * chance ** 2,
  };
}

/**
 * A multiple of a chi-square variable with the same mean and variance (Satterthwaite, "An approximate distribution of
 * estimates of variance components", 1946): sums of squares have such long right tails, a normal one would be too short.
 */
function matchedChiSquare(mean: number, variance: number): { degrees: number; unit: number } {
  return { degrees: (2 * mean ** 2) / variance, unit: variance / (2 * mean) };
}
