// One false discovery rate over all that is looked at together, where some of it weighs more.

/**
 * The level below which p-values divided by their weights are rejected so that the false discovery rate is `rate`
 * (Benjamini and Hochberg, "Controlling the false discovery rate", 1995; weights with mean 1 by Genovese, Roeder and Wasserman,
 * "False discovery control with p-value weighting", 2006): rate k / m for the largest k with k of them at or below that; rate / m
 * when there is none.
 */
export function discoveryLevel(pValues: readonly number[], rate: number): number {
  const sorted = [...pValues].sort((a, b) => a - b);
  let rejected = 0;
  for (const [i, p] of sorted.entries()) if (p <= (rate * (i + 1)) / sorted.length) rejected = i + 1;
  return (rate * Math.max(1, rejected)) / Math.max(1, sorted.length);
}

/**
 * The levels of two groups under one rate, each of which gets half of the weight however many it has: signals of the fleet are
 * few, those of single devices many, and neither shall drown the other.
 */
export function discoveryLevels(
  groups: readonly [readonly number[], readonly number[]],
  rate: number,
): [number, number] {
  const [first, second] = groups;
  if (first.length === 0 || second.length === 0) {
    const level = discoveryLevel([...first, ...second], rate);
    return [level, level];
  }
  const all = first.length + second.length;
  const [a, b] = [all / (2 * first.length), all / (2 * second.length)];
  const level = discoveryLevel([...first.map((p) => p / a), ...second.map((p) => p / b)], rate);
  return [level * a, level * b];
}
