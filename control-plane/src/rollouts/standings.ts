// Where every device stands as one look sees it: worked out once, since a fleet is large and looked at each second.
import type { RolloutDevice, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import {
  type Clock,
  type DeviceStanding,
  type DeviceView,
  isOwned,
  type Member,
  observe,
  type Subject,
  standing,
} from './device-state.ts';
import { waveOfRank, waveOrder, waveSize } from './waves.ts';

/** A device that was given the version: as it is now, and as it was stored. */
interface MemberView extends DeviceView {
  member: Member;
  stored: Member;
}

export interface StandingMember extends MemberView {
  standing: DeviceStanding;
}

export interface Standings {
  /** All that were ever given the version. */
  members: readonly MemberView[];
  /** Those that run it by this rollout's word; what others have taken over no longer counts. */
  owned: readonly StandingMember[];
  /** Devices that match now and are not left to a newer rollout, in the order in which waves take them. */
  order: readonly string[];
  /** Those of them that do not run it by this rollout's word, in the same order. */
  free: readonly string[];
  /** Those of the free that it had before: a newer rollout has let go of them. */
  returned: ReadonlySet<string>;
  /** Devices that match and are left to a newer rollout, in the same order. */
  ceded: readonly string[];
  /** The newest rollout that takes this one's devices, when that are all. */
  successor: string | undefined;
}

export function standingsOf(subject: Subject, devices: readonly DeviceView[], clock: Clock): Standings {
  const members = devices.flatMap((device): MemberView[] => {
    const stored = device.member;
    return stored === null ? [] : [{ ...device, stored, member: observe(subject, device, stored, clock.now) }];
  });
  const owned = members
    .filter((device) => isOwned(subject, device))
    .map((device) => ({ ...device, standing: standing(subject, device, device.member, clock) }));
  const given = new Set(owned.map(({ id }) => id));
  const claimed = new Set(devices.filter(({ claimedBy }) => claimedBy !== null).map(({ id }) => id));
  const matching = devices.filter(({ matches }) => matches).map(({ id }) => id);
  const ranked = waveOrder(subject.model, matching);
  const isCeded = (id: string) => claimed.has(id) && !given.has(id);
  const order = ranked.filter((id) => !isCeded(id));
  const had = new Set(members.map(({ id }) => id));
  const free = order.filter((id) => !given.has(id));
  const left = matching.some((id) => !claimed.has(id)) || owned.some(({ id }) => !claimed.has(id));
  return {
    members,
    owned,
    order,
    free,
    returned: new Set(free.filter((id) => had.has(id))),
    ceded: ranked.filter(isCeded),
    successor: left ? undefined : newestClaim(devices),
  };
}

function newestClaim(devices: readonly DeviceView[]): string | undefined {
  let newest: string | undefined;
  for (const { claimedBy } of devices) if (claimedBy !== null && claimedBy > (newest ?? '')) newest = claimedBy;
  return newest;
}

/** Devices that the wave still has room for, in the order of waves. */
export function topUp(waves: RolloutPlan['waves'], wave: number, { order, free }: Standings): string[] {
  const room = waveSize(waves, wave, order.length) - (order.length - free.length);
  return free.slice(0, Math.max(0, room));
}

/** The next wave that takes a device; undefined when all have the version. */
export function nextWave(waves: RolloutPlan['waves'], wave: number, standings: Standings): number | undefined {
  return waves.map((_, i) => i).find((i) => i > wave && topUp(waves, i, standings).length > 0);
}

/** Every device and where it stands, in the order given. */
export function verdictsOf(
  { id: rolloutId, plan: { waves } }: Subject,
  devices: readonly DeviceView[],
  { owned, order, ceded }: Standings,
): RolloutDevice[] {
  const standing = new Map(owned.map((device) => [device.id, device]));
  const turns = new Map([...turnsIn(waves, order), ...turnsIn(waves, ceded)]);
  return devices.flatMap((device): RolloutDevice[] => {
    const { id: deviceId, member, claimedBy } = device;
    const seen = standing.get(deviceId);
    if (seen !== undefined) {
      const { state, detail } = seen.standing;
      const coming = claimedBy === null ? '' : `; the newer rollout ${claimedBy} will take it over`;
      return [{ deviceId, wave: seen.member.wave, state, detail: detail + coming }];
    }
    if (member !== null)
      return [{ deviceId, wave: member.wave, state: 'waiting', detail: released(rolloutId, device) }];
    if (!device.matches) return [];
    return [{ deviceId, wave: turns.get(deviceId) ?? 0, state: 'waiting', detail: waiting(device) }];
  });
}

/** The wave in which each has its turn. */
function turnsIn(waves: RolloutPlan['waves'], order: readonly string[]): [string, number][] {
  return order.map((id, rank) => [id, waveOfRank(waves, rank, order.length)]);
}

function waiting({ claimedBy, online }: DeviceView): string {
  if (claimedBy !== null) return `left to the newer rollout ${claimedBy}`;
  return online ? 'its wave has not begun' : 'offline';
}

function released(rolloutId: string, { desired }: DeviceView): string {
  if (desired === null) return 'should run no version now';
  const newer = desired.rolloutId > rolloutId;
  return newer
    ? `taken over by the newer rollout ${desired.rolloutId}: should run version ${desired.version}`
    : `should run version ${desired.version} again`;
}
