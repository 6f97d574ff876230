// Readings of what the control plane knows of its fleet and itself. Pure.
import type { FleetFigure, MetricRule } from '@edgeloop/shared/api/alert-rules';
import { AppError } from '@edgeloop/shared/errors';
import { matches, parseSelector } from '@edgeloop/shared/selector';
import type { FleetFigures, WatchedDevice } from '../alerts/fleet-figures.ts';
import type { Reading } from './reading.ts';

interface Asking {
  fleet: FleetFigures;
  rule: Pick<MetricRule, 'groupBy' | 'selector' | 'device' | 'model' | 'version' | 'overSeconds'>;
  now: number;
  /** Before then nobody could have heard of a device. */
  listeningSince: number;
}

const namedDevices = 50;
const plain = { evidence: null, isShare: false, detail: '' } as const;

/** A device, version or group that is not among the readings is no longer there, or all is well with it. */
export function readFleet(figure: FleetFigure, asking: Asking): Reading[] {
  const devices = devicesOf(asking);
  switch (figure) {
    case 'offline_share':
    case 'offline_devices':
      return groupsOf(devices, asking.rule.groupBy).map((group) => offline(figure, group, asking));
    case 'offline_seconds':
      return devices.map((device) => ofDevice(device, awayMs(device, asking) / 1000));
    case 'clock_offset':
      return devices.flatMap((device) =>
        device.clockOffsetMs === null ? [] : [ofDevice(device, Math.abs(device.clockOffsetMs))],
      );
    case 'identity_takeovers':
      return devices.flatMap((device) => (device.takeovers === null ? [] : [ofDevice(device, device.takeovers)]));
    case 'conflicting_seconds':
      return devices.map((device) =>
        ofDevice(device, device.conflictSince === null ? 0 : Math.max(1, (asking.now - device.conflictSince) / 1000)),
      );
    case 'quarantined_devices':
      return quarantined(devices, asking);
    case 'disk_free_share':
      return [{ ...plain, labels: {}, value: asking.fleet.diskFreeShare, devices: [] }];
  }
}

/** @throws AppError `invalid_request` when the figure has no such groups */
export function checkFleetGroups(figure: FleetFigure, { groupBy }: Asking['rule']): void {
  const byLabel = figure === 'offline_share' || figure === 'offline_devices';
  if (groupBy === undefined || byLabel) return;
  throw new AppError(
    'invalid_request',
    `groupBy: ${figure} has its groups by itself; leave it out. By a label of devices go offline_share and offline_devices`,
  );
}

function devicesOf({ fleet, rule: { selector, device } }: Asking): WatchedDevice[] {
  const wanted = selector === undefined ? undefined : parseSelector(selector);
  return fleet.devices.filter(
    (each) => (device ?? each.id) === each.id && (wanted === undefined || matches(wanted, each.labels)),
  );
}

interface Group {
  labels: Record<string, string>;
  devices: WatchedDevice[];
}

function groupsOf(devices: readonly WatchedDevice[], key: string | undefined): Group[] {
  if (key === undefined) return [{ labels: {}, devices: [...devices] }];
  const groups = new Map<string, Group>();
  for (const device of devices) {
    const value = device.labels[key];
    if (value === undefined) continue;
    const group = groups.get(value) ?? { labels: { [key]: value }, devices: [] };
    groups.set(value, group);
    group.devices.push(device);
  }
  return [...groups.values()];
}

function offline(figure: 'offline_share' | 'offline_devices', { labels, devices }: Group, asking: Asking): Reading {
  const ever = devices.filter(({ status }) => status !== 'never_connected');
  const away = ever.filter((device) => awayMs(device, asking) >= asking.rule.overSeconds * 1000);
  const share = ever.length === 0 ? null : away.length / ever.length;
  const names = away.slice(0, namedDevices).map(({ id }) => id);
  return {
    ...plain,
    labels,
    value: figure === 'offline_share' ? share : away.length,
    evidence: ever.length,
    devices: names,
    detail: `${away.length} of ${ever.length} devices are away`,
  };
}

/** What this server did not hear while it did not run does not count. */
function awayMs({ status, lastSeenAt }: WatchedDevice, { now, listeningSince }: Asking): number {
  if (status !== 'offline') return 0;
  return Math.max(0, now - Math.max(lastSeenAt ?? 0, listeningSince));
}

function ofDevice({ id }: WatchedDevice, value: number): Reading {
  return { ...plain, labels: { device: id }, value, devices: [id] };
}

function quarantined(devices: readonly WatchedDevice[], { rule }: Asking): Reading[] {
  const versions = new Map<string, { labels: Record<string, string>; failed: string[]; why: string }>();
  for (const { id, models } of devices) {
    for (const { name, failed } of models) {
      if (failed === null || (rule.model ?? name) !== name || (rule.version ?? failed.version) !== failed.version)
        continue;
      const version = String(failed.version);
      const key = `${name} ${version}`;
      const known = versions.get(key) ?? { labels: { model: name, version }, failed: [], why: failed.why };
      versions.set(key, known);
      known.failed.push(id);
    }
  }
  return [...versions.values()].map(({ labels, failed, why }) => ({
    ...plain,
    ...{ labels, value: failed.length, devices: failed.slice(0, namedDevices), detail: why },
  }));
}
