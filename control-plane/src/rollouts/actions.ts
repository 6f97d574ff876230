// What operators may do to a rollout, and in which phase.
import type { RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';

export const rolloutActions = ['approve', 'pause', 'resume', 'retry', 'cancel', 'rollback'] as const;
export type RolloutAction = (typeof rolloutActions)[number];

const allowed = {
  approve: ['awaiting_approval'],
  pause: ['running'],
  resume: ['paused'],
  retry: ['running', 'paused', 'completed'],
  cancel: ['awaiting_approval', 'running', 'paused'],
  rollback: ['running', 'paused', 'completed', 'cancelled'],
} as const satisfies Record<RolloutAction, readonly RolloutState['phase'][]>;

export interface Word {
  action: RolloutAction;
  actor: string;
  reason: string;
  now: number;
}

/** The state after an operator's word. @throws AppError `conflict` saying which phases allow it */
export function act(state: RolloutState, { action, actor, reason, now }: Word): RolloutState {
  const phases: readonly string[] = allowed[action];
  const why = reason === '' ? `by ${actor}` : `by ${actor}: ${reason}`;
  if (phases.includes(state.phase)) {
    switch (action) {
      case 'approve':
        return firstWave(now);
      case 'pause':
        if (state.phase === 'running') return { phase: 'paused', reason: `paused ${why}`, resume: state };
        break;
      case 'resume':
        if (state.phase === 'paused') return { ...state.resume, since: now };
        break;
      case 'retry':
        if (state.phase === 'running') return { ...state, step: 'deploying', since: now };
        if (state.phase === 'paused') return { ...state.resume, step: 'deploying', since: now };
        return state;
      case 'cancel':
        return { phase: 'cancelled', at: now, reason: `cancelled ${why}` };
      case 'rollback':
        return { phase: 'rolling_back', since: now, reason: `rolled back ${why}` };
    }
  }
  const list = phases.map((phase) => phase.replaceAll('_', ' ')).join(', ');
  throw new AppError(
    'conflict',
    `${action} needs a rollout that is ${list}; this one is ${state.phase.replaceAll('_', ' ')}`,
  );
}

export function firstWave(now: number): RolloutState {
  return { phase: 'running', wave: 0, step: 'deploying', since: now };
}
