// Approvals: which wave is to be asked for, who may give it, and how it is told.
import type { Role } from '@edgeloop/shared/api/access';
import type { Rollout, RolloutPlan, RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { waveWords } from './waves.ts';

type Waiting = Extract<RolloutState, { phase: 'awaiting_approval' }>;

/** Who approves, and the wave that was seen to wait. */
export interface Approver {
  /** `key:NAME`. */
  name: string;
  role: Role;
  wave?: string | undefined;
}

export function firstState(plan: RolloutPlan, now: number): RolloutState {
  if (plan.waves[0]?.approval !== undefined) return waitingFor(plan, { wave: 0, now });
  return plan.approval ? { phase: 'awaiting_approval', since: now } : firstToBegin(plan, 0, now);
}

/**
 * On from the wave `from` to `to`: that begins, or what must be approved first is waited for. Waves that are passed over since
 * nobody is in them ask for theirs all the same. With `after` it is another than the first.
 */
export function goingOn(
  plan: RolloutPlan,
  { from, to, now, after }: { from: number; to: number; now: number; after?: Waiting['after'] },
): RolloutState {
  const wave = approvalDue(plan, { from, to });
  return wave === undefined ? beginning(to, now) : waitingFor(plan, { wave, now, after });
}

/** The first wave above `from`, up to and with `to`, that asks for approval. */
export function approvalDue(
  { waves }: Pick<RolloutPlan, 'waves'>,
  { from, to }: { from: number; to: number },
): number | undefined {
  const wave = waves.findIndex(({ approval }, i) => i > from && i <= to && approval !== undefined);
  return wave === -1 ? undefined : wave;
}

export function beginning(wave: number, now: number): Extract<RolloutState, { phase: 'running' }> {
  return { phase: 'running', wave, step: 'deploying', since: now };
}

/** The wave that comes before all others: behind the backtest, where that is a gate. */
export function firstToBegin({ gates }: Pick<RolloutPlan, 'gates'>, wave: number, now: number): RolloutState {
  const begun = beginning(wave, now);
  return gates.backtest.mode === 'gate' ? { ...begun, step: 'backtesting' } : begun;
}

export function waitingFor(
  { waves }: Pick<RolloutPlan, 'waves'>,
  { wave, now, after }: { wave: number; now: number; after?: Waiting['after'] },
): Waiting {
  const name = waves[wave]?.name;
  const named = name === undefined ? {} : { name };
  return { phase: 'awaiting_approval', since: now, wave, ...named, ...(after === undefined ? {} : { after }) };
}

/**
 * What was seen to wait must be what waits now, and the key one that may say so.
 * @throws AppError `conflict` naming the wave that waits; `forbidden` naming the role
 */
export function requireApprover(
  { plan, state, createdBy }: Pick<Rollout, 'plan' | 'createdBy'> & { state: Waiting },
  { name, role, wave: seen }: Approver,
): void {
  const waits = state.name ?? plan.waves[0]?.name;
  const all = plan.waves.length;
  if (seen === undefined && state.name !== undefined)
    throw new AppError('conflict', `name the wave that you approve: "${waits}" (wave) waits for it`);
  if (seen !== undefined && seen !== waits)
    throw new AppError(
      'conflict',
      `the approval is for the wave "${seen}"; what waits is ${waveWords(plan, state.wave ?? 0)} of ${all}: look at it again`,
    );
  const asked = state.wave === undefined ? undefined : plan.waves[state.wave]?.approval;
  if (asked?.role === 'admin' && role !== 'admin')
    throw new AppError(
      'forbidden',
      `the approval of the wave "${waits}" needs the role ${asked.role}; your key "${name}" has the role ${role}`,
    );
  if (asked?.fourEyes === true && name === createdBy)
    throw new AppError(
      'forbidden',
      `the approval of the wave "${waits}" needs a key with the role ${asked.role} other than "${createdBy}", which created the rollout`,
    );
}

/** `a key with the role admin other than key:jo (who created it)`. */
export function approverWords({ plan, createdBy }: Pick<Rollout, 'plan' | 'createdBy'>, { wave }: Waiting): string {
  const { role = 'operator', fourEyes = false } = (wave === undefined ? undefined : plan.waves[wave]?.approval) ?? {};
  return `a key with the role ${role}${fourEyes ? ` other than ${createdBy} (who created it)` : ''}`;
}
