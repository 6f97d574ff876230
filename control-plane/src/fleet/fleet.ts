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
import { decodeCursor, encodeCursor } from '../http/paging.ts';
import {
  type Assignment,
  known,
  pick,
  type Writing,
  writeDesired,
  writeLabels,
  writePresence,
  writeReported,
} from './device-changes.ts';
import { createFleetStore, type DesiredRow, type DeviceRow, type FleetStore } from './fleet-store.ts';
import { createPublisher } from './publisher.ts';

export type { Assignment };

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
  log: Logger;
}

export type Fleet = ReturnType<typeof createFleet>;

export function createFleet({ database, now, notify, publish, log }: FleetDeps) {
  const store = createFleetStore(database.tables);
  const writing: Writing = { database, store, now };
  const publisher = createPublisher(async (deviceIds) => {
    const states = await store.desiredStates(database.read, deviceIds);
    for (const [id, state] of states) await publish(id, 'desired', toDesired(state), { retain: true });
  });
  const changed = (id: string, state: string) => notify({ type: 'device', id, state });

  async function device(id: string): Promise<Device> {
    const row = await known(store, database.read, id);
    return toDevice(row, await store.desiredRows(database.read, [id]));
  }

  return {
    /** Devices that the selector matches and that may connect, sorted by id. */
    async matching(selector: Selector): Promise<Candidate[]> {
      const rows = await store.devices(database.read, {});
      return rows.filter((row) => matches(selector, row.labels)).map(toCandidate);
    },

    /** @throws AppError `not_found` */
    device,

    list: (query: DeviceList) => listDevices(store, database.read, query),

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
      const status = await writeReported(writing, deviceId, reported);
      if (status === undefined) log.warn({ deviceId }, 'a report of an unknown or removed device was ignored');
      else changed(deviceId, status);
    },

    /** Stores whether a device is there. A last will counts only for the session that left it. */
    async onPresence(deviceId: string, presence: Presence): Promise<void> {
      if (await writePresence(writing, deviceId, presence)) changed(deviceId, presence.status);
    },

    online: (): Promise<number> => store.countByStatus(database.read, 'online'),

    /** Forgets who was connected before this process began. */
    async start(): Promise<void> {
      await database.transact((tx) => store.allOffline(tx));
    },
  };
}

export interface DeviceList {
  selector: Selector;
  status?: DeviceStatus | undefined;
  limit: number;
  cursor?: string | undefined;
}

const Cursor = z.string();

/** Reads on until the page is full: the selector is matched here, not in SQL. */
async function listDevices(store: FleetStore, reader: Reader, query: DeviceList): Promise<Page<Device>> {
  const found: DeviceRow[] = [];
  const batch = query.selector.length === 0 ? query.limit + 1 : 1000;
  let afterId = decodeCursor(Cursor, query.cursor);
  for (;;) {
    const rows = await store.devices(reader, { afterId, status: query.status, limit: batch });
    found.push(...rows.filter((row) => matches(query.selector, row.labels)));
    afterId = rows.at(-1)?.id;
    if (found.length > query.limit || rows.length < batch) break;
  }
  const page = found.slice(0, query.limit);
  const ids = page.map((row) => row.id);
  const desired = await store.desiredStates(reader, ids);
  const items = page.map((row) => toDevice(row, desired.get(row.id)?.models ?? []));
  const last = items.at(-1);
  return found.length > query.limit && last !== undefined ? { items, nextCursor: encodeCursor(last.id) } : { items };
}

function toDesired({ generation, models }: { generation: number; models: DesiredRow[] }): Desired {
  return { generation, models: models.map((row) => ({ name: row.model, ...pick(row) })) };
}

function toCandidate({ id, labels, status, reported, lastSeenAt }: DeviceRow): Candidate {
  return { id, labels, status, reported, lastSeenAt };
}

function toDevice(row: DeviceRow, desired: DesiredRow[]): Device {
  return {
    id: row.id,
    labels: row.labels,
    status: row.status,
    lastSeenAt: row.lastSeenAt,
    enrolledAt: row.enrolledAt,
    revokedAt: row.revokedAt,
    facts: row.facts,
    desiredGeneration: row.desiredGeneration,
    reportedGeneration: row.reported?.generation ?? null,
    conflicting: row.reported !== null && row.reported.generation > row.desiredGeneration,
    desired: desired.map(({ model, version, rolloutId }) => ({ name: model, version, rolloutId })),
    models: row.reported?.models ?? [],
    outbox: row.reported?.outbox ?? null,
  };
}
