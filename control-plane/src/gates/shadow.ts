// The gate of shadow waves: whether the version says the same as the one that answers, on the same inputs. Devices are clusters
// here: what few devices' inputs show is to hold for the fleet.
import type { GateNumbers } from '@edgeloop/shared/api/gates';
import type { GateVerdict, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { type QuantileSketch, quantile } from '@edgeloop/shared/sketches/ddsketch';
import { correlationWithin, effective } from './clusters.ts';
import { shareOf, sumOf } from './counts.ts';
import type { FieldEvidence, Scope, ShadowArm } from './evidence.ts';
import { alphaOf, judgeEach } from './judge.ts';
import { type GateOutcome, percent, verdictFrom } from './outcome.ts';
import { rateSeenAbove } from './outlook.ts';
import { evidenceAbove, rateInterval } from './sequential.ts';

/** On the wave alone: nobody else runs it so. `waves`: how many the plan has. */
export function judgeShadow(
  gates: RolloutGates,
  { wave, variants }: Pick<FieldEvidence, 'wave' | 'variants'>,
  waves: number,
): GateVerdict {
  const judge = ({ fresh }: Scope, { shadow, ...shared }: RolloutGates) => {
    const alpha = alphaOf({ shadow, ...shared }, waves).wave;
    return verdictFrom('shadow_agreement', shadowAgreement(fresh.shadow, { ...shadow, alpha }), shadow.mode);
  };
  if (variants === undefined) return judge(wave, gates);
  const [worst] = judgeEach(variants, gates, (variant, shared) =>
    variant.wave === undefined ? [] : [judge(variant.wave, shared)],
  );
  // Nobody says yet which variant it has.
  return worst ?? judge(wave, gates);
}

export function shadowAgreement(
  arm: ShadowArm | undefined,
  { minAgreement, minCompared, alpha }: { minAgreement: number; minCompared: number; alpha: number },
): GateOutcome {
  const devices = arm?.disagreements ?? [];
  const counted = sumOf(devices);
  const correlation = correlationWithin([devices]);
  const worth = effective(devices, correlation);
  const bound = 1 - minAgreement;
  const agreement = counted.trials === 0 ? null : 1 - (shareOf(counted) ?? 0);
  const { low, high } = rateInterval(worth, alpha);
  const numbers: GateNumbers = {
    ...{ over: 'wave', comparedWith: 'bound', value: agreement, baseline: null, effect: agreement },
    ...{ low: 1 - high, high: 1 - low, bound: minAgreement, alpha, minimum: minCompared, correlation },
    ...{ evidence: counted.trials, devices: devices.filter(({ trials }) => trials > 0).length },
    ...{ baselineEvidence: 0, baselineDevices: 0, detectable: rateSeenAbove(worth.trials, { bound, alpha }) },
  };
  if (arm === undefined || agreement === null)
    return { verdict: 'inconclusive', detail: `0 answers compared, ${minCompared} needed`, numbers };
  const seen = `${percent(agreement)} of ${counted.trials} answers in the shadow agree, at least ${percent(minAgreement)} must${beside(arm)}`;
  if (evidenceAbove(worth, bound) >= -Math.log(alpha)) return { verdict: 'fail', detail: seen, numbers };
  if (counted.trials < minCompared)
    return { verdict: 'inconclusive', detail: `${counted.trials} answers compared, ${minCompared} needed`, numbers };
  if (agreement >= minAgreement) return { verdict: 'pass', detail: seen, numbers };
  return { verdict: 'inconclusive', detail: `${seen}; too few to tell whether that is chance`, numbers };
}

/** What else was seen, for people. */
function beside({ failed, skipped, difference, latencyMs, formerMs }: ShadowArm): string {
  const words: string[] = [];
  if (difference.count > 0) words.push(`half of the scores differ by ${rounded(median(difference))} or less`);
  if (latencyMs.count > 0)
    words.push(`half of the runs take ${rounded(median(latencyMs))} ms or less, ${rounded(median(formerMs))} before`);
  if (failed > 0) words.push(`${failed} runs failed`);
  if (skipped > 0) words.push(`${skipped} answers were not compared`);
  return words.length === 0 ? '' : ` (${words.join(', ')})`;
}

function median(sketch: QuantileSketch): number {
  return quantile(sketch, 0.5) ?? 0;
}

function rounded(value: number): number {
  return Number(value.toPrecision(2));
}
