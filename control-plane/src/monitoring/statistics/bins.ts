// Bins too thin to compare are put together, so that the chi-square approximation of the drift decision holds.

/** Counts of the same bins in the reference and in the judged window. */
export interface PairedCounts {
  reference: number[];
  window: number[];
}

/** Counts that either side must be expected to have in a bin (Cochran's rule of thumb, "Some methods for strengthening the common chi-square tests", 1954). */
const leastExpected = 5;

/**
 * Neighbouring bins merged until each side expects at least 5 counts in each, and each holds at least one of
 * `most` parts of one side. What is expected comes from both sides
 * together: given those sums, the merging tells nothing about a difference between the sides, so the level of the test
 * stays, and a bin that was empty in the reference and is full now stays a bin of its own.
 */
export function mergeNeighbours(pair: PairedCounts, most = Number.POSITIVE_INFINITY): PairedCounts {
  const needed = neededTogether(pair);
  const part = { reference: total(pair.reference) / most, window: total(pair.window) / most };
  const merged: PairedCounts = { reference: [], window: [] };
  let reference = 0;
  let window = 0;
  for (const [i, count] of pair.reference.entries()) {
    reference += count;
    window += pair.window[i] ?? 0;
    if (reference + window < needed || (reference < part.reference && window < part.window)) continue;
    merged.reference.push(reference);
    merged.window.push(window);
    reference = 0;
    window = 0;
  }
  addToLast(merged, reference, window);
  return merged;
}

/** Counts by category; those too rare make one bin together. */
export function mergeRareCategories(
  reference: Readonly<Record<string, number>>,
  window: Readonly<Record<string, number>>,
  most?: number,
): PairedCounts {
  const names = [...new Set([...Object.keys(reference), ...Object.keys(window)])];
  const pairs = names.map((name) => ({ reference: reference[name] ?? 0, window: window[name] ?? 0 }));
  // Rare ones last: merging neighbours then puts the rare together and leaves the common alone.
  pairs.sort((a, b) => b.reference + b.window - (a.reference + a.window));
  return mergeNeighbours(
    { reference: pairs.map((pair) => pair.reference), window: pairs.map((pair) => pair.window) },
    most,
  );
}

export function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function neededTogether(pair: PairedCounts): number {
  const reference = total(pair.reference);
  const window = total(pair.window);
  const smaller = Math.min(reference, window);
  return smaller === 0 ? Number.POSITIVE_INFINITY : (leastExpected * (reference + window)) / smaller;
}

function addToLast(merged: PairedCounts, reference: number, window: number): void {
  const last = merged.reference.length - 1;
  if (last < 0) {
    merged.reference.push(reference);
    merged.window.push(window);
    return;
  }
  merged.reference[last] = (merged.reference[last] ?? 0) + reference;
  merged.window[last] = (merged.window[last] ?? 0) + window;
}
