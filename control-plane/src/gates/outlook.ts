// What gates will be able to see, and when, at the traffic that there is: told before a rollout starts.
import type { QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { bucketRatio, shiftedDown } from '@edgeloop/shared/sketches/ddsketch';
import { type Expected, smallestRise } from './power.ts';
import { quantileRatio } from './quantiles.ts';
import { evidenceAbove } from './sequential.ts';

/** Trials an hour, an entry a device. */
interface Pace {
  /** Of the devices that will have the new version. */
  fresh: readonly number[];
  /** Of the others; or a number: what the last period is worth, which does not grow. */
  former: readonly number[] | number;
}

/** What a comparison of rates is expected to work with. `correlation`: of trials of one device. */
export interface RateOutlook extends Expected {
  pace: Pace;
  correlation: number;
}

/** Nothing is told of what takes longer. */
export const longestHours = 24 * 365;
const shortestHours = 1 / 3600;

/** Trials that there will be, as many as they are worth (`effective`). */
export function worthAfter(hours: number, pace: readonly number[], correlation: number): number {
  let trials = 0;
  let blown = 0;
  for (const perHour of pace) {
    const own = perHour * hours;
    trials += own;
    blown += own * (1 + Math.max(0, own - 1) * correlation);
  }
  return trials === 0 ? 0 : trials ** 2 / blown;
}

/** The smallest rise that is seen four times of five after so many hours; null: none. */
export function riseSeenAfter(hours: number, { pace, correlation, ...expected }: RateOutlook): number | null {
  const trials = {
    fresh: worthAfter(hours, pace.fresh, correlation),
    former: typeof pace.former === 'number' ? pace.former : worthAfter(hours, pace.former, correlation),
  };
  return smallestRise(trials, expected);
}

/** Hours until a change is as small as can be seen; null: not within a year. */
export function hoursToSeeBy(change: number, seenAfter: (hours: number) => number | null): number | null {
  return hoursUntil((hours) => {
    const seen = seenAfter(hours);
    return seen !== null && seen <= change;
  });
}

/** Hours until a rise is seen four times of five; null: not within a year, since devices are too few or too quiet. */
export function hoursToSee(rise: number, outlook: RateOutlook): number | null {
  return hoursToSeeBy(rise, (hours) => riseSeenAfter(hours, outlook));
}

/** Hours until so many trials have come in, all devices together; null: not within a year. */
export function hoursToCount(minimum: number, pace: readonly number[]): number | null {
  const perHour = pace.reduce((sum, each) => sum + each, 0);
  const hours = minimum === 0 ? 0 : minimum / perHour;
  return hours <= longestHours ? hours : null;
}

/** The hour, to a hundredth of it, from which on something holds. Halved by size: what matters lies between seconds and months. */
function hoursUntil(holds: (hours: number) => boolean): number | null {
  if (!holds(longestHours)) return null;
  let low = shortestHours;
  let high = longestHours;
  if (holds(low)) return low;
  while (high / low > 1.01) {
    const middle = Math.sqrt(low * high);
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** The smallest rate above a bound that is seen as often as not after so many trials; null: none. */
export function rateSeenAbove(trials: number, { bound, alpha }: { bound: number; alpha: number }): number | null {
  const isSeen = (rate: number) => evidenceAbove({ hits: rate * trials, trials }, bound) >= -Math.log(alpha);
  if (trials <= 0 || !isSeen(1)) return null;
  let unseen = bound;
  let seen = 1;
  while (seen - unseen > 0.0005) {
    const middle = (seen + unseen) / 2;
    if (isSeen(middle)) seen = middle;
    else unseen = middle;
  }
  return seen;
}

/**
 * The smallest factor by which all requests may become slower and be seen as often as not, when latencies spread as in
 * `sketch` and so many trials (as many as they are worth) were seen; null: none up to a hundred.
 */
export function slowdownSeen(
  sketch: QuantileSketch,
  trials: { fresh: number; former: number },
  { quantile, maxRatio, alpha }: { quantile: number; maxRatio: number; alpha: number },
): number | null {
  if (sketch.count === 0) return null;
  const worth = { first: trials.fresh / sketch.count, second: trials.former / sketch.count };
  const isSeen = (buckets: number) => {
    const compared = { first: shiftedDown(sketch, -buckets), second: sketch };
    return (quantileRatio(compared, { quantile, alpha, worth })?.low ?? 0) > maxRatio;
  };
  let unseen = 0;
  let seen = Math.ceil(Math.log(100) / Math.log(bucketRatio(1)));
  if (!isSeen(seen)) return null;
  while (seen - unseen > 1) {
    const middle = (seen + unseen) >> 1;
    if (isSeen(middle)) seen = middle;
    else unseen = middle;
  }
  return bucketRatio(seen);
}
