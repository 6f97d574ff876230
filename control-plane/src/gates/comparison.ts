// Compares a rate of the new version with that of the old one, at any time, with devices as clusters.
import { correlationWithin, effective } from './clusters.ts';
import { type Counts, type DeviceCounts, shareOf, sumOf } from './counts.ts';
import { smallestRise } from './power.ts';
import { differenceInterval, exceedsBy, type Interval } from './sequential.ts';

export interface RateComparison {
  value: number | null;
  baseline: number | null;
  /** How far the new rate is above the old one; null while either has no trials. */
  effect: number | null;
  interval: Interval;
  /** Whether the effect is above the margin, beyond chance at every look together. */
  exceeded: boolean;
  correlation: number;
  /** Smallest effect that this much evidence shows four times of five. */
  detectable: number | null;
}

export function compareRates(
  { fresh, former }: { fresh: DeviceCounts; former: DeviceCounts },
  { margin, alpha }: { margin: number; alpha: number },
): RateComparison {
  const correlation = correlationWithin([fresh, former]);
  const worth = { fresh: effective(fresh, correlation), former: effective(former, correlation) };
  const value = shareOf(sumOf(fresh));
  const baseline = shareOf(sumOf(former));
  return {
    ...{ value, baseline, correlation },
    effect: value === null || baseline === null ? null : value - baseline,
    interval: differenceInterval(worth.fresh, worth.former, alpha),
    exceeded: exceedsBy(worth.fresh, worth.former, { margin, alpha }),
    detectable: detectable(worth, baseline, { margin, alpha }),
  };
}

function detectable(
  { fresh, former }: { fresh: Counts; former: Counts },
  base: number | null,
  settings: { margin: number; alpha: number },
): number | null {
  if (base === null) return null;
  return smallestRise({ fresh: fresh.trials, former: former.trials }, { ...settings, base });
}
