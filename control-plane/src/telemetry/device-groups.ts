// What devices have in common, by which series are told apart: their labels, hardware and state as they are now.
import type { GroupBy } from '@edgeloop/shared/api/metrics';
import type { Candidate } from '../fleet/fleet.ts';

export type KnownDevice = Pick<Candidate, 'id' | 'labels' | 'status' | 'reported'>;
export type KnownDevices = ReadonlyMap<string, KnownDevice>;

export type DeviceGroup = Extract<GroupBy, 'hardware' | 'status' | `label:${string}`>;

export function isDeviceGroup(group: GroupBy): group is DeviceGroup {
  return group === 'hardware' || group === 'status' || isLabelGroup(group);
}

export function isLabelGroup(group: GroupBy): group is `label:${string}` {
  return group.startsWith('label:');
}

export function labelOf(group: `label:${string}`): string {
  return group.slice('label:'.length);
}

/** Undefined: it has no such label, or has never said what it is. */
export function groupOfDevice(device: KnownDevice | undefined, group: DeviceGroup): string | undefined {
  if (device === undefined) return undefined;
  if (group === 'status') return device.status;
  if (isLabelGroup(group)) return device.labels[labelOf(group)];
  const facts = device.reported?.facts;
  return facts && (facts.cpuModel || `${facts.platform}/${facts.arch}`);
}
