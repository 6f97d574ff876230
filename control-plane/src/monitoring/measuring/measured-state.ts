// The life of an alert whose value is measured again and again: a function of its present state and the newest verdict. Looking
// twice at the same instant changes nothing.
import type { OpenStatus } from '../alerts/alert-state.ts';
import type { Verdict } from '../statistics/drift.ts';

export interface MeasuredInput {
  /** The open alert; undefined when there is none. */
  alert: { status: OpenStatus; startedAt: number; calmSince: number | null } | undefined;
  verdict: Verdict;
  now: number;
  /** How long it must hold before it fires, and be calm before it ends. */
  forMs: number;
  calmMs: number;
}

export type MeasuredStep =
  | { kind: 'keep'; calmSince: number | null }
  | { kind: 'open' }
  | { kind: 'fire' }
  | { kind: 'resolve' };

/**
 * It opens when suspicious, fires when it was never calm for `forMs` and is suspicious, and ends when it was calm for `calmMs`
 * without a break; a pending one at once. Between the bounds, and without enough evidence, it stays what it is.
 */
export function nextMeasuredStep({ alert, verdict, now, forMs, calmMs }: MeasuredInput): MeasuredStep {
  if (alert === undefined) return verdict === 'suspicious' ? { kind: 'open' } : { kind: 'keep', calmSince: null };
  const { status, startedAt, calmSince } = alert;
  if (status === 'pending') {
    if (verdict === 'calm') return { kind: 'resolve' };
    return verdict === 'suspicious' && now - startedAt >= forMs ? { kind: 'fire' } : { kind: 'keep', calmSince: null };
  }
  if (verdict === 'insufficient') return { kind: 'keep', calmSince };
  if (verdict !== 'calm') return { kind: 'keep', calmSince: null };
  const since = calmSince ?? now;
  return now - since >= calmMs ? { kind: 'resolve' } : { kind: 'keep', calmSince: since };
}
