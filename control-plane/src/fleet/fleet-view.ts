// The fleet in memory: what rollouts look at. The database is what holds; this follows it, after each commit.
//
// INVARIANTS
// - Only devices that may connect are in it.
// - What is put in was committed. What somebody else has written is read anew, once, at the next look.
import type { DeviceStatus } from '@edgeloop/shared/api/devices';
import type { Reported } from '@edgeloop/shared/messages';
import type { Labels } from '@edgeloop/shared/selector';
import { readPages } from '../database/chunks.ts';
import type { Reader } from '../database/open.ts';
import type { Assignment } from './device-changes.ts';
import { isConflicting } from './device-problems.ts';
import { type DesiredRow, type DeviceRow, type FleetStore, toAssignment } from './fleet-store.ts';
import type { Instances } from './instances.ts';

export interface ViewedDevice {
  id: string;
  labels: Labels;
  status: DeviceStatus;
  session: string | null;
  lastSeenAt: number | null;
  reported: Reported | null;
  /** When that came, by this server's clock. */
  reportedAt: number | null;
  desiredGeneration: number;
  /** The highest generation that it was ever told. */
  publishedGeneration: number;
  conflictSince: number | null;
  /** An operator's word by which it keeps what it runs; it stands in for that of a rollout where it runs nothing. */
  keptWord: string | null;
  /** Which starts of its agent have spoken. */
  instances: Instances | null;
  /** What it should run, by model. */
  desired: ReadonlyMap<string, Assignment>;
}

/** `spoke`: it said something of itself. `changed`: it came or went, or its labels or what it should run changed. */
export type FleetChange = 'spoke' | 'changed';
export type FleetListener = (deviceIds: readonly string[], change: FleetChange) => void;

/** Read at once. */
const pageDevices = 100;

export type FleetView = ReturnType<typeof createFleetView>;

export function createFleetView({ store, reader }: { store: FleetStore; reader: Reader }) {
  let devices: Map<string, ViewedDevice> | undefined;
  let loading: Promise<Map<string, ViewedDevice>> | undefined;
  const outdated = new Set<string>();
  const listeners: FleetListener[] = [];

  function tell(ids: readonly string[], change: FleetChange): void {
    if (ids.length > 0) for (const listener of listeners) listener(ids, change);
  }

  async function read(query: { ids: string[] } | { afterId: string | undefined; limit: number }) {
    const rows = await store.devices(reader, query);
    const desired = await store.desiredRows(
      reader,
      rows.map(({ id }) => id),
    );
    const byDevice = new Map<string, DesiredRow[]>();
    for (const row of desired) {
      const known = byDevice.get(row.deviceId);
      if (known === undefined) byDevice.set(row.deviceId, [row]);
      else known.push(row);
    }
    return rows.map((row) => toViewed(row, byDevice.get(row.id) ?? []));
  }

  async function load(): Promise<Map<string, ViewedDevice>> {
    const page = (last?: ViewedDevice) => read({ afterId: last?.id, limit: pageDevices });
    const found = devices ?? new Map((await readPages(pageDevices, page)).map((device) => [device.id, device]));
    devices = found;
    while (outdated.size > 0) {
      const ids = [...outdated];
      outdated.clear();
      const fresh = new Map((await read({ ids })).map((device) => [device.id, device]));
      for (const id of ids) {
        const device = fresh.get(id);
        if (device === undefined) found.delete(id);
        else found.set(id, device);
      }
    }
    return found;
  }

  return {
    /** All devices, by id, as of the last commit. */
    async all(): Promise<ReadonlyMap<string, ViewedDevice>> {
      // While something is read anew, what is here is of before the last commit.
      if (devices !== undefined && outdated.size === 0 && loading === undefined) return devices;
      loading ??= load().finally(() => {
        loading = undefined;
      });
      return loading;
    },

    /** What was written of a device by whoever calls this, after the commit. */
    put(changes: readonly (Partial<ViewedDevice> & { id: string })[], change: FleetChange): void {
      for (const each of changes) {
        const known = devices?.get(each.id);
        if (known === undefined || outdated.has(each.id) || loading !== undefined) outdated.add(each.id);
        else devices?.set(each.id, { ...known, ...each });
      }
      tell(
        changes.map(({ id }) => id),
        change,
      );
    },

    /** That devices are to be read anew. */
    outdate(ids: readonly string[]): void {
      for (const id of ids) outdated.add(id);
      tell(ids, 'changed');
    },

    /** That all are. */
    outdateAll(): void {
      outdated.clear();
      devices = undefined;
    },

    /** Calls `listener` with what has changed, after the commit. Cheap things only. */
    listen: (listener: FleetListener): void => void listeners.push(listener),
  };
}

function toViewed(row: DeviceRow, desired: readonly DesiredRow[]): ViewedDevice {
  const { id, labels, status, session, lastSeenAt, reported, reportedAt } = row;
  const { desiredGeneration, instances, keptWord } = row;
  return {
    ...{ id, labels, status, session, lastSeenAt, reported, reportedAt, desiredGeneration, instances, keptWord },
    conflictSince: isConflicting(row) ? (row.conflictSince ?? row.reportedAt ?? 0) : null,
    publishedGeneration: row.publishedGeneration ?? desiredGeneration,
    desired: new Map(desired.map((each) => [each.model, toAssignment(each)])),
  };
}
