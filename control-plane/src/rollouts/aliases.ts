// Which name a completing rollout moves.
import type { RolloutPlan } from '@edgeloop/shared/api/rollouts';

/** Whole fleets run what is stable, parts of it try what may become so. */
export function aliasOf({ alias, selector }: Pick<RolloutPlan, 'alias' | 'selector'>): string {
  return alias ?? (selector.trim() === '' ? 'stable' : 'candidate');
}
