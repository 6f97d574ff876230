// Requests of one device resemble each other: a site has its own light, a sensor its own fault, a caller its own habits.
// A thousand requests of one device say less about a version than one request of each of a thousand devices. Counts are
// therefore divided by their design effect, the factor by which clusters blow up the variance of a rate (Rao and Scott, "A
// simple method for the analysis of clustered binary data", Biometrics 48, 1992). The correlation within a device comes
// from the analysis of variance over devices (Fleiss, "Statistical Methods for Rates and Proportions", 1981, chapter 13),
// drawn towards an expectation as long as few devices tell.
import type { Counts, DeviceCounts } from './counts.ts';
import { sumOf } from './counts.ts';

/** Correlation within a device that is expected before any is seen, and how many devices that is worth. */
const expected = { correlation: 0.05, devices: 6 };

/** The correlation of trials of one device, over groups that may have rates of their own. */
export function correlationWithin(groups: readonly DeviceCounts[]): number {
  let weighted = expected.correlation * expected.devices;
  let weight = expected.devices;
  for (const group of groups) {
    const seen = observed(group);
    if (seen === undefined) continue;
    weighted += Math.min(1, Math.max(0, seen.correlation)) * seen.freedom;
    weight += seen.freedom;
  }
  return weighted / weight;
}

function observed(group: DeviceCounts): { correlation: number; freedom: number } | undefined {
  const devices = group.filter(({ trials }) => trials > 0);
  const { hits, trials: total } = sumOf(devices);
  const freedom = devices.length - 1;
  // All alike says nothing of how devices differ where hits occur.
  if (freedom < 1 || hits === 0 || hits === total || total - devices.length < 1) return undefined;
  const rate = hits / total;
  let between = 0;
  let within = 0;
  let squares = 0;
  for (const device of devices) {
    const own = device.hits / device.trials;
    between += device.trials * (own - rate) ** 2;
    within += device.trials * own * (1 - own);
    squares += device.trials ** 2;
  }
  between /= freedom;
  within /= total - devices.length;
  const size = (total - squares / total) / freedom;
  const spread = between + (size - 1) * within;
  return spread <= 0 ? undefined : { correlation: (between - within) / spread, freedom };
}

/** The counts as what they are worth when trials of one device are correlated. */
export function effective(devices: DeviceCounts, correlation: number): Counts {
  const { hits, trials } = sumOf(devices);
  if (trials === 0) return { hits: 0, trials: 0 };
  let blown = 0;
  for (const { trials: own } of devices) blown += own * (1 + Math.max(0, own - 1) * correlation);
  const worth = trials / blown;
  return { hits: hits * worth, trials: trials * worth };
}
