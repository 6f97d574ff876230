// All SQL of devices and of what they should run.

import { DeviceStatus } from '@edgeloop/shared/api/devices';
import { parse } from '@edgeloop/shared/errors';
import { DeviceFacts, Reported } from '@edgeloop/shared/messages';
import { Labels } from '@edgeloop/shared/selector';
import { and, asc, count, eq, gt, inArray, isNotNull, isNull, type SQL } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

type Row = Schema['devices']['$inferSelect'];

/** A device as stored, its JSON columns parsed. */
export type DeviceRow = ReturnType<typeof toDevice>;
export type DesiredRow = Schema['desiredModels']['$inferSelect'];
export type DeviceChange = Partial<Omit<Row, 'id'>>;
export type FleetStore = ReturnType<typeof createFleetStore>;

/** Ids in one `in (…)`; both engines bound the number of parameters. */
const chunk = 500;

export function createFleetStore(tables: Schema) {
  const { devices, desiredModels } = tables;
  return {
    async device(reader: Reader, id: string): Promise<DeviceRow | undefined> {
      const [row] = await reader.select().from(devices).where(eq(devices.id, id));
      return row === undefined ? undefined : toDevice(row);
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

    /** Sorted by id, beginning after `afterId`: those that may connect, or with `removed` those that were removed. */
    async devices(
      reader: Reader,
      query: { afterId?: string | undefined; status?: string | undefined; removed?: boolean; limit?: number },
    ): Promise<DeviceRow[]> {
      const conditions: SQL[] = [query.removed === true ? isNotNull(devices.revokedAt) : isNull(devices.revokedAt)];
      if (query.afterId !== undefined) conditions.push(gt(devices.id, query.afterId));
      if (query.status !== undefined) conditions.push(eq(devices.status, query.status));
      const found = reader
        .select()
        .from(devices)
        .where(and(...conditions))
        .orderBy(asc(devices.id));
      const rows = await (query.limit === undefined ? found : found.limit(query.limit));
      return rows.map(toDevice);
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

    async countByStatus(reader: Reader, status: DeviceStatus): Promise<number> {
      return reader.$count(devices, and(eq(devices.status, status), isNull(devices.revokedAt)));
    },

    async desiredRow(reader: Reader, deviceId: string, model: string): Promise<DesiredRow | undefined> {
      const [row] = await reader.select().from(desiredModels).where(isOf(deviceId, model));
      return row;
    },

    /** Sorted by device and model. */
    async desiredRows(reader: Reader, deviceIds: readonly string[], model?: string): Promise<DesiredRow[]> {
      const rows: DesiredRow[] = [];
      for (let i = 0; i < deviceIds.length; i += chunk) {
        const among = inArray(desiredModels.deviceId, deviceIds.slice(i, i + chunk));
        const part = await reader
          .select()
          .from(desiredModels)
          .where(model === undefined ? among : and(among, eq(desiredModels.model, model)))
          .orderBy(asc(desiredModels.deviceId), asc(desiredModels.model));
        rows.push(...part);
      }
      return rows;
    },

    /** Devices by version. */
    async countDesired(reader: Reader, model: string): Promise<Map<number, number>> {
      const rows = await reader
        .select({ version: desiredModels.version, devices: count() })
        .from(desiredModels)
        .where(eq(desiredModels.model, model))
        .groupBy(desiredModels.version);
      return new Map(rows.map(({ version, devices: each }) => [version, each]));
    },

    /** Generation and models of each device in one statement, so that they belong together. */
    async desiredStates(
      reader: Reader,
      deviceIds: readonly string[],
    ): Promise<Map<string, { generation: number; models: DesiredRow[] }>> {
      const states = new Map<string, { generation: number; models: DesiredRow[] }>();
      for (let i = 0; i < deviceIds.length; i += chunk) {
        const rows = await reader
          .select({ id: devices.id, generation: devices.desiredGeneration, desired: desiredModels })
          .from(devices)
          .leftJoin(desiredModels, eq(desiredModels.deviceId, devices.id))
          .where(and(inArray(devices.id, deviceIds.slice(i, i + chunk)), isNull(devices.revokedAt)))
          .orderBy(asc(devices.id), asc(desiredModels.model));
        for (const { id, generation, desired } of rows) {
          const state = states.get(id) ?? { generation, models: [] };
          if (desired !== null) state.models.push(desired);
          states.set(id, state);
        }
      }
      return states;
    },

    async upsertDesired(tx: Transaction, row: DesiredRow): Promise<void> {
      const { deviceId: _device, model: _model, ...set } = row;
      await tx
        .insert(desiredModels)
        .values(row)
        .onConflictDoUpdate({ target: [desiredModels.deviceId, desiredModels.model], set });
    },

    async deleteDesired(tx: Transaction, deviceId: string, model?: string): Promise<void> {
      await tx
        .delete(desiredModels)
        .where(model === undefined ? eq(desiredModels.deviceId, deviceId) : isOf(deviceId, model));
    },
  };

  function isOf(deviceId: string, model: string) {
    return and(eq(desiredModels.deviceId, deviceId), eq(desiredModels.model, model));
  }
}

function toDevice(row: Row) {
  const what = `device ${row.id}`;
  return {
    ...row,
    labels: parse(Labels, row.labels, `${what}: labels`, 'internal'),
    status: parse(DeviceStatus, row.status, `${what}: status`, 'internal'),
    reported: parse(Reported.nullable(), row.reported, `${what}: reported`, 'internal'),
    facts: parse(DeviceFacts.nullable(), row.facts, `${what}: facts`, 'internal'),
  };
}
