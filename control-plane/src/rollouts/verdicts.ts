// Every device of a rollout and where it stands, for people.
import type { RolloutDevice, RolloutState } from '@edgeloop/shared/api/rollouts';
import { type DeviceView, isRestored, progressOf, variantOf } from './device-state.ts';
import type { Progress } from './progress.ts';

/** Sorted by id. Of a rollout that is over, devices it never had to do with are left out. */
export function* verdictsOf(progress: Progress, state: RolloutState, now: number): Generator<RolloutDevice> {
  const isOpen = ['awaiting_approval', 'running', 'paused'].includes(state.phase);
  const seen: Seen = { progress, state, now, isOpen, preview: isOpen ? progress.preview() : new Map() };
  for (const view of [...progress.views()].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const verdict = verdictOn(view, seen);
    if (verdict === undefined) continue;
    const variant = view.member?.assignedAt == null ? undefined : variantOf(progress.subject, view);
    const later = (view.member ?? seen.preview.get(view.id))?.later ?? [];
    yield {
      ...verdict,
      ...(later.length === 0 ? {} : { later: [...later] }),
      ...(variant === undefined ? {} : { variant }),
    };
  }
}

interface Seen {
  progress: Progress;
  state: RolloutState;
  now: number;
  isOpen: boolean;
  /** Waves of those that have none yet. */
  preview: ReturnType<Progress['preview']>;
}

function verdictOn(view: DeviceView, { progress, state, now, isOpen, preview }: Seen): RolloutDevice | undefined {
  const { id: deviceId, member } = view;
  const last = progress.subject.plan.waves.length - 1;
  const wave = member?.wave ?? (progress.given.size > 0 ? last : (preview.get(deviceId)?.wave ?? 0));
  const stands = progress.standing(deviceId, now);
  if (stands !== undefined && (member?.outcome ?? null) === null)
    return { deviceId, wave, state: stands.state, detail: stands.detail + coming(view) };
  if (member?.outcome != null) return { deviceId, wave, state: member.outcome, detail: member.detail ?? '' };
  if (member?.assignedAt != null) return { deviceId, wave, ...released(view, state) };
  if (!isOpen && (member === null || !view.matches)) return undefined;
  return view.matches ? { deviceId, wave, ...waiting(view, progress.given.size > 0) } : undefined;
}

function coming({ claimedBy }: DeviceView): string {
  return claimedBy === null ? '' : `; the rollout ${claimedBy}, which goes before, will take it over`;
}

type Words = Pick<RolloutDevice, 'state' | 'detail'>;

function waiting({ claimedBy, online, conflicting, member }: DeviceView, begun: boolean): Words {
  if (conflicting)
    return {
      state: 'conflicting',
      detail: 'ahead of this server, as after a restored backup: edgeloop devices resolve ID --follow or --keep',
    };
  if (claimedBy !== null) return { state: 'waiting', detail: `left to the newer rollout ${claimedBy}` };
  const detail = begun && member === null ? 'came later: joins the last wave, or follows it' : 'its wave has not begun';
  return { state: 'waiting', detail: online ? detail : 'offline' };
}

/** It was given the version, and should run something else now. */
function released(view: DeviceView, state: RolloutState): Words {
  const { desired, claimedBy } = view;
  if (claimedBy !== null && claimedBy === desired?.rolloutId)
    return {
      state: 'taken_over',
      detail: `taken over by the newer rollout ${claimedBy}: should run version ${desired.version}`,
    };
  const back = desired === null ? 'should run no version now' : `should run version ${desired.version} again`;
  if (state.phase === 'rolled_back' || isRestored(view)) return { state: 'rolled_back', detail: back };
  return { state: 'rolling_back', detail: `${back} (${progressOf(view)})` };
}
