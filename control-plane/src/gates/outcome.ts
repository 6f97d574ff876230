// Verdicts of gates with their numbers.
import type { GateNumbers } from '@edgeloop/shared/api/gates';
import type { GateVerdict } from '@edgeloop/shared/api/rollouts';

export interface GateOutcome {
  verdict: 'pass' | 'fail' | 'inconclusive';
  /** One sentence with the numbers, for people. */
  detail: string;
  /** Unset: as the gate's mode says. False: there is nothing that it could be waited for. */
  blocking?: false;
  numbers: GateNumbers;
}

const verdictWords = { pass: 'passed', fail: 'failed', inconclusive: 'inconclusive' } as const;

export function verdictFrom(gate: GateVerdict['gate'], outcome: GateOutcome, mode: 'gate' | 'warn'): GateVerdict {
  const { verdict, detail, numbers, blocking = mode === 'gate' } = outcome;
  return { gate, verdict: verdictWords[verdict], detail, blocking, numbers };
}

/** Of the same gate on the wave and on all devices so far: either may fail it, the wave must pass it. */
export function worseOf(wave: GateOutcome, all: GateOutcome | undefined): GateOutcome {
  return wave.verdict !== 'fail' && all?.verdict === 'fail' ? all : wave;
}

export function percent(share: number): string {
  return `${Number((share * 100).toFixed(2))} %`;
}

/** Differences of shares. */
export function points(share: number): string {
  return `${Number((share * 100).toFixed(1))} points`;
}

export function whereOf(over: 'wave' | 'all'): string {
  return over === 'wave' ? 'in this wave' : 'on all devices so far';
}

export function besideOf({ kind, why }: { kind: 'rest' | 'last_period' | 'none'; why: string }): string {
  if (kind === 'rest' && why !== '') return why;
  return kind === 'rest' ? 'on the rest in the same time' : `in the last period of the old version, since ${why}`;
}
