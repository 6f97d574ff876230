// The gates of a wave. A gate that lacks evidence waits; it never passes for lack of data.
import type { GateVerdict, RolloutGates } from '@edgeloop/shared/api/rollouts';
import type { Counts } from './progress.ts';

/** Requests that the new version answered. */
export interface RequestCounts {
  requests: number;
  failed: number;
}

export interface Evidence {
  /** On the devices of the present wave, since each got the version. */
  wave: RequestCounts;
  /** On all devices that have the version. */
  all: RequestCounts;
}

/** How many devices stand where. `pending`: not ended yet; devices that are away are `skipped` or pending, as the plan says. */
export interface Tally {
  healthy: number;
  bad: number;
  pending: number;
  skipped: number;
}

export function tally(counts: Counts, offlineDevices: 'wait' | 'skip'): Tally {
  const { healthy = 0, failed = 0, timed_out = 0, deploying = 0, baking = 0, offline = 0, away = 0 } = counts;
  const waitsForAll = offlineDevices === 'wait';
  return {
    healthy,
    bad: failed + timed_out,
    pending: deploying + baking + offline + (waitsForAll ? away : 0),
    skipped: (counts.conflicting ?? 0) + (waitsForAll ? 0 : away),
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

function allowed({ maxFailedDevices }: RolloutGates): string {
  return `allowed are ${percent(maxFailedDevices)}`;
}

/** `judged`: whether any device of the wave can answer requests at all. */
export function errorRateGate(gates: RolloutGates, evidence: Evidence, judged: boolean): GateVerdict {
  const { maxErrorRate, minRequests } = gates;
  const verdict = (verdict: GateVerdict['verdict'], detail: string): GateVerdict => ({
    gate: 'error_rate',
    verdict,
    detail,
    numbers: { ...evidence.wave },
  });
  for (const counts of [evidence.wave, evidence.all]) {
    if (counts.requests >= minRequests && exceeds(counts, maxErrorRate))
      return verdict('failed', described(counts, gates));
  }
  const { requests, failed } = evidence.wave;
  if (!judged) return verdict('passed', 'no device of this wave is reachable, and nothing is deployed after it');
  if (requests < minRequests) return verdict('waiting', `${requests} requests seen, ${minRequests} needed`);
  const detail = described(evidence.wave, gates);
  if (failed <= maxErrorRate * requests) return verdict('passed', detail);
  return verdict('waiting', `${detail}; too few to tell whether that is chance`);
}

function described({ requests, failed }: RequestCounts, { maxErrorRate }: RolloutGates): string {
  return `${failed} of ${requests} requests failed (${percent(failed / Math.max(1, requests))}), allowed are ${percent(maxErrorRate)}`;
}

/** Share of false alarms over a whole wave, however often it is looked at. */
const falseAlarms = 0.01;
const alternatives = 20;

/**
 * Whether the failure rate is above `bound`. A mixture of likelihood ratios against it is a test martingale, so by
 * Ville's inequality looking at it every second does not add false alarms (Ramdas et al. 2023, "Game-theoretic
 * statistics and safe anytime-valid inference").
 */
export function exceeds({ requests, failed }: RequestCounts, bound: number): boolean {
  if (failed === 0 || bound >= 1) return false;
  if (bound <= 0) return true;
  let sum = 0;
  for (let i = 1; i <= alternatives; i++) {
    const rate = bound + ((1 - bound) * (i - 0.5)) / alternatives;
    const logRatio = failed * Math.log(rate / bound) + (requests - failed) * Math.log((1 - rate) / (1 - bound));
    sum += Math.exp(logRatio);
  }
  return sum / alternatives >= 1 / falseAlarms;
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(2))} %`;
}
