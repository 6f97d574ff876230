// What a person can do with a rollout, which depends on where it is.
import type { Rollout, RolloutState } from '@edgeloop/shared/api/rollouts';
import { ActionButton } from './action.tsx';

type Verb = 'approve' | 'pause' | 'resume' | 'cancel' | 'rollback';

const verbsIn: Record<RolloutState['phase'], Verb[]> = {
  awaiting_approval: ['approve', 'cancel'],
  running: ['pause', 'cancel', 'rollback'],
  paused: ['resume', 'cancel', 'rollback'],
  completed: ['rollback'],
  cancelled: ['rollback'],
  superseded: [],
  rolling_back: [],
  rolled_back: [],
};

const verbs: Record<Verb, { label: string; tone?: 'primary' | 'danger'; confirm: string }> = {
  approve: { label: 'Approve', tone: 'primary', confirm: 'The first wave begins at once.' },
  pause: { label: 'Pause', confirm: 'No further device gets the version until the rollout is resumed.' },
  resume: { label: 'Resume', tone: 'primary', confirm: 'The rollout goes on where it stopped.' },
  cancel: { label: 'Cancel', confirm: 'The rollout ends here. Devices that have the version keep it.' },
  rollback: {
    label: 'Roll back',
    tone: 'danger',
    confirm: 'Every device of this rollout goes back to the last version that completed there.',
  },
};

export function RolloutActions({ rollout }: { rollout: Rollout }) {
  return (
    <>
      {verbsIn[rollout.state.phase].map((verb) => (
        <ActionButton
          key={verb}
          {...verbs[verb]}
          reasoned
          request={(reason) => ({
            method: 'POST',
            path: `/rollouts/${encodeURIComponent(rollout.id)}/${verb}`,
            body: { reason },
          })}
        />
      ))}
    </>
  );
}
