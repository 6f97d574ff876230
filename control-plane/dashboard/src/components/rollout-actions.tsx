// What a person can do with a rollout, which depends on where it is.
import type { Role } from '@edgeloop/shared/api/access';
import type { Rollout, RolloutState } from '@edgeloop/shared/api/rollouts';
import { useRefusal } from '../api/me.ts';
import { ActionButton } from './action.tsx';

type Verb = 'approve' | 'pause' | 'resume' | 'retry' | 'cancel' | 'take_back' | 'rollback';

const verbsIn: Record<RolloutState['phase'], Verb[]> = {
  awaiting_approval: ['approve', 'cancel'],
  running: ['pause', 'retry', 'cancel', 'take_back', 'rollback'],
  paused: ['resume', 'retry', 'cancel', 'take_back', 'rollback'],
  completed: ['retry', 'rollback'],
  cancelled: ['rollback'],
  superseded: [],
  rolling_back: [],
  rolled_back: [],
};

/** While an approval is waited for between waves. */
const between: Verb[] = ['approve', 'pause', 'retry', 'cancel', 'take_back', 'rollback'];

const verbs: Record<Verb, { label: string; tone?: 'primary' | 'danger'; confirm: string }> = {
  approve: { label: 'Approve', tone: 'primary', confirm: 'The first wave begins at once.' },
  pause: { label: 'Pause', confirm: 'No further device gets the version until the rollout is resumed.' },
  resume: { label: 'Resume', tone: 'primary', confirm: 'The rollout goes on where it stopped.' },
  retry: {
    label: 'Retry failed devices',
    confirm: 'Devices that failed or took too long try the version once more; no other device is touched.',
  },
  cancel: {
    label: 'Cancel',
    confirm: 'The rollout ends here. Devices that run the version keep it; no other device gets it, now or later.',
  },
  take_back: {
    label: 'Cancel and take back',
    tone: 'danger',
    confirm:
      'The rollout ends here, and every device that has the version goes back to the last one that completed there.',
  },
  rollback: {
    label: 'Roll back',
    tone: 'danger',
    confirm: 'Every device of this rollout goes back to the last version that completed there.',
  },
};

function approvalOf(wave: string) {
  return { label: `Approve ${wave}`, confirm: `The wave ${wave} begins at once.` };
}

function approverOf({ state, plan, createdBy }: Rollout): { role: Role; otherThan: string | undefined } {
  const wave = state.phase === 'awaiting_approval' ? state.wave : undefined;
  const { role = 'operator', fourEyes = false } = (wave === undefined ? undefined : plan.waves[wave]?.approval) ?? {};
  return { role, otherThan: fourEyes ? createdBy : undefined };
}

export function RolloutActions({ rollout }: { rollout: Rollout }) {
  const { state } = rollout;
  const wave = state.phase === 'awaiting_approval' ? state.name : undefined;
  const isBetween = state.phase === 'awaiting_approval' && state.after !== undefined;
  const forbidden = useRefusal('operator');
  const approver = approverOf(rollout);
  const unapproved = useRefusal(approver.role, approver);
  return (
    <>
      {(isBetween ? between : verbsIn[state.phase]).map((verb) => (
        <ActionButton
          key={verb}
          {...verbs[verb]}
          {...(verb === 'approve' && wave !== undefined ? approvalOf(wave) : {})}
          refusal={verb === 'approve' ? unapproved : forbidden}
          reasoned
          request={(reason) => ({
            method: 'POST',
            path: `/rollouts/${encodeURIComponent(rollout.id)}/${verb === 'take_back' ? 'cancel' : verb}`,
            body: {
              reason,
              ...(verb === 'take_back' ? { rollback: true } : {}),
              ...(verb === 'approve' && wave !== undefined ? { wave } : {}),
            },
          })}
        />
      ))}
    </>
  );
}
