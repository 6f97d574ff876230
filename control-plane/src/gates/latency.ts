// The latency gate: how many times slower a quantile became, each device measured by itself before, since a fleet has quick
// machines and slow ones.
import type { GateNumbers, LatencyGate } from '@edgeloop/shared/api/gates';
import { quantile as quantileOf } from '@edgeloop/shared/sketches/ddsketch';
import { correlationWithin, effective } from './clusters.ts';
import { type DeviceCounts, sumOf } from './counts.ts';
import { type Arm, baselineOf, type FieldEvidence, type Scope } from './evidence.ts';
import { besideOf, type GateOutcome, percent, whereOf } from './outcome.ts';
import { quantileRatio } from './quantiles.ts';
import { evidenceAbove } from './sequential.ts';

type Settings = Pick<LatencyGate, 'quantile' | 'maxRatio' | 'minRiseMs'>;

export function latencyRise(
  scope: Scope,
  field: Pick<FieldEvidence, 'lastPeriod' | 'restRuns' | 'sameDevices'>,
  { minimum, alpha, ...settings }: Settings & { minimum: number; alpha: number },
): GateOutcome {
  const { fresh, over } = scope;
  const arms = { ...field, rest: scope.rest, lastPeriod: field.lastPeriod };
  const baseline = baselineOf(arms, { minimum, count: (arm: Arm) => arm.latencyRatio.count });
  const former = baseline.of;
  const correlation = correlationWithin([fresh.slow, former.slow]);
  const worth = { first: worthOf(fresh.slow, correlation), second: worthOf(former.slow, correlation) };
  const seen = quantileRatio(
    { first: fresh.latencyRatio, second: former.latencyRatio },
    { quantile: settings.quantile, alpha, worth },
  );
  const value = quantileOf(fresh.latencyMs, settings.quantile) ?? null;
  // What the old version would take on the devices of the new one.
  const before = value === null || seen === undefined ? null : value / seen.ratio;
  const evidence = fresh.latencyRatio.count;
  const numbers: GateNumbers = {
    ...{ over, comparedWith: baseline.kind === 'none' ? 'nothing' : baseline.kind, value, baseline: before },
    ...{ effect: seen?.ratio ?? null, low: finite(seen?.low), high: finite(seen?.high), bound: settings.maxRatio },
    ...{ alpha, minimum, evidence, devices: answering(fresh.slow), correlation, detectable: null },
    ...{ baselineEvidence: former.latencyRatio.count, baselineDevices: answering(former.slow) },
  };
  if (baseline.kind === 'none') {
    const detail = `${baseline.why}: there is nothing to compare with, so only absolute bounds hold`;
    return { verdict: 'inconclusive', blocking: false, detail, numbers };
  }
  if (seen === undefined || value === null || before === null) {
    if (minimum === 0) return { verdict: 'pass', detail: 'no requests answered, none asked for', numbers };
    return { verdict: 'inconclusive', detail: `${evidence} requests answered, ${minimum} needed`, numbers };
  }
  const name = `${Number((settings.quantile * 100).toFixed(1))} % of requests within`;
  const detail = `${name} ${ms(value)} ${whereOf(over)}, ${factor(seen.ratio)} (${factor(seen.low)} to ${factor(seen.high)}) of what they take ${besideOf(baseline)}, allowed are ${factor(settings.maxRatio)}`;
  const small = value - before < settings.minRiseMs;
  if (seen.low > settings.maxRatio && !small) return { verdict: 'fail', detail, numbers };
  if (evidence < minimum)
    return { verdict: 'inconclusive', detail: `${evidence} requests answered, ${minimum} needed`, numbers };
  if (former.latencyRatio.count < minimum) {
    const few = `${former.latencyRatio.count} requests answered by the old version ${besideOf(baseline)}, ${minimum} needed`;
    return { verdict: 'inconclusive', detail: few, numbers };
  }
  if (seen.ratio <= settings.maxRatio) return { verdict: 'pass', detail, numbers };
  if (small) return { verdict: 'pass', detail: `${detail}; less than ${ms(settings.minRiseMs)} more`, numbers };
  return { verdict: 'inconclusive', detail: `${detail}; too few to tell whether that is chance`, numbers };
}

/** Against a bound in milliseconds: at most 1 - quantile of the requests may take longer. */
export function latencyBound(
  { fresh, over }: Scope,
  { quantile, maxMs, minimum, alpha }: { quantile: number; maxMs: number; minimum: number; alpha: number },
): GateOutcome {
  const { latencyMs } = fresh;
  const within = countWithin(latencyMs, maxMs);
  const counts = { hits: latencyMs.count - within, trials: latencyMs.count };
  const value = quantileOf(latencyMs, quantile) ?? null;
  const numbers: GateNumbers = {
    ...{ over, comparedWith: 'bound', value, baseline: null, effect: null, low: null, high: null, bound: maxMs, alpha },
    ...{ evidence: counts.trials, devices: answering(fresh.slow), baselineEvidence: 0, baselineDevices: 0, minimum },
    ...{ correlation: null, detectable: null },
  };
  const allowed = 1 - quantile;
  const detail = `${counts.hits} of ${counts.trials} requests took longer than ${ms(maxMs)} ${whereOf(over)}, allowed are ${percent(allowed)}`;
  if (counts.trials < minimum)
    return { verdict: 'inconclusive', detail: `${counts.trials} requests answered, ${minimum} needed`, numbers };
  if (evidenceAbove(counts, allowed) >= -Math.log(alpha)) return { verdict: 'fail', detail, numbers };
  if (counts.hits <= allowed * counts.trials) return { verdict: 'pass', detail, numbers };
  return { verdict: 'inconclusive', detail: `${detail}; too few to tell whether that is chance`, numbers };
}

function countWithin(sketch: Arm['latencyMs'], bound: number): number {
  let low = 0;
  let high = 1;
  if ((quantileOf(sketch, 1) ?? 0) <= bound) return sketch.count;
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if ((quantileOf(sketch, middle) ?? 0) <= bound) low = middle;
    else high = middle;
  }
  return Math.round(low * sketch.count);
}

function worthOf(slow: DeviceCounts, correlation: number): number {
  const { trials } = sumOf(slow);
  return trials === 0 ? 0 : effective(slow, correlation).trials / trials;
}

function answering(devices: DeviceCounts): number {
  return devices.filter(({ trials }) => trials > 0).length;
}

function finite(value: number | undefined): number | null {
  return value !== undefined && Number.isFinite(value) ? value : null;
}

function ms(value: number): string {
  return `${Number(value.toPrecision(3))} ms`;
}

function factor(value: number): string {
  return `${Number(value.toFixed(2))} times`;
}
