// What a value was before, and how long pauses were: from series in steps. Pure.
import type { Silence } from './reading.ts';

export interface Step {
  at: number;
  value: number | null;
  /** Requests that the value is made of; null where any counts. */
  evidence: number | null;
}

/** Into so many steps the time looked back on is cut. */
export const pastSteps = 24;
/** A version with a value in so many of them is compared with its own past. */
const ownSteps = 6;

/** The middle of its values, so that a former incident does not count as normal; undefined without any. */
function usual(steps: readonly Step[], minEvidence: number): number | undefined {
  const values = steps
    .flatMap(({ value, evidence }) => (value !== null && (evidence ?? minEvidence) >= minEvidence ? [value] : []))
    .sort((a, b) => a - b);
  const middle = (values.length - 1) / 2;
  const [low, high] = [values[Math.floor(middle)], values[Math.ceil(middle)]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

/**
 * What is normal for `own`: its own past when that is long enough, else that of the series beside it that has most evidence, as
 * the version before a new one, else what there is of its own.
 */
export function pastOf(
  own: readonly Step[],
  beside: readonly { name: string; steps: readonly Step[] }[],
  minEvidence: number,
): { value: number; of: string } | undefined {
  const ownUsual = usual(own, minEvidence);
  const ownPast = ownUsual === undefined ? undefined : { value: ownUsual, of: 'its own past' };
  const weight = (steps: readonly Step[]) => steps.reduce((sum, { evidence }) => sum + (evidence ?? 1), 0);
  if (own.filter(({ value }) => value !== null).length >= ownSteps) return ownPast;
  const others = beside
    .map(({ name, steps }) => ({ name, value: usual(steps, minEvidence), weight: weight(steps) }))
    .sort((a, b) => b.weight - a.weight);
  const before = others.find(({ value }) => value !== undefined);
  return before?.value === undefined ? ownPast : { value: before.value, of: before.name };
}

/** `steps`: how much came in each, oldest first. Before `listeningSince` nobody could have heard. */
export function silenceOf(
  steps: readonly { at: number; value: number | null }[],
  { stepMs, now, listeningSince }: { stepMs: number; now: number; listeningSince: number },
): Silence {
  const active = steps.filter(({ value }) => (value ?? 0) > 0);
  const last = active.at(-1);
  let longestPauseMs = 0;
  for (const [i, step] of active.entries()) {
    const next = active[i + 1];
    if (next !== undefined) longestPauseMs = Math.max(longestPauseMs, next.at - step.at - stepMs);
  }
  return {
    silentMs: last === undefined ? 0 : Math.max(0, now - Math.max(last.at + stepMs, listeningSince)),
    longestPauseMs,
    activeSteps: active.length,
    total: active.reduce((sum, { value }) => sum + (value ?? 0), 0),
  };
}
