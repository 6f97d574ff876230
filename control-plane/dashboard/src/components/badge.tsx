// States as coloured words: colour helps, the word says it.
import type { AlertStatus } from '@edgeloop/shared/api/alerts';
import type { DeviceStatus } from '@edgeloop/shared/api/devices';
import type { RolloutDevice, RolloutState } from '@edgeloop/shared/api/rollouts';
import type { RunStatus } from '@edgeloop/shared/api/training';
import type { ActivationState } from '@edgeloop/shared/messages';
import type { z } from 'zod';
import { words } from '../format.ts';

export type Tone = 'ok' | 'info' | 'wait' | 'bad' | 'idle';

const deviceTones: Record<DeviceStatus, Tone> = { online: 'ok', offline: 'bad', never_connected: 'idle' };
const alertTones: Record<z.infer<typeof AlertStatus>, Tone> = { firing: 'bad', pending: 'wait', resolved: 'ok' };
const runTones: Record<RunStatus, Tone> = {
  queued: 'idle',
  waiting_for_labels: 'wait',
  running: 'info',
  succeeded: 'ok',
  rejected: 'wait',
  failed: 'bad',
  cancelled: 'idle',
};
const phaseTones: Record<RolloutState['phase'], Tone> = {
  awaiting_approval: 'wait',
  running: 'info',
  paused: 'wait',
  completed: 'ok',
  cancelled: 'idle',
  superseded: 'idle',
  rolling_back: 'bad',
  rolled_back: 'bad',
};
const activationTones: Record<ActivationState, Tone> = {
  fetching: 'info',
  verifying: 'info',
  warming: 'info',
  probation: 'wait',
  failed: 'bad',
};

/** How a device's state within a rollout is coloured. */
export const rolloutDeviceTones: Record<RolloutDevice['state'], Tone> = {
  waiting: 'idle',
  deploying: 'info',
  baking: 'wait',
  healthy: 'ok',
  failed: 'bad',
  offline: 'idle',
  timed_out: 'bad',
  conflicting: 'bad',
  taken_over: 'idle',
  rolling_back: 'wait',
  rolled_back: 'wait',
  kept: 'ok',
  unreached: 'idle',
  unable: 'wait',
};

export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return <span class={`badge tone-${tone}`}>{children}</span>;
}

export function DeviceDot({ status }: { status: DeviceStatus }) {
  return (
    <span class="with-dot">
      <span class={`dot tone-${deviceTones[status]}`} />
      {words(status)}
    </span>
  );
}

export function AlertBadge({ status }: { status: z.infer<typeof AlertStatus> }) {
  return <Badge tone={alertTones[status]}>{status}</Badge>;
}

export function RunBadge({ status }: { status: RunStatus }) {
  return <Badge tone={runTones[status]}>{words(status)}</Badge>;
}

export function PhaseBadge({ state }: { state: RolloutState }) {
  return <Badge tone={phaseTones[state.phase]}>{words(state.phase)}</Badge>;
}

export function ActivationBadge({ state }: { state: ActivationState }) {
  return <Badge tone={activationTones[state]}>{state}</Badge>;
}
