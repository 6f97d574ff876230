// Which of several rollouts of one model has a device. Ids are version 7 UUIDs, so a greater id is newer.
//
// INVARIANTS
// - A rollout claims what it matches from when it starts: older ones take those devices no more. What they have given
//   stays theirs to judge, and to take back, until the newer one's wave takes it.
// - One that was cancelled or rolled back claims nobody, so an older one that still runs may take its devices again. What
//   a cancelled one has given stays given, by an operator's word.
// - A device goes back to the newest version that completed, looked up when it goes back: never to a version that nobody
//   judged, however many failed in a row, and to none where none has completed.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { type Labels, matches, parseSelector, type Selector } from '@edgeloop/shared/selector';

/** A device as far as precedence goes. `owner`: the rollout by whose word it runs the model. */
export interface Claimed {
  id: string;
  labels: Labels;
  owner: string | undefined;
}

/** A rollout that takes devices which match it, now or later. */
export interface Claim {
  rollout: Rollout;
  /** Parsed once for all devices. */
  selector: Selector;
}

/** What claims devices of a model, the newest first. Of those alike only the newest, so that many releases cost no more. */
export function claimsOn(model: string, rollouts: readonly Rollout[]): Claim[] {
  const known = new Set<string>();
  return rollouts
    .filter((rollout) => rollout.model === model && isClaiming(rollout))
    .sort((a, b) => (a.id > b.id ? -1 : 1))
    .filter(({ state, plan }) => {
      const alike = `${state.phase === 'completed'} ${plan.selector}`;
      if (known.has(alike)) return false;
      known.add(alike);
      return true;
    })
    .map((rollout) => ({ rollout, selector: parseSelector(rollout.plan.selector) }));
}

function isClaiming({ state, plan }: Rollout): boolean {
  if (state.phase === 'completed') return plan.follow;
  return state.phase === 'running' || state.phase === 'paused';
}

/** The rollout newer than `rolloutId` that has the device or claims it. */
export function claimantOf(
  rolloutId: string,
  claims: readonly Claim[],
  { labels, owner }: Omit<Claimed, 'id'>,
): string | null {
  if (owner !== undefined && owner > rolloutId) return owner;
  for (const { rollout, selector } of claims) {
    if (rollout.id <= rolloutId) break;
    if (matches(selector, labels)) return rollout.id;
  }
  return null;
}

/**
 * The completed rollout that the device is to follow: it came to match later, or another let go of it. A device that runs
 * something already is left to a newer rollout under way; one that runs nothing gets what has completed meanwhile.
 */
export function followedBy(claims: readonly Claim[], { labels, owner }: Omit<Claimed, 'id'>): Rollout | undefined {
  for (const { rollout, selector } of claims) {
    if (owner !== undefined && owner >= rollout.id) return undefined;
    if (!matches(selector, labels)) continue;
    if (rollout.state.phase === 'completed') return rollout;
    if (owner !== undefined) return undefined;
  }
  return undefined;
}

/** The completed rollout that a device goes back to. `had`: the newest one that has given its version to the device. */
export function fallbackOf(
  claims: readonly Claim[],
  { labels, had }: { labels: Labels; had: string | undefined },
): string | undefined {
  for (const { rollout, selector } of claims) {
    if (had !== undefined && had >= rollout.id) break;
    if (rollout.state.phase === 'completed' && matches(selector, labels)) return rollout.id;
  }
  return had;
}
