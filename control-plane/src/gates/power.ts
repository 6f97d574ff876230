// What a comparison of rates can see with so much evidence, and how much it needs.
import { exceedsBy } from './sequential.ts';

export interface Expected {
  /** Rate of the old version. */
  base: number;
  /** Rise that is allowed. */
  margin: number;
  alpha: number;
}

/** Standard deviations that a rate stays above with probability 0.8. */
const fourOfFive = 0.8416;
const precision = 0.001;
const mostTrials = 1e8;

/**
 * The smallest rise of a rate that is called out with probability 0.8 once so many independent trials were seen; null when
 * not even the largest is. The rate seen is taken to be as low as four of five are above.
 */
export function smallestRise(trials: { fresh: number; former: number }, expected: Expected): number | null {
  const largest = 1 - expected.base;
  if (!isSeen(largest, trials, expected)) return null;
  let unseen = expected.margin;
  let seen = largest;
  while (seen - unseen > precision) {
    const middle = (seen + unseen) / 2;
    if (isSeen(middle, trials, expected)) seen = middle;
    else unseen = middle;
  }
  return seen;
}

/** Trials of the new version from which on a rise is seen, the old one having `formerPerFresh` times as many; null: never. */
export function trialsToSee(rise: number, formerPerFresh: number, expected: Expected): number | null {
  const seen = (fresh: number) => isSeen(rise, { fresh, former: fresh * formerPerFresh }, expected);
  let high = 1;
  while (!seen(high)) {
    high *= 2;
    if (high > mostTrials) return null;
  }
  let low = high / 2;
  while (high - low > Math.max(1, high * 0.01)) {
    const middle = (low + high) / 2;
    if (seen(middle)) high = middle;
    else low = middle;
  }
  return Math.ceil(high);
}

function isSeen(rise: number, { fresh, former }: { fresh: number; former: number }, expected: Expected): boolean {
  if (fresh <= 0 || former <= 0) return false;
  const rate = Math.min(1, expected.base + rise);
  const deviation = Math.sqrt((rate * (1 - rate)) / fresh + (expected.base * (1 - expected.base)) / former);
  const unlucky = Math.max(0, rate - fourOfFive * deviation);
  return exceedsBy(
    { hits: unlucky * fresh, trials: fresh },
    { hits: expected.base * former, trials: former },
    expected,
  );
}
