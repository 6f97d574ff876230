// What people set, false alarms a month, and what a single judgement is allowed.
import type { DriftSettings } from './drift.ts';

const monthSeconds = 30 * 86_400;
/**
 * An alert needs a second suspicious window within the two after the first. Windows of one signal are alike, so the second one counts
 * as the toss of a coin, not as another rare event.
 */
const repeated = 0.5;
/** However short of windows a month is, more than this of them is no judgement. */
const most = 0.05;

export interface Budget {
  windowSeconds: number;
  falseDiscoveryRate: number;
  /** Decides instead of the rate when it is set. */
  falseAlarmsPerMonth?: number | undefined;
}

/** The share of windows without drift that may seem suspicious. */
export function falseShareOf({ windowSeconds, falseDiscoveryRate, falseAlarmsPerMonth }: Budget): number {
  if (falseAlarmsPerMonth === undefined) return falseDiscoveryRate;
  return Math.min(most, (falseAlarmsPerMonth * windowSeconds) / (monthSeconds * repeated));
}

/** What a rule costs, also one that was made by its rate. */
export function falseAlarmsPerMonthOf(budget: Budget): number {
  return (falseShareOf(budget) * monthSeconds * repeated) / budget.windowSeconds;
}

export function settingsOf(spec: Budget & Pick<DriftSettings, 'minSamples' | 'minPsi'>): DriftSettings {
  return { minSamples: spec.minSamples, minPsi: spec.minPsi, falseDiscoveryRate: falseShareOf(spec) };
}
