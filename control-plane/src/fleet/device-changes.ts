// What is written of one device while it is in the fleet: its labels, what it should run, what it says of itself.
import type { DeviceStatus } from '@edgeloop/shared/api/devices';
import { AppError } from '@edgeloop/shared/errors';
import type { DesiredModel, Presence, Reported } from '@edgeloop/shared/messages';
import type { Labels } from '@edgeloop/shared/selector';
import { recordAudit } from '../access/audit.ts';
import type { Database, Reader, Transaction } from '../database/open.ts';
import type { ClaimStore } from './claim-store.ts';
import { type VersionNumbers, versionKey } from './claims.ts';
import type { DesiredRow, DeviceRow, FleetStore } from './fleet-store.ts';
import { type NamedRelease, namedReleases, unknownAmong } from './unknown-releases.ts';

/** What a device should run of one model, and on whose word. */
export type Assignment = Omit<DesiredModel, 'name'>;

export interface Writing {
  database: Database;
  now: () => number;
  store: FleetStore;
}

/** What writing of versions takes beside. */
export interface VersionWriting extends Writing {
  claimStore: ClaimStore;
  numbers: VersionNumbers;
}

export async function writeLabels(
  { database, store, now }: Writing,
  { actor, id, labels }: { actor: string; id: string; labels: Labels },
): Promise<void> {
  await database.transact(async (tx) => {
    const before = await current(store, tx, id);
    await store.update(tx, id, { labels });
    await recordAudit(database.tables, tx, {
      at: now(),
      actor,
      action: 'device.label',
      subject: `device/${id}`,
      before: { labels: before.labels },
      after: { labels },
    });
  });
}

/** Each change makes a new generation, so that a device and we agree on which one it has. */
export async function writeDesired(
  { store, claimStore, now }: VersionWriting,
  tx: Transaction,
  { deviceId, model, desired }: { deviceId: string; model: string; desired: Assignment | null },
): Promise<void> {
  const { desiredGeneration } = await known(store, tx, deviceId);
  const before = await store.desiredRow(tx, deviceId, model);
  if (desired === null ? before === undefined : before !== undefined && isSame(before, desired)) return;
  if (desired === null) await store.deleteDesired(tx, deviceId, model);
  else {
    await store.upsertDesired(tx, { deviceId, model, ...pick(desired), attempt: null, since: now() });
    await claimStore.remember(tx, { deviceId, model, version: desired.version });
  }
  await store.update(tx, deviceId, { desiredGeneration: desiredGeneration + 1 });
}

export interface Written {
  status: DeviceStatus;
  /** What the device runs unknown to the registry, when that is other than before. */
  unknown: NamedRelease[] | undefined;
}

/** Undefined for a device that may not report. */
export async function writeReported(
  writing: VersionWriting,
  deviceId: string,
  reported: Reported,
): Promise<Written | undefined> {
  const { database, store, now } = writing;
  return database.transact(async (tx) => {
    const row = await connectable(store, tx, deviceId);
    if (row === undefined) return undefined;
    const at = now();
    await store.update(tx, deviceId, { reported, facts: reported.facts, reportedAt: at, lastSeenAt: at });
    return { status: row.status, unknown: await writeUnknown(writing, tx, { deviceId, reported }) };
  });
}

async function writeUnknown(
  { claimStore, numbers }: VersionWriting,
  tx: Transaction,
  { deviceId, reported }: { deviceId: string; reported: Reported },
): Promise<NamedRelease[] | undefined> {
  const named = namedReleases(reported);
  const registered = await numbers.releases(tx, named);
  const unknown = unknownAmong(named, (each) => registered.get(versionKey(each)));
  const strange = named.filter((each) => !registered.has(versionKey(each)));
  if (strange.length > 0) await numbers.reserve(tx, strange);
  return (await claimStore.replaceUnknown(tx, deviceId, unknown)) ? unknown : undefined;
}

/** Whether it counts. */
export async function writePresence({ database, store, now }: Writing, deviceId: string, presence: Presence) {
  return database.transact(async (tx) => {
    const row = await connectable(store, tx, deviceId);
    if (row === undefined) return false;
    if (presence.status === 'offline' && row.session !== presence.session) return false;
    await store.update(tx, deviceId, { status: presence.status, session: presence.session, lastSeenAt: now() });
    return true;
  });
}

/** @throws AppError `not_found` */
export async function known(store: FleetStore, reader: Reader, id: string): Promise<DeviceRow> {
  const row = await store.device(reader, id);
  if (row === undefined) throw new AppError('not_found', `there is no device "${id}"`);
  return row;
}

/** @throws AppError `not_found`, `conflict` when it was removed */
export async function current(store: FleetStore, reader: Reader, id: string): Promise<DeviceRow> {
  const row = await known(store, reader, id);
  if (row.revokedAt !== null) throw new AppError('conflict', `device "${id}" ${removal(row)}`);
  return row;
}

/** What to say of a device that was removed, and what is to be done. */
export function removal({ id, revokedAt, readmittedAt }: Pick<DeviceRow, 'id' | 'revokedAt' | 'readmittedAt'>): string {
  const when = `was removed from the fleet on ${new Date(revokedAt ?? 0).toISOString()}`;
  return readmittedAt === null
    ? `${when}; an operator readmits it with: edgeloop devices readmit ${id}`
    : `${when} and readmitted; it is back when it has joined with a token: edgeloop join-tokens create`;
}

async function connectable(store: FleetStore, reader: Reader, id: string): Promise<DeviceRow | undefined> {
  const row = await store.device(reader, id);
  return row === undefined || row.revokedAt !== null ? undefined : row;
}

function isSame(row: DesiredRow, desired: Assignment): boolean {
  const { version, release, signature, rolloutId } = desired;
  return (
    row.version === version && row.release === release && row.signature === signature && row.rolloutId === rolloutId
  );
}

export function pick({ version, release, signature, rolloutId }: Assignment): Assignment {
  return { version, release, signature, rolloutId };
}
