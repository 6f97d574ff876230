// The life of an alert, as a function of the newest verdicts. It looks at levels, not at edges: judging a window again
// because late data came, or twice, gives the same outcome.
import type { AlertStatus } from '@edgeloop/shared/api/alerts';
import type { z } from 'zod';
import type { Verdict } from '../statistics/drift.ts';

export type OpenStatus = Exclude<z.infer<typeof AlertStatus>, 'resolved'>;
export type JudgedVerdict = Exclude<Verdict, 'insufficient'>;

/** What to do with the alert of one (rule, model, version). */
export type AlertStep =
  | { kind: 'keep' }
  | { kind: 'open' }
  /** From pending to firing. */
  | { kind: 'fire' }
  | { kind: 'resolve'; reason: 'calm' | 'replaced' };

export interface AlertInput {
  /** The open alert; undefined when there is none. */
  status: OpenStatus | undefined;
  /** Newest first, windows with too little evidence left out. */
  verdicts: readonly JudgedVerdict[];
  /** The version no longer answers requests while another one does. */
  replaced: boolean;
}

/** How many of how many windows settle the matter. */
const needed = 2;
export const consideredWindows = 3;

/**
 * Opens at a suspicious window, fires when 2 of the last 3 are suspicious, resolves when 2 of the last 3 are calm,
 * the newest among them and none suspicious since, or when the version was replaced. A pending alert also ends when none of the last 3 is suspicious.
 */
export function nextStep({ status, verdicts, replaced }: AlertInput): AlertStep {
  if (replaced) return status === undefined ? { kind: 'keep' } : { kind: 'resolve', reason: 'replaced' };
  const recent = verdicts.slice(0, consideredWindows);
  const suspicious = recent.filter((verdict) => verdict === 'suspicious').length;
  const ended = isCalm(recent);
  switch (status) {
    case undefined:
      return recent[0] === 'suspicious' ? { kind: 'open' } : { kind: 'keep' };
    case 'pending':
      if (suspicious >= needed) return { kind: 'fire' };
      return ended || (recent.length > 0 && suspicious === 0) ? { kind: 'resolve', reason: 'calm' } : { kind: 'keep' };
    case 'firing':
      return ended ? { kind: 'resolve', reason: 'calm' } : { kind: 'keep' };
  }
}

/** Calm windows from before the last suspicious one do not count. */
function isCalm(recent: readonly JudgedVerdict[]): boolean {
  const last = recent.indexOf('suspicious');
  const since = last < 0 ? recent : recent.slice(0, last);
  return since[0] === 'calm' && since.filter((verdict) => verdict === 'calm').length >= needed;
}
