// Where every device stands as one look sees it: worked out once, since a fleet is large and looked at each second.
import type { RolloutDevice, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import {
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
  /** Devices that match now, in the order in which waves take them. */
  order: readonly string[];
  /** Those of them that were not given the version yet, in the same order. */
  free: readonly string[];
}

export function standingsOf(subject: Subject, devices: readonly DeviceView[], now: number): Standings {
  const members = devices.flatMap((device): MemberView[] => {
    const stored = device.member;
    return stored === null ? [] : [{ ...device, stored, member: observe(subject, device, stored, now) }];
  });
  const owned = members
    .filter((device) => isOwned(subject, device))
    .map((device) => ({ ...device, standing: standing(subject, device, device.member, now) }));
  const order = waveOrder(
    subject.model,
    devices.filter(({ matches }) => matches).map(({ id }) => id),
  );
  const given = new Set(members.map(({ id }) => id));
  return { members, owned, order, free: order.filter((id) => !given.has(id)) };
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
  { waves }: RolloutPlan,
  devices: readonly DeviceView[],
  { owned, order }: Standings,
): RolloutDevice[] {
  const standing = new Map(owned.map((device) => [device.id, device]));
  const ranks = new Map(order.map((id, rank) => [id, rank]));
  return devices.flatMap((device): RolloutDevice[] => {
    const deviceId = device.id;
    const seen = standing.get(deviceId);
    if (seen !== undefined) {
      const { state, detail } = seen.standing;
      return [{ deviceId, wave: seen.member.wave, state, detail }];
    }
    if (device.member !== null)
      return [{ deviceId, wave: device.member.wave, state: 'waiting', detail: released(device) }];
    if (!device.matches) return [];
    const wave = waveOfRank(waves, ranks.get(deviceId) ?? 0, order.length);
    return [{ deviceId, wave, state: 'waiting', detail: device.online ? 'its wave has not begun' : 'offline' }];
  });
}

function released({ desired }: DeviceView): string {
  return desired === null ? 'should run no version now' : `should run version ${desired.version} by another word now`;
}
