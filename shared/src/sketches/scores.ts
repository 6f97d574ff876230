// Scores of the bins of a reference, by which a change is told apart: does a value lie higher, is it spread wider, has its shape
// changed, has a class become more frequent. A mean score is a sum over counts, so it can be had from any histogram, and how much
// it moves without drift from contiguous blocks of the reference.
import type { Blocks } from '../profile.ts';

/** One score for each bin, of mean 0 and variance 1 over the reference. Bins beyond its end do not count. */
export type Score = readonly number[];

/** Location, spread, and two of shape: what lies beyond is left to the comparison bin by bin. */
const polynomials = 4;
/** The most frequent classes have a score each. */
const scoredClasses = 8;
/** Blocks grow by this while so many are left. */
const growth = 4;
const fewestBlocks = 8;

/**
 * Orthonormal polynomials over the bins (the last one, missing, left out) placed by their middle rank, of degree 1 to 4 or as many
 * as there are values: the components of Neyman's smooth test (Rayner and Best, "Smooth tests of goodness of fit", 1989), of
 * which the statistic of Anderson and Darling is a weighted sum. One more score, the only one over all bins, is of what is
 * missing, where the reference misses some.
 */
export function numericScores(counts: readonly number[]): Score[] {
  return [...shapeScores(counts.slice(0, -1)), ...missingScore(counts)];
}

function missingScore(counts: readonly number[]): Score[] {
  const last = counts.length - 1;
  const share = (counts[last] ?? 0) / sumOf(counts);
  if (!(share > 0 && share < 1)) return [];
  const deviation = Math.sqrt(share * (1 - share));
  return [counts.map((_, bin) => ((bin === last ? 1 : 0) - share) / deviation)];
}

function shapeScores(bins: readonly number[]): Score[] {
  const all = sumOf(bins);
  if (all === 0) return [];
  const shares = bins.map((count) => count / all);
  const ranks = middleRanks(shares);
  const basis: number[][] = [shares.map(() => 1)];
  const most = Math.min(polynomials, shares.filter((share) => share > 0).length - 1);
  for (let degree = 1; degree <= most; degree++) {
    const next = orthonormal(
      ranks.map((rank) => (2 * rank - 1) ** degree),
      basis,
      shares,
    );
    if (next === undefined) break;
    basis.push(next);
  }
  return basis.slice(1);
}

function middleRanks(shares: readonly number[]): number[] {
  let below = 0;
  return shares.map((share) => {
    const rank = below + share / 2;
    below += share;
    return rank;
  });
}

/** What is left of `raw` beside the basis, brought to variance 1 (Gram and Schmidt, twice against rounding). */
function orthonormal(raw: number[], basis: readonly number[][], shares: readonly number[]): number[] | undefined {
  const inner = (a: readonly number[], b: readonly number[]) =>
    shares.reduce((sum, share, i) => sum + share * (a[i] ?? 0) * (b[i] ?? 0), 0);
  let rest = raw;
  for (const each of [...basis, ...basis]) {
    const part = inner(rest, each);
    rest = rest.map((value, i) => value - part * (each[i] ?? 0));
  }
  const length = Math.sqrt(inner(rest, rest));
  return length < 1e-9 ? undefined : rest.map((value) => value / length);
}

/** The names that `categoryScores` scores, the most frequent first. */
export function scoredNames(counts: Readonly<Record<string, number>>): string[] {
  const all = sumOf(Object.values(counts));
  return Object.entries(counts)
    .filter(([, count]) => count > 0 && count < all)
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .slice(0, scoredClasses)
    .map(([name]) => name);
}

/** For each of the most frequent names whether it is that one; a score for each entry of `names`. */
export function categoryScores(counts: Readonly<Record<string, number>>, names: readonly string[]): Score[] {
  const all = sumOf(Object.values(counts));
  return scoredNames(counts).map((scored) => {
    const share = (counts[scored] ?? 0) / all;
    const deviation = Math.sqrt(share * (1 - share));
    return names.map((name) => ((name === scored ? 1 : 0) - share) / deviation);
  });
}

/** Mean score of what was counted; bins beyond the scores (missing) do not count. */
export function meanScore(score: Score, counts: readonly number[]): { mean: number; count: number } {
  let sum = 0;
  let count = 0;
  for (const [i, value] of score.entries()) {
    sum += value * (counts[i] ?? 0);
    count += counts[i] ?? 0;
  }
  return { mean: count === 0 ? 0 : sum / count, count };
}

/**
 * How many times more the mean scores of contiguous blocks vary than those of as many independent rows, for blocks of growing
 * length; 1 means no autocorrelation. `pieces` are the counts of consecutive stretches; one array a stretch.
 */
export function blocksOf(scores: readonly Score[], pieces: readonly (readonly number[])[]): Blocks {
  const found: Blocks = [];
  let blocks = pieces;
  while (blocks.length >= fewestBlocks) {
    const size = Math.round(sumOf(blocks.map(sumOf)) / blocks.length);
    if (size < 1) break;
    const moments = scores.map((score) => momentsOf(score, blocks));
    found.push({
      ...{ size, count: blocks.length },
      effects: moments.map(({ effect }) => effect),
      excess: moments.map(({ excess }) => excess),
    });
    blocks = joined(blocks);
  }
  return found;
}

/** Rows of a stretch for `blocksOf`, so that some blocks have about `blockSize` rows: what repeats itself within them averages out. */
export function stretchRows(blockSize: number): number {
  return Math.max(1, Math.round(blockSize / growth ** 2));
}

function momentsOf(score: Score, blocks: readonly (readonly number[])[]): { effect: number; excess: number } {
  const means = blocks.map((block) => meanScore(score, block));
  const used = means.filter(({ count }) => count > 0);
  const all = used.reduce((sum, { count }) => sum + count, 0);
  const whole = used.reduce((sum, { mean, count }) => sum + mean * count, 0) / Math.max(1, all);
  const squares = used.map(({ mean, count }) => count * (mean - whole) ** 2);
  const effect = used.length < 2 ? 1 : sumOf(squares) / (used.length - 1);
  return { effect: Number(effect.toPrecision(4)), excess: Number(excessOf(squares).toPrecision(3)) };
}

/** Excess kurtosis of values with these squared distances from their mean (G2 of Joanes and Gill, The Statistician 47, 1998). */
function excessOf(squares: readonly number[]): number {
  const [m, sum] = [squares.length, sumOf(squares)];
  if (m < fewestBlocks || sum === 0) return 0;
  const fourth = sumOf(squares.map((each) => each ** 2));
  const plain = (m * fourth) / sum ** 2 - 3;
  return ((m - 1) / ((m - 2) * (m - 3))) * ((m + 1) * plain + 6);
}

/** An incomplete last one is left out. */
function joined(blocks: readonly (readonly number[])[]): number[][] {
  return Array.from({ length: Math.floor(blocks.length / growth) }, (_, i) => {
    const sum = new Array<number>(blocks[0]?.length ?? 0).fill(0);
    for (const block of blocks.slice(i * growth, (i + 1) * growth))
      for (const [bin, count] of block.entries()) sum[bin] = (sum[bin] ?? 0) + count;
    return sum;
  });
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
