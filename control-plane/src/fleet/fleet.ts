// The fleet as the control plane knows it: who its devices are, what they should run, and what they say they run.
import type { Device, DeviceStatus } from '@edgeloop/shared/api/devices';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page } from '@edgeloop/shared/api/paging';
import type { Desired, Presence, Reported } from '@edgeloop/shared/messages';
import { type Labels, matches, type Selector } from '@edgeloop/shared/selector';
import type { Channel } from '@edgeloop/shared/topics';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Database, Reader, Transaction } from '../database/open.ts';
import { isStorageFailure } from '../database/storage-failure.ts';
import { decodeCursor, encodeCursor } from '../http/paging.ts';
import { type ClaimStore, createClaimStore } from './claim-store.ts';
import {
  type Claim,
  type Claims,
  createClaims,
  type Disregarded,
  type Verdict,
  type VersionNumbers,
} from './claims.ts';
import {
  type Assignment,
  known,
  pick,
  type VersionWriting,
  writeDesired,
  writeLabels,
  writePresence,
  writeReported,
} from './device-changes.ts';
import { type Beside, toDevice } from './device-view.ts';
import { createFleetStore, type DesiredRow, type DeviceRow, type FleetStore } from './fleet-store.ts';
import { createPublisher } from './publisher.ts';
import type { NamedRelease } from './unknown-releases.ts';

export type { Assignment, Claim, Claims, Disregarded, Verdict };

/** A device that rollouts may choose. */
export interface Candidate {
  id: string;
  labels: Labels;
  status: DeviceStatus;
  reported: Reported | null;
  lastSeenAt: number | null;
}

export interface FleetDeps {
  database: Database;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  /** Hands a message to the broker; resolves once the broker has it. */
  publish: (deviceId: string, channel: Channel, payload: unknown, options: { retain: boolean }) => Promise<void>;
  /** Signs what a device should run. */
  seal: (deviceId: string, desired: Pick<Desired, 'generation' | 'models'>) => Desired;
  /** The registry's word on the versions that devices name. */
  numbers: VersionNumbers;
  log: Logger;
}

export type Fleet = ReturnType<typeof createFleet>;

export function createFleet({ database, now, notify, publish, seal, numbers, log }: FleetDeps) {
  const store = createFleetStore(database.tables);
  const claimStore = createClaimStore(database.tables);
  const writing: VersionWriting = { database, store, claimStore, numbers, now };
  const listing: Listing = { store, claimStore, reader: database.read, now };
  const publisher = createPublisher(async (deviceIds) => {
    const states = await store.desiredStates(database.read, deviceIds);
    for (const [id, state] of states) await publish(id, 'desired', seal(id, toDesired(state)), { retain: true });
  });
  /** Whether devices of the former process may still count as connected. */
  let former = false;
  const changed = (id: string, state: string) => notify({ type: 'device', id, state });

  async function device(id: string): Promise<Device> {
    const row = await known(store, database.read, id);
    const besideOf = await besides(listing, [id], await store.desiredRows(database.read, [id]));
    return toDevice(row, besideOf(id));
  }

  /** Told once, when it begins or changes. */
  function tellUnknown(deviceId: string, unknown: readonly NamedRelease[]): void {
    if (unknown.length === 0) return;
    log.warn({ deviceId, unknown }, 'a device runs releases that are not registered here, as after a restored backup');
    changed(deviceId, 'unknown_release');
  }

  return {
    /** Devices that the selector matches and that may connect, sorted by id. */
    async matching(selector: Selector): Promise<Candidate[]> {
      const rows = await store.devices(database.read, {});
      return rows.filter((row) => matches(selector, row.labels)).map(toCandidate);
    },

    /** @throws AppError `not_found` */
    device,

    list: (query: DeviceList) => listDevices(listing, query),

    /** What devices say of versions in telemetry and samples, and which of it counts. */
    claims: createClaims({ store: claimStore, numbers, now, log }),

    /** How many devices run a release that is not registered. */
    strangers: (): Promise<number> => claimStore.countUnknownDevices(database.read),

    /** Replaces the labels of a device. */
    async relabel(actor: string, id: string, labels: Labels): Promise<Device> {
      await writeLabels(writing, { actor, id, labels });
      const relabelled = await device(id);
      changed(id, relabelled.status);
      return relabelled;
    },

    /** Sets or, with null, ends what the device should run of `model`. `publishDesired` tells it, after the commit. */
    assign: (tx: Transaction, deviceId: string, model: string, desired: Assignment | null): Promise<void> =>
      writeDesired(writing, tx, { deviceId, model, desired }),

    /** What each of the devices should run of `model`; those that should not run it are absent. */
    async desiredOf(reader: Reader, deviceIds: readonly string[], model: string): Promise<Map<string, Assignment>> {
      const rows = await store.desiredRows(reader, deviceIds, model);
      return new Map(rows.map((row) => [row.deviceId, pick(row)]));
    },

    /** Everything a device should run, by model. */
    async desiredModels(deviceId: string): Promise<Map<string, Assignment>> {
      const rows = await store.desiredRows(database.read, [deviceId]);
      return new Map(rows.map((row) => [row.model, pick(row)]));
    },

    /** How many devices should run each version of `model`. */
    deployed: (model: string): Promise<Map<number, number>> => store.countDesired(database.read, model),

    /** Tells devices what they should run, as a retained message. Repeatable; the last word is always the newest state. */
    publishDesired: (deviceIds: readonly string[]): Promise<void> => publisher.publish(deviceIds),

    /** The same for every device: retained messages do not outlive the broker. */
    async publishAllDesired(): Promise<void> {
      const rows = await store.devices(database.read, {});
      await publisher.publish(rows.map((row) => row.id));
    },

    /** Stores what a device says it runs. */
    async onReported(deviceId: string, reported: Reported): Promise<void> {
      const written = await writeReported(writing, deviceId, reported);
      if (written === undefined) {
        log.warn({ deviceId }, 'a report of an unknown or removed device was ignored');
        return;
      }
      changed(deviceId, written.status);
      if (written.unknown !== undefined) tellUnknown(deviceId, written.unknown);
    },

    /** Stores whether a device is there. A last will counts only for the session that left it. */
    async onPresence(deviceId: string, presence: Presence): Promise<void> {
      await forgetFormer();
      if (await writePresence(writing, deviceId, presence)) changed(deviceId, presence.status);
    },

    online: (): Promise<number> => store.countByStatus(database.read, 'online'),

    /** Forgets who was connected before this process began, as soon as that can be written down. */
    async start(): Promise<void> {
      former = true;
      try {
        await forgetFormer();
      } catch (error) {
        if (!isStorageFailure(error)) throw error;
        void database
          .writable()
          .then(forgetFormer)
          .catch((err: unknown) => {
            log.warn({ err }, 'devices of the former start may still count as online until one speaks');
          });
      }
    },
  };

  /** Before the first word about who is connected now. */
  async function forgetFormer(): Promise<void> {
    if (!former) return;
    await database.transact((tx) => store.allOffline(tx));
    former = false;
  }
}

interface Listing {
  store: FleetStore;
  claimStore: ClaimStore;
  reader: Reader;
  now: () => number;
}

export interface DeviceList {
  selector: Selector;
  status?: DeviceStatus | undefined;
  /** Those that were removed, instead of the fleet. */
  removed?: boolean;
  limit: number;
  cursor?: string | undefined;
}

const Cursor = z.string();

/** Reads on until the page is full: the selector is matched here, not in SQL. */
async function listDevices(listing: Listing, query: DeviceList): Promise<Page<Device>> {
  const { store, reader } = listing;
  const found: DeviceRow[] = [];
  const batch = query.selector.length === 0 ? query.limit + 1 : 1000;
  let afterId = decodeCursor(Cursor, query.cursor);
  for (;;) {
    const { status, removed = false } = query;
    const rows = await store.devices(reader, { afterId, status, removed, limit: batch });
    found.push(...rows.filter((row) => matches(query.selector, row.labels)));
    afterId = rows.at(-1)?.id;
    if (found.length > query.limit || rows.length < batch) break;
  }
  const page = found.slice(0, query.limit);
  const ids = page.map((row) => row.id);
  const besideOf = await besides(listing, ids, await store.desiredRows(reader, ids));
  const items = page.map((row) => toDevice(row, besideOf(row.id)));
  const last = items.at(-1);
  return found.length > query.limit && last !== undefined ? { items, nextCursor: encodeCursor(last.id) } : { items };
}

/** What is known of devices beside their rows, by id. */
async function besides(
  { claimStore, reader, now }: Listing,
  ids: readonly string[],
  desired: readonly DesiredRow[],
): Promise<(id: string) => Beside> {
  const of = <T extends { deviceId: string }>(rows: readonly T[]) => {
    const byDevice = new Map<string, T[]>();
    for (const row of rows) byDevice.set(row.deviceId, [...(byDevice.get(row.deviceId) ?? []), row]);
    return (id: string) => byDevice.get(id) ?? [];
  };
  const desiredOf = of(desired);
  const unknownOf = of(await claimStore.unknownOf(reader, ids));
  const disregardedOf = of(await claimStore.disregardedOf(reader, ids));
  return (id) => ({ desired: desiredOf(id), unknown: unknownOf(id), disregarded: disregardedOf(id), now: now() });
}

function toDesired({ generation, models }: { generation: number; models: DesiredRow[] }): Desired {
  return { generation, models: models.map((row) => ({ name: row.model, ...pick(row) })) };
}

function toCandidate({ id, labels, status, reported, lastSeenAt }: DeviceRow): Candidate {
  return { id, labels, status, reported, lastSeenAt };
}
