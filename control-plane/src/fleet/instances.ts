// Which starts of an agent spoke under one identity. A start that was followed by another is over, as after a restart; when it speaks
// again both are alive, and two devices have one identity, as after copying a card. Pure.

import { Instant } from '@edgeloop/shared/identifiers';
import type { IdentityConflict } from '@edgeloop/shared/messages';
import { z } from 'zod';

export const Instances = z.object({
  current: z.string(),
  /** Those before it, the newest last. */
  former: z.array(z.string()),
  /** The present row of takeovers. */
  takeovers: z.number().int().min(0),
  since: Instant,
  lastAt: Instant,
});
export type Instances = z.infer<typeof Instances>;

const kept = 16;
/** Longer than both wait for their turn; after so much quiet it is over. */
const overAfterMs = 3_600_000;

/** After `instance` has spoken; the same object when that says nothing new. */
export function spoken(known: Instances | null, instance: string, at: number): Instances {
  if (known === null) return { current: instance, former: [], takeovers: 0, since: at, lastAt: at };
  if (known.current === instance) return known;
  const former = [...known.former.filter((each) => each !== instance), known.current].slice(-kept);
  if (!known.former.includes(instance)) return { ...known, current: instance, former };
  const goesOn = conflictOf(known, at) !== null;
  const row = goesOn ? { since: known.since, takeovers: known.takeovers + 1 } : { since: at, takeovers: 1 };
  return { current: instance, former, ...row, lastAt: at };
}

export function conflictOf(known: Instances | null, now: number): IdentityConflict | null {
  if (known === null || known.takeovers === 0 || now - known.lastAt > overAfterMs) return null;
  return { since: known.since, takeovers: known.takeovers };
}
