// Gates on a rate that must not rise: failed requests and wrong predictions, beside the old version and below a bound.
import type { GateNumbers } from '@edgeloop/shared/api/gates';
import { compareRates, type RateComparison } from './comparison.ts';
import { type Counts, type DeviceCounts, missesOf, shareOf, sumOf } from './counts.ts';
import { type Baseline, baselineOf, type FieldEvidence, type Scope } from './evidence.ts';
import { besideOf, type GateOutcome, percent, points, whereOf } from './outcome.ts';
import { evidenceAbove, rateInterval } from './sequential.ts';

export interface ErrorSettings {
  maxErrorRate: number;
  maxErrorRise: number;
  minRequests: number;
}

type Field = Pick<FieldEvidence, 'lastPeriod' | 'restRuns' | 'sameDevices'>;

export interface RequestCounts {
  requests: number;
  failed: number;
}

/** Failed requests against the bound. Devices are no clusters here: the bound is on these devices, whatever others do. */
export function errorRate(
  { requests, failed }: RequestCounts,
  { maxErrorRate: bound, minRequests: minimum }: Pick<ErrorSettings, 'maxErrorRate' | 'minRequests'>,
  { over, alpha }: { over: Scope['over']; alpha: number },
): GateOutcome {
  const bounded = boundedRate({ hits: failed, trials: requests }, { over, bound, minimum, alpha });
  const rate = percent(failed / Math.max(1, requests));
  const seen = `${failed} of ${requests} requests failed (${rate}), allowed are ${percent(bound)}`;
  return worded(bounded, { seen, few: `${requests} requests seen, ${minimum} needed`, trials: requests });
}

/** Failed requests beside the old version's. */
export function errorRise(scope: Scope, field: Field, settings: ErrorSettings, alpha: number): GateOutcome {
  const { minRequests: minimum, maxErrorRise: margin } = settings;
  const failed = (counts: DeviceCounts) => counts;
  return rise(
    {
      scope,
      fresh: scope.fresh.requests,
      baseline: baselineFor('requests', { scope, field, minimum, counts: failed }),
    },
    {
      minimum,
      margin,
      alpha,
      what: 'requests',
      says: ({ value, baseline }) => `${share(value)} of requests failed, ${share(baseline)}`,
    },
  );
}

export interface AccuracySettings {
  maxLoss: number;
  minLabels: number;
}

/** Right predictions beside the old version's. The effect is a loss: positive is worse. */
export function accuracyLoss(scope: Scope, field: Field, settings: AccuracySettings, alpha: number): GateOutcome {
  const { minLabels: minimum, maxLoss: margin } = settings;
  const outcome = rise(
    {
      scope,
      fresh: missesOf(scope.fresh.labels),
      baseline: baselineFor('labels', { scope, field, minimum, counts: missesOf }),
    },
    {
      minimum,
      margin,
      alpha,
      what: 'labels',
      says: ({ value, baseline }) => `accuracy ${right(value)}, ${right(baseline)}`,
    },
  );
  const turned = (wrong: number | null) => (wrong === null ? null : 1 - wrong);
  const { value, baseline } = outcome.numbers;
  return { ...outcome, numbers: { ...outcome.numbers, value: turned(value), baseline: turned(baseline) } };
}

/** Right predictions against the bound. */
export function accuracyBound(
  scope: Scope,
  { min, minLabels }: { min: number; minLabels: number },
  alpha: number,
): GateOutcome {
  const { hits, trials } = sumOf(scope.fresh.labels);
  const bounded = boundedRate(
    { hits: trials - hits, trials },
    { over: scope.over, bound: 1 - min, minimum: minLabels, alpha },
  );
  const seen = `${hits} of ${trials} labelled predictions ${whereOf(scope.over)} are right (${percent(hits / Math.max(1, trials))}), at least ${percent(min)} must be`;
  return worded(bounded, { seen, few: `${trials} labels seen, ${minLabels} needed`, trials });
}

type Bounded = Pick<GateOutcome, 'verdict' | 'numbers'>;

function boundedRate(
  counts: Counts,
  { over, bound, minimum, alpha }: { over: Scope['over']; bound: number; minimum: number; alpha: number },
): Bounded {
  const { low, high } = rateInterval(counts, alpha);
  const value = shareOf(counts);
  const numbers: GateNumbers = {
    ...{ over, comparedWith: 'bound', value, baseline: null, effect: value, low, high, bound, alpha, minimum },
    ...{ evidence: counts.trials, devices: null, baselineEvidence: 0, baselineDevices: 0 },
    ...{ correlation: null, detectable: null },
  };
  if (counts.trials < minimum) return { verdict: 'inconclusive', numbers };
  if (evidenceAbove(counts, bound) >= -Math.log(alpha)) return { verdict: 'fail', numbers };
  return { verdict: counts.hits <= bound * counts.trials ? 'pass' : 'inconclusive', numbers };
}

function worded(
  { verdict, numbers }: Bounded,
  { seen, few, trials }: { seen: string; few: string; trials: number },
): GateOutcome {
  if (verdict !== 'inconclusive') return { verdict, detail: seen, numbers };
  return {
    verdict,
    detail: trials < numbers.minimum ? few : `${seen}; too few to tell whether that is chance`,
    numbers,
  };
}

function baselineFor(
  what: 'requests' | 'labels',
  {
    scope,
    field,
    minimum,
    counts,
  }: { scope: Scope; field: Field; minimum: number; counts: (of: DeviceCounts) => DeviceCounts },
): Baseline<DeviceCounts> {
  return baselineOf(
    { ...field, rest: counts(scope.rest[what]), lastPeriod: counts(field.lastPeriod[what]) },
    { minimum, count: (of) => sumOf(of).trials },
  );
}

interface RiseSettings {
  minimum: number;
  margin: number;
  alpha: number;
  what: string;
  says: (compared: RateComparison) => string;
}

function rise(
  { scope, fresh, baseline }: { scope: Scope; fresh: DeviceCounts; baseline: Baseline<DeviceCounts> },
  settings: RiseSettings,
): GateOutcome {
  const { minimum, margin, alpha, what, says } = settings;
  const compared = compareRates({ fresh, former: baseline.of }, { margin, alpha });
  const evidence = sumOf(fresh).trials;
  const baselineEvidence = sumOf(baseline.of).trials;
  const { value, effect, interval, correlation, detectable } = compared;
  const numbers: GateNumbers = {
    ...{ over: scope.over, comparedWith: baseline.kind === 'none' ? 'nothing' : baseline.kind },
    ...{
      value,
      baseline: compared.baseline,
      effect,
      ...interval,
      bound: margin,
      alpha,
      minimum,
      correlation,
      detectable,
    },
    ...{ evidence, devices: answering(fresh), baselineEvidence, baselineDevices: answering(baseline.of) },
  };
  if (baseline.kind === 'none') {
    const detail = `${baseline.why}: there is nothing to compare with, so only absolute bounds hold`;
    return { verdict: 'inconclusive', blocking: false, detail, numbers };
  }
  const beside = besideOf(baseline);
  if (evidence < minimum || effect === null) {
    if (minimum === 0 && evidence === 0) return { verdict: 'pass', detail: `no ${what} seen, none asked for`, numbers };
    if (compared.exceeded) return { verdict: 'fail', detail: sentence(), numbers };
    return {
      verdict: 'inconclusive',
      detail: `${evidence} ${what} seen ${whereOf(scope.over)}, ${minimum} needed`,
      numbers,
    };
  }
  if (compared.exceeded) return { verdict: 'fail', detail: sentence(), numbers };
  if (baselineEvidence < minimum) {
    const detail = `${baselineEvidence} ${what} of the old version seen ${beside}, ${minimum} needed`;
    return { verdict: 'inconclusive', detail, numbers };
  }
  if (effect <= margin) return { verdict: 'pass', detail: `${sentence()}${couldSee(detectable)}`, numbers };
  return { verdict: 'inconclusive', detail: `${sentence()}; too few to tell whether that is chance`, numbers };

  function sentence(): string {
    const change = `${points(Math.abs(effect ?? 0))} ${(effect ?? 0) > 0 ? 'worse' : 'better'} (${points(interval.low)} to ${points(interval.high)})`;
    return `${says(compared)} ${beside}: ${change} after ${evidence} ${what} ${whereOf(scope.over)} and ${baselineEvidence} there, allowed are ${points(margin)}`;
  }
}

function couldSee(detectable: number | null): string {
  return detectable === null
    ? '; this little evidence would not have shown any fault'
    : `; ${points(detectable)} or more would have been seen`;
}

function answering(devices: DeviceCounts): number {
  return devices.filter(({ trials }) => trials > 0).length;
}

function share(rate: number | null): string {
  return rate === null ? 'none' : percent(rate);
}

function right(wrong: number | null): string {
  return wrong === null ? 'unknown' : percent(1 - wrong);
}
