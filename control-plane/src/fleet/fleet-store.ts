// All SQL of devices and of what they should run.

import { DeviceStatus } from '@edgeloop/shared/api/devices';
import { parse } from '@edgeloop/shared/errors';
import { ActivationTerms, DeviceFacts, Reported } from '@edgeloop/shared/messages';
import { Labels } from '@edgeloop/shared/selector';
import { and, asc, count, eq, gt, inArray, isNotNull, isNull, type SQL, sql } from 'drizzle-orm';
import { inChunks, readChunks } from '../database/chunks.ts';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { type Assignment, BesideAssignment } from './device-changes.ts';
import { Instances } from './instances.ts';

type Row = Schema['devices']['$inferSelect'];

/** A device as stored, its JSON columns parsed. */
export type DeviceRow = ReturnType<typeof toDevice>;
export type DesiredRow = Schema['desiredModels']['$inferSelect'];
type Access = Pick<Row, 'revokedAt' | 'certificateSerial' | 'previousSerial'>;
export type DeviceChange = Partial<Omit<Row, 'id'>>;
export type FleetStore = ReturnType<typeof createFleetStore>;

export interface DeviceQuery {
  afterId?: string | undefined;
  status?: string | undefined;
  removed?: boolean | undefined;
  limit?: number | undefined;
}

export function createFleetStore(tables: Schema) {
  const { devices, desiredModels } = tables;

  async function devicesOf(
    reader: Reader,
    { ids, afterId, status, removed, limit }: DeviceQuery & { ids?: readonly string[] },
  ): Promise<DeviceRow[]> {
    const conditions: SQL[] = [removed === true ? isNotNull(devices.revokedAt) : isNull(devices.revokedAt)];
    if (ids !== undefined) conditions.push(inArray(devices.id, [...ids]));
    if (afterId !== undefined) conditions.push(gt(devices.id, afterId));
    if (status !== undefined) conditions.push(eq(devices.status, status));
    const found = reader
      .select()
      .from(devices)
      .where(and(...conditions))
      .orderBy(asc(devices.id));
    const rows = await (limit === undefined ? found : found.limit(limit));
    return rows.map(toDevice);
  }

  return {
    async device(reader: Reader, id: string): Promise<DeviceRow | undefined> {
      const [row] = await reader.select().from(devices).where(eq(devices.id, id));
      return row === undefined ? undefined : toDevice(row);
    },

    /** By which certificates a device may connect: it is asked at each connection. */
    async access(reader: Reader, id: string): Promise<Access | undefined> {
      const { revokedAt, certificateSerial, previousSerial } = devices;
      const [row] = await reader
        .select({ revokedAt, certificateSerial, previousSerial })
        .from(devices)
        .where(eq(devices.id, id));
      return row;
    },

    /** The device that was removed with this key and not readmitted, whatever id it had. */
    async barredByKey(reader: Reader, keyDigest: string): Promise<DeviceRow | undefined> {
      const barred = and(isNotNull(devices.revokedAt), isNull(devices.readmittedAt));
      const [row] = await reader
        .select()
        .from(devices)
        .where(and(eq(devices.keyDigest, keyDigest), barred))
        .orderBy(asc(devices.id))
        .limit(1);
      return row === undefined ? undefined : toDevice(row);
    },

    /**
     * Sorted by id, beginning after `afterId`: those that may connect, or with `removed` those that were removed. `ids`: only
     * these.
     */
    async devices(reader: Reader, { ids, ...query }: DeviceQuery & { ids?: readonly string[] }): Promise<DeviceRow[]> {
      if (ids === undefined) return devicesOf(reader, query);
      return readChunks(ids, (part) => devicesOf(reader, { ...query, ids: part }));
    },

    async insert(tx: Transaction, row: Row): Promise<void> {
      await tx.insert(devices).values(row);
    },

    async update(tx: Transaction, id: string, change: DeviceChange): Promise<void> {
      await tx.update(devices).set(change).where(eq(devices.id, id));
    },

    /** Nobody is connected to a server that has just started. */
    async allOffline(tx: Transaction): Promise<void> {
      await tx.update(devices).set({ status: 'offline', session: null }).where(eq(devices.status, 'online'));
    },

    /** Sorted by device and model. */
    desiredRows: (reader: Reader, deviceIds: readonly string[], model?: string): Promise<DesiredRow[]> =>
      readChunks(deviceIds, async (part) => {
        const among = inArray(desiredModels.deviceId, part);
        return reader
          .select()
          .from(desiredModels)
          .where(model === undefined ? among : and(among, eq(desiredModels.model, model)))
          .orderBy(asc(desiredModels.deviceId), asc(desiredModels.model));
      }),

    /** Devices by version. */
    async countDesired(reader: Reader, model: string): Promise<Map<number, number>> {
      const rows = await reader
        .select({ version: desiredModels.version, devices: count() })
        .from(desiredModels)
        .where(eq(desiredModels.model, model))
        .groupBy(desiredModels.version);
      return new Map(rows.map(({ version, devices: each }) => [version, each]));
    },

    /** Sets what devices should run of a model. */
    async upsertDesired(
      tx: Transaction,
      deviceIds: readonly string[],
      row: Omit<DesiredRow, 'deviceId'>,
    ): Promise<void> {
      const { model: _model, ...set } = row;
      await inChunks(deviceIds, (part) =>
        tx
          .insert(desiredModels)
          .values(part.map((deviceId) => ({ deviceId, ...row })))
          .onConflictDoUpdate({ target: [desiredModels.deviceId, desiredModels.model], set }),
      );
    },

    /** Sets what devices should run beside their version of a model. */
    async setBeside(
      tx: Transaction,
      deviceIds: readonly string[],
      { model, beside }: { model: string; beside: BesideAssignment | null },
    ): Promise<void> {
      await inChunks(deviceIds, (part) =>
        tx
          .update(desiredModels)
          .set({ beside })
          .where(and(inArray(desiredModels.deviceId, part), eq(desiredModels.model, model))),
      );
    },

    /** Each change makes a new generation. `told`: the devices will be told at once. */
    async nextGeneration(tx: Transaction, deviceIds: readonly string[], told: boolean): Promise<void> {
      const next = sql`${devices.desiredGeneration} + 1`;
      // Of rows of before, all generations were told.
      const former = sql`coalesce(${devices.publishedGeneration}, ${devices.desiredGeneration})`;
      await inChunks(deviceIds, (part) =>
        tx
          .update(devices)
          .set({ desiredGeneration: next, publishedGeneration: told ? next : former })
          .where(inArray(devices.id, part)),
      );
    },

    /** Of all models, or of one. */
    async deleteDesired(tx: Transaction, deviceIds: readonly string[], model?: string): Promise<void> {
      await inChunks(deviceIds, (part) => {
        const among = inArray(desiredModels.deviceId, part);
        return tx.delete(desiredModels).where(model === undefined ? among : and(among, eq(desiredModels.model, model)));
      });
    },
  };
}

export function toAssignment(row: DesiredRow): Assignment {
  const { deviceId, version, release, signature, rolloutId, attempt } = row;
  const terms = row.terms === null ? {} : parse(ActivationTerms, row.terms, `device ${deviceId}: terms`, 'internal');
  const beside =
    row.beside === null ? undefined : parse(BesideAssignment, row.beside, `device ${deviceId}: beside`, 'internal');
  const told = { version, release, signature, rolloutId, ...terms, ...(attempt === null ? {} : { attempt }) };
  return beside === undefined ? told : { ...told, beside };
}

function toDevice(row: Row) {
  const what = `device ${row.id}`;
  return {
    ...row,
    labels: parse(Labels, row.labels, `${what}: labels`, 'internal'),
    status: parse(DeviceStatus, row.status, `${what}: status`, 'internal'),
    reported: parse(Reported.nullable(), row.reported, `${what}: reported`, 'internal'),
    facts: parse(DeviceFacts.nullable(), row.facts, `${what}: facts`, 'internal'),
    instances: parse(Instances.nullable(), row.instances, `${what}: instances`, 'internal'),
  };
}
