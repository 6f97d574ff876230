// What is written of one device while it is in the fleet: its labels, what it should run, what it says of itself.
import { isDeepStrictEqual } from 'node:util';
import { AppError } from '@edgeloop/shared/errors';
import { ActivationTerms, Beside, type DesiredModel } from '@edgeloop/shared/messages';
import type { Labels } from '@edgeloop/shared/selector';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Database, Reader, Transaction } from '../database/open.ts';
import type { ClaimStore } from './claim-store.ts';
import type { VersionNumbers } from './claims.ts';
import type { DesiredRow, DeviceRow, FleetStore } from './fleet-store.ts';

/** Which try of the rollout it is, from 1. */
const attempt = z.number().int().min(1).optional();

/** What a device should run beside its version of a model, and on whose word. */
export const BesideAssignment = Beside.extend({ attempt });
export type BesideAssignment = z.infer<typeof BesideAssignment>;

/** What a device should run of one model, and on whose word. `attempt`: which try of the rollout it is, from 1. */
export type Assignment = Omit<DesiredModel, 'name' | 'beside'> & {
  attempt?: number;
  beside?: BesideAssignment | undefined;
};

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
  {
    actor,
    id,
    labels,
    changed,
  }: { actor: string; id: string; labels: Labels; changed: (tx: Transaction, id: string) => void },
): Promise<void> {
  await database.transact(async (tx) => {
    const before = await current(store, tx, id);
    await store.update(tx, id, { labels });
    changed(tx, id);
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

/** Each change makes a new generation, so that a device and we agree on which one it has. Gives the devices it is news for. */
export async function writeDesired(
  { store, claimStore, now }: VersionWriting,
  tx: Transaction,
  { devices, model, desired }: { devices: readonly Told[]; model: string; desired: Assignment | null },
): Promise<string[]> {
  const ids = devices.map(({ id }) => id);
  const before = new Map((await store.desiredRows(tx, ids, model)).map((row) => [row.deviceId, row]));
  const changed = devices.filter(({ id }) => {
    const row = before.get(id);
    return desired === null ? row !== undefined : row === undefined || !isSame(row, desired);
  });
  const changedIds = changed.map(({ id }) => id);
  if (desired === null) await store.deleteDesired(tx, changedIds, model);
  else {
    const { version, release, signature, rolloutId, attempt = null } = desired;
    const terms = termsOf(desired);
    // What ran beside the former version has nothing to do with this one.
    const row = { model, version, release, signature, rolloutId, attempt, terms, beside: null, since: now() };
    await store.upsertDesired(tx, changedIds, row);
    await claimStore.remember(tx, changedIds, { model, version: desired.version });
  }
  await nextGenerations(store, tx, changed);
  return changedIds;
}

/** The same of what devices should run beside their version; who has none runs nothing beside it. */
export async function writeBeside(
  { store, claimStore }: VersionWriting,
  tx: Transaction,
  { devices, model, beside }: { devices: readonly Told[]; model: string; beside: BesideAssignment | null },
): Promise<string[]> {
  const ids = devices.map(({ id }) => id);
  const before = new Map((await store.desiredRows(tx, ids, model)).map((row) => [row.deviceId, row]));
  const changed = devices.filter(({ id }) => {
    const row = before.get(id);
    return row !== undefined && !isDeepStrictEqual(row.beside, beside);
  });
  const changedIds = changed.map(({ id }) => id);
  await store.setBeside(tx, changedIds, { model, beside });
  if (beside !== null) await claimStore.remember(tx, changedIds, { model, version: beside.version });
  await nextGenerations(store, tx, changed);
  return changedIds;
}

async function nextGenerations(store: FleetStore, tx: Transaction, devices: readonly Told[]): Promise<void> {
  for (const told of [true, false]) {
    const alike = devices.filter((device) => device.told === told).map(({ id }) => id);
    await store.nextGeneration(tx, alike, told);
  }
}

/** `told`: it is told at once, and not only when it has spoken. */
export interface Told {
  id: string;
  told: boolean;
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

function isSame(row: DesiredRow, desired: Assignment): boolean {
  const { version, release, signature, rolloutId, attempt = 1 } = desired;
  const same = row.version === version && row.release === release && row.signature === signature;
  const asked = row.rolloutId === rolloutId && (row.attempt ?? 1) === attempt;
  return same && asked && row.beside === null && isDeepStrictEqual(row.terms, termsOf(desired));
}

/** As they are stored: null for none. */
function termsOf(desired: Assignment): unknown {
  const terms = Object.entries(ActivationTerms.parse(desired)).filter(([, value]) => value !== undefined);
  return terms.length === 0 ? null : Object.fromEntries(terms);
}

/** A version together with its bytes. */
export function versionKeyOf({ model, version, release }: { model: string; version: number; release: string }): string {
  return `${model} ${version} ${release}`;
}
