// The gates of a wave. A gate that lacks evidence waits; it never passes for lack of data.
import type { GateVerdict, RolloutGates, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { VariantErrors } from '../gates/judge.ts';
import { judgeErrors } from '../gates/judge.ts';
import type { RequestCounts } from '../gates/rates.ts';
import { type Counts, deviceCounts } from './progress.ts';

export interface Evidence {
  /** On the devices of the present wave, since each got the version. */
  wave: RequestCounts;
  /** On all devices that have the version. */
  all: RequestCounts;
  /** Of a version with variants, as far as devices say which they have. */
  variants?: { of: number; each: readonly VariantErrors[] };
}

/** How many devices stand where. `pending`: not ended yet, or waited for though they are away; `skipped`: not waited for any more. */
export interface Tally {
  healthy: number;
  bad: number;
  pending: number;
  skipped: number;
}

export function tally(counts: Counts): Tally {
  const { healthy = 0, failed = 0, timed_out = 0, deploying = 0, baking = 0, offline = 0 } = counts;
  const { awaited = 0, away = 0, unable = 0, conflicting = 0 } = counts;
  return {
    healthy,
    bad: failed + timed_out,
    pending: deploying + baking + offline + awaited,
    // Who cannot take part is treated as who is not there.
    skipped: conflicting + away + unable,
  };
}

/** Devices that the failure bound is a share of. */
export function countable({ healthy, bad, pending }: Tally): number {
  return healthy + bad + pending;
}

/** Fails as soon as the bound is passed however the others end. `last`: nothing is deployed after this wave. */
export function failedDevicesGate(
  gates: RolloutGates,
  { wave, all, last }: { wave: Tally; all: Tally; last: boolean },
): GateVerdict {
  const verdict = (verdict: GateVerdict['verdict'], detail: string): GateVerdict => ({
    gate: 'failed_devices',
    verdict,
    detail,
    numbers: { ...wave },
  });
  for (const [where, count] of [
    ['this wave', wave],
    ['all waves so far', all],
  ] as const) {
    if (count.bad > gates.maxFailedDevices * countable(count) + 1e-9) {
      return verdict('failed', `${count.bad} of ${countable(count)} devices of ${where} failed, ${allowed(gates)}`);
    }
  }
  if (wave.pending > 0) return verdict('waiting', `devices still under way: ${wave.pending}`);
  const total = countable(wave) + wave.skipped;
  if (total > 0 && wave.healthy < gates.minHealthyDevices * total - 1e-9) {
    const needed = Math.ceil(gates.minHealthyDevices * total - 1e-9);
    const others = `${wave.bad} failed, ${wave.skipped} offline`;
    return verdict('waiting', `${wave.healthy} of ${total} devices healthy, ${needed} needed; ${others}`);
  }
  if (wave.healthy > 0 || (last && all.healthy > 0)) {
    return verdict('passed', `${wave.healthy} healthy, ${wave.bad} failed, ${wave.skipped} offline`);
  }
  const nobody = wave.skipped > 0 ? `all ${wave.skipped} devices of this wave are offline` : 'no device matches yet';
  return verdict('waiting', nobody);
}

interface VariantTally {
  name: string;
  wave: Tally;
  all: Tally;
}

/**
 * A variant of which too many devices failed fails the wave though the others do well. Devices under way that have not said which
 * variant they have may turn out to have this one.
 */
export function failedVariantGate(
  { maxFailedDevices, ...gates }: RolloutGates,
  { wave, all, variants }: { wave: Tally; all: Tally; variants: readonly VariantTally[] },
): GateVerdict | undefined {
  for (const variant of variants) {
    for (const [where, whole, own] of [
      ['this wave', wave, variant.wave],
      ['all waves so far', all, variant.all],
    ] as const) {
      const known = variants.reduce((sum, each) => sum + (own === variant.wave ? each.wave : each.all).pending, 0);
      const most = countable(own) + whole.pending - known;
      if (own.bad <= maxFailedDevices * most + 1e-9) continue;
      const detail = `${own.bad} of ${most} devices of ${where} with the variant "${variant.name}" failed, ${allowed({ maxFailedDevices, ...gates })}`;
      return { gate: 'failed_devices', verdict: 'failed', detail, numbers: { ...own } };
    }
  }
  return undefined;
}

function allowed({ maxFailedDevices }: RolloutGates): string {
  return `allowed are ${percent(maxFailedDevices)}`;
}

/** Verdicts on what the wave's devices answered. `judged`: whether any of them can answer requests at all. */
export function answerGates(
  { gates, waves }: Pick<RolloutPlan, 'gates' | 'waves'>,
  { evidence, field, judged }: { evidence: Evidence; field: readonly GateVerdict[]; judged: boolean },
): GateVerdict[] {
  const verdicts = [judgeErrors(gates, evidence, waves.length), ...field];
  return judged ? verdicts : verdicts.map(excused);
}

/** Verdicts on what a shadow says beside what answers. Without any there is none that could pass. */
export function shadowGates(
  { gates }: Pick<RolloutPlan, 'gates'>,
  field: readonly GateVerdict[],
  counts: Counts,
): GateVerdict[] {
  const verdicts = field.filter(({ gate }) => gate === 'shadow_agreement');
  if (verdicts.length > 0) return [...verdicts];
  const { unable: each = 0 } = deviceCounts(counts);
  const unable = each === 0 ? '' : `; ${each} devices cannot take part`;
  const detail = `0 answers compared, ${gates.shadow.minCompared} needed${unable}`;
  return [{ gate: 'shadow_agreement', verdict: 'inconclusive', detail, blocking: gates.shadow.mode === 'gate' }];
}

function excused(verdict: GateVerdict): GateVerdict {
  if (verdict.verdict === 'failed' || verdict.gate === 'backtest') return verdict;
  const detail = 'no device of this wave is reachable, and nothing is deployed after it';
  return { ...verdict, verdict: 'passed', detail };
}

/** Whether it stops the rollout. */
export function stops({ verdict, blocking }: GateVerdict): boolean {
  return verdict === 'failed' && blocking !== false;
}

/** Whether the wave is held up by it. */
export function holds({ verdict, blocking }: GateVerdict): boolean {
  return verdict !== 'passed' && blocking !== false;
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(2))} %`;
}
