// The fleet as the control plane knows it: who its devices are, what they should run, and what they say they run.
import type { Device, DeviceStatus } from '@edgeloop/shared/api/devices';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page } from '@edgeloop/shared/api/paging';
import type { ClockReading } from '@edgeloop/shared/clock';
import { clockWords, isClockOff } from '@edgeloop/shared/clock';
import { AppError } from '@edgeloop/shared/errors';
import type { Desired, IdentityConflict, Presence, Reported } from '@edgeloop/shared/messages';
import { createBreath } from '@edgeloop/shared/node/breath';
import { type Labels, matches, type Selector } from '@edgeloop/shared/selector';
import type { Channel } from '@edgeloop/shared/topics';
import type { Logger } from 'pino';
import { z } from 'zod';
import { afterCommit, type Database, type Reader, type Transaction } from '../database/open.ts';
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
import { type Resolution, writeResolution } from './conflicts.ts';
import {
  type Assignment,
  type BesideAssignment,
  known,
  type Told,
  type VersionWriting,
  writeBeside,
  writeDesired,
  writeLabels,
} from './device-changes.ts';
import { type Beside, toDevice } from './device-view.ts';
import { createDeviceWords } from './device-words.ts';
import { createFleetStore, type DesiredRow, type DeviceRow, type FleetStore, toAssignment } from './fleet-store.ts';
import { createFleetView, type FleetChange, type ViewedDevice } from './fleet-view.ts';
import { conflictOf } from './instances.ts';
import { createPublisher, Untold } from './publisher.ts';
import type { NamedRelease } from './unknown-releases.ts';

export type { Assignment, BesideAssignment, Claim, Claims, Disregarded, Verdict };

/** A device that may connect. */
export type Candidate = ViewedDevice;
export type { FleetChange };
export { Untold };

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
  const view = createFleetView({ store, reader: database.read });
  const words = createDeviceWords({ ...writing, view });
  /** Devices that have spoken since this process began: what they were told before is known. */
  const heard = new Set<string>();
  const publisher = createPublisher(async (deviceIds) => {
    const devices = await view.all();
    const breathe = createBreath();
    const refused = new Map<string, unknown>();
    for (const id of deviceIds) {
      const device = devices.get(id);
      if (device === undefined || !mayBeTold(device)) continue;
      try {
        await publish(id, 'desired', seal(id, toDesired(device)), { retain: true });
      } catch (error) {
        refused.set(id, error);
      }
      await breathe();
    }
    if (refused.size > 0) throw new Untold(refused);
  });
  /** Whether devices of the former process may still count as connected. */
  let former = false;
  const changed = (id: string, state: string) => notify({ type: 'device', id, state });

  async function device(id: string): Promise<Device> {
    const row = await known(store, database.read, id);
    const besideOf = await besides(listing, [id], await store.desiredRows(database.read, [id]));
    return toDevice(row, besideOf(id));
  }

  /**
   * A server that was restored from a backup does not know what it told a device after that. So it tells nothing new to a
   * device that has not spoken since, and nothing at all to one that is ahead.
   */
  function mayBeTold(device: ViewedDevice): boolean {
    if (device.conflictSince !== null) return false;
    return mayHearNews(device) || device.publishedGeneration === device.desiredGeneration;
  }

  function mayHearNews({ id, reported, conflictSince }: ViewedDevice): boolean {
    return conflictSince === null && (heard.has(id) || reported === null);
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
      const found = [...(await view.all()).values()].filter(({ labels }) => matches(selector, labels));
      return found.sort((a, b) => (a.id < b.id ? -1 : 1));
    },

    /** All devices that may connect, by id, in no order. */
    devices: (): Promise<ReadonlyMap<string, Candidate>> => view.all(),

    /** Calls `listener` after each commit with the devices that it was about. */
    listen: view.listen,

    /** @throws AppError `not_found` */
    device,

    list: (query: DeviceList) => listDevices(listing, query),

    /** What devices say of versions in telemetry and samples, and which of it counts. */
    claims: createClaims({ store: claimStore, numbers, now, log }),

    /** How many devices run a release that is not registered. */
    strangers: (): Promise<number> => claimStore.countUnknownDevices(database.read),

    /** Replaces the labels of a device. */
    async relabel(actor: string, id: string, labels: Labels): Promise<Device> {
      await writeLabels(writing, { actor, id, labels, changed: (tx) => afterCommit(tx, () => view.outdate([id])) });
      const relabelled = await device(id);
      changed(id, relabelled.status);
      return relabelled;
    },

    /**
     * Sets or, with null, ends what devices should run of `model`. `publishDesired` tells them, after the commit. Devices
     * that are ahead of this server should not be among them.
     */
    async assign(
      tx: Transaction,
      deviceIds: readonly string[],
      model: string,
      desired: Assignment | null,
    ): Promise<void> {
      const devices = await toBeTold(deviceIds);
      const changedIds = await writeDesired(writing, tx, { devices, model, desired });
      await putAfterCommit(tx, { devices, changedIds, model, change: () => desired });
    },

    /**
     * Sets or, with null, ends what devices should run of `model` beside their version; devices without one run nothing. It ends
     * with the version that it is beside. As `assign`.
     */
    async runBeside(
      tx: Transaction,
      deviceIds: readonly string[],
      model: string,
      beside: BesideAssignment | null,
    ): Promise<void> {
      const devices = await toBeTold(deviceIds);
      const changedIds = await writeBeside(writing, tx, { devices, model, beside });
      const change = (former: Assignment | undefined) => (former ? { ...former, beside: beside ?? undefined } : null);
      await putAfterCommit(tx, { devices, changedIds, model, change });
    },

    /**
     * Decides what becomes of a device that is ahead of this server, or of all those that the selector matches.
     * @throws AppError `not_found`; `conflict` when the device is not conflicting
     */
    async resolve(
      actor: string,
      asked: { id: string } | { selector: Selector },
      decision: Resolution,
    ): Promise<string[]> {
      const devices = await conflicting(asked);
      await writeResolution({ ...writing, view }, { actor, devices, decision });
      const ids = devices.map(({ id }) => id);
      for (const id of ids) heard.add(id);
      await publisher.publish(ids);
      for (const id of ids) changed(id, `resolved_${decision}`);
      return ids;
    },

    /** What each of the devices should run of `model`; those that should not run it are absent. */
    async desiredOf(reader: Reader, deviceIds: readonly string[], model: string): Promise<Map<string, Assignment>> {
      const rows = await store.desiredRows(reader, deviceIds, model);
      return new Map(rows.map((row) => [row.deviceId, toAssignment(row)]));
    },

    /** Everything a device should run, by model. */
    async desiredModels(deviceId: string): Promise<Map<string, Assignment>> {
      const rows = await store.desiredRows(database.read, [deviceId]);
      return new Map(rows.map((row) => [row.model, toAssignment(row)]));
    },

    /** How many devices should run each version of `model`. */
    deployed: (model: string): Promise<Map<number, number>> => store.countDesired(database.read, model),

    /**
     * Tells devices what they should run, as a retained message. Repeatable; the last word is always the newest state.
     * @throws Untold naming those that could not be told; all others were
     */
    publishDesired: (deviceIds: readonly string[]): Promise<void> => publisher.publish(deviceIds),

    /** The same for every device: retained messages do not outlive the broker. */
    async publishAllDesired(): Promise<void> {
      await publisher.publish([...(await view.all()).keys()]);
    },

    /** A device has joined, or was removed: call it after the commit. */
    cameOrWent: (deviceId: string): void => view.outdate([deviceId]),

    /** Stores what a device says it runs. */
    async onReported(deviceId: string, reported: Reported): Promise<void> {
      const {
        counts,
        former: before,
        device: spoke,
        unknown,
        tell,
      } = await words.say({ deviceId, kind: 'reported', reported });
      if (!counts || spoke === undefined) {
        log.warn({ deviceId }, 'a report of an unknown or removed device was ignored');
        return;
      }
      heard.add(deviceId);
      changed(deviceId, spoke.status);
      tellClock(deviceId, before?.reported?.clock, reported.clock);
      if (unknown !== undefined) tellUnknown(deviceId, unknown);
      if (tell) await publisher.publish([deviceId]);
    },

    /** Stores whether a device is there. A last will counts only for the session that left it. */
    async onPresence(deviceId: string, presence: Presence): Promise<void> {
      if (former) await forgetFormer();
      const { counts, former: before, device: spoke } = await words.say({ deviceId, kind: 'presence', presence });
      if (!counts) return;
      changed(deviceId, presence.status);
      const conflict = conflictOf(spoke?.instances ?? null, now());
      if (conflict === null || conflictOf(before?.instances ?? null, now()) !== null) return;
      log.warn({ deviceId, ...conflict }, 'two devices use one identity, as after copying a card');
      changed(deviceId, 'identity_conflict');
    },

    online: (): Promise<number> => countDevices(({ status }) => status === 'online'),

    /** Whether two devices use this identity. */
    identityConflict: twinsOf,

    /** Identities that two devices use. */
    identityConflicts: (): Promise<number> => countDevices(({ instances }) => conflictOf(instances, now()) !== null),

    /** Devices whose clock is off by more than the bound. */
    clocksOff: (): Promise<number> => countDevices(({ reported }) => hasWrongClock(reported?.clock)),

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

  async function countDevices(counts: (device: ViewedDevice) => boolean): Promise<number> {
    let sum = 0;
    for (const device of (await view.all()).values()) if (counts(device)) sum += 1;
    return sum;
  }

  async function twinsOf(deviceId: string): Promise<IdentityConflict | null> {
    return conflictOf((await view.all()).get(deviceId)?.instances ?? null, now());
  }

  /** Told when it goes wrong and when it is right again. */
  function tellClock(deviceId: string, before: Reported['clock'], clock: Reported['clock']): void {
    if (clock === undefined || hasWrongClock(before) === hasWrongClock(clock)) return;
    const { offsetMs } = clock;
    if (hasWrongClock(clock)) log.warn({ deviceId, offsetMs }, `the clock of a device is ${clockWords(offsetMs)}`);
    else log.info({ deviceId, offsetMs }, 'the clock of a device is right again');
    changed(deviceId, hasWrongClock(clock) ? 'clock_off' : 'clock_right');
  }

  async function toBeTold(deviceIds: readonly string[]): Promise<Told[]> {
    const known = await view.all();
    return deviceIds.map((id) => {
      const device = known.get(id);
      return { id, told: device === undefined || mayHearNews(device) };
    });
  }

  async function putAfterCommit(
    tx: Transaction,
    {
      devices,
      changedIds,
      model,
      change,
    }: Pick<Assigned, 'model' | 'change'> & { devices: Told[]; changedIds: string[] },
  ): Promise<void> {
    const known = await view.all();
    const changed = new Set(changedIds);
    const told = devices.filter(({ id }) => changed.has(id));
    afterCommit(tx, () => {
      view.put(
        told.flatMap((each) => assigned(known.get(each.id), { ...each, model, change })),
        'changed',
      );
    });
  }

  async function conflicting(asked: { id: string } | { selector: Selector }): Promise<ViewedDevice[]> {
    const devices = await view.all();
    if ('selector' in asked)
      return [...devices.values()].filter(
        ({ labels, conflictSince }) => conflictSince !== null && matches(asked.selector, labels),
      );
    const found = devices.get(asked.id);
    if (found === undefined) throw new AppError('not_found', `there is no device "${asked.id}"`);
    return [found];
  }

  /** Before the first word about who is connected now. */
  async function forgetFormer(): Promise<void> {
    if (!former) return;
    await database.transact(async (tx) => {
      await store.allOffline(tx);
      afterCommit(tx, () => view.outdateAll());
    });
    former = false;
  }
}

const hasWrongClock = (clock: ClockReading | undefined) => clock !== undefined && isClockOff(clock);

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

/** As a device is told it: another try of a rollout is another word, since no device tries one twice. */
function toDesired({ desiredGeneration, desired }: ViewedDevice): Desired {
  const models = [...desired].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    generation: desiredGeneration,
    models: models.map(([name, { beside, ...own }]) => ({
      ...{ name, ...asTold(own) },
      ...(beside === undefined ? {} : { beside: asTold(beside) }),
    })),
  };
}

function asTold<T extends { rolloutId: string; attempt?: number | undefined }>({ attempt = 1, ...rest }: T) {
  return { ...rest, rolloutId: attempt > 1 ? `${rest.rolloutId}.${attempt}` : rest.rolloutId };
}

interface Assigned {
  told: boolean;
  model: string;
  change: (former: Assignment | undefined) => Assignment | null;
}

function assigned(device: ViewedDevice | undefined, { told, model, change }: Assigned): ViewedDevice[] {
  if (device === undefined) return [];
  const desired = new Map(device.desired);
  const to = change(desired.get(model));
  if (to === null) desired.delete(model);
  else desired.set(model, to);
  const desiredGeneration = device.desiredGeneration + 1;
  const publishedGeneration = told ? desiredGeneration : device.publishedGeneration;
  return [{ ...device, desired, desiredGeneration, publishedGeneration }];
}
