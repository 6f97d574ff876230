// What operators may do to a rollout, and in which phase.
import { presentWave, type RolloutPlan, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { beginning, firstToBegin } from './approvals.ts';

export const rolloutActions = ['approve', 'pause', 'resume', 'retry', 'cancel', 'rollback'] as const;
export type RolloutAction = (typeof rolloutActions)[number];

/** `between` are approvals that are waited for between waves. */
const allowed = {
  approve: ['awaiting_approval'],
  pause: ['running', 'between'],
  resume: ['paused'],
  retry: ['running', 'between', 'paused', 'completed'],
  cancel: ['awaiting_approval', 'running', 'paused'],
  rollback: ['running', 'between', 'paused', 'completed', 'cancelled'],
} as const satisfies Record<RolloutAction, readonly (RolloutState['phase'] | 'between')[]>;

export interface Word {
  action: RolloutAction;
  actor: string;
  reason: string;
  plan: Pick<RolloutPlan, 'gates'>;
  now: number;
}

/** The state after an operator's word. @throws AppError `conflict` saying which phases allow it */
export function act(state: RolloutState, { action, actor, reason, plan, now }: Word): RolloutState {
  const phases: readonly string[] = allowed[action];
  const present = presentWave(state);
  const isBetween = state.phase === 'awaiting_approval' && present !== undefined;
  const why = reason === '' ? `by ${actor}` : `by ${actor}: ${reason}`;
  if (phases.includes(state.phase) || (isBetween && phases.includes('between'))) {
    switch (action) {
      case 'approve':
        if (state.phase !== 'awaiting_approval') break;
        return state.after === undefined ? firstToBegin(plan, state.wave ?? 0, now) : beginning(state.wave ?? 0, now);
      case 'pause':
        if (present !== undefined) return { phase: 'paused', reason: `paused ${why}`, resume: present };
        break;
      case 'resume':
        if (state.phase === 'paused') return { ...state.resume, since: now };
        break;
      case 'retry':
        return present === undefined ? state : { ...present, step: 'deploying', since: now };
      case 'cancel':
        return { phase: 'cancelled', at: now, reason: `cancelled ${why}` };
      case 'rollback':
        return { phase: 'rolling_back', since: now, reason: `rolled back ${why}` };
    }
  }
  const named = phases.map((phase) => (phase === 'between' ? 'awaiting approval between waves' : phase));
  const list = named.map((phase) => phase.replaceAll('_', ' ')).join(', ');
  throw new AppError(
    'conflict',
    `${action} needs a rollout that is ${list}; this one is ${state.phase.replaceAll('_', ' ')}`,
  );
}
