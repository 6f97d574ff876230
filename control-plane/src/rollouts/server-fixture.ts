// The control plane as far as rollouts go, on a real database, without ports, telemetry and a registry that takes uploads, for tests
// that bring the broker along. One value is one life; what lies in the folder is found again by the next one.
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { decodeJoinToken } from '@edgeloop/shared/join-token';
import type { EnrolRequest } from '@edgeloop/shared/messages';
import { sha256 } from '@edgeloop/shared/node/digests';
import type { Labels } from '@edgeloop/shared/selector';
import type { Channel } from '@edgeloop/shared/topics';
import { and, eq, isNotNull } from 'drizzle-orm';
import pino from 'pino';
import { type Authority, openAuthority } from '../access/authority.ts';
import { createJoinTokens } from '../access/join-tokens.ts';
import { createSeal } from '../access/release-keys.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import { createDeviceMessages } from '../composition/device-messages.ts';
import { openSqlite } from '../database/open.ts';
import { createEnrolment } from '../fleet/enrolment.ts';
import { createFleet } from '../fleet/fleet.ts';
import { createFleetStore } from '../fleet/fleet-store.ts';
import { createRegistry } from '../registry/registry.ts';
import { createRegistryStore } from '../registry/registry-store.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import type { FieldSource } from './field-gates.ts';
import { noBacktests } from './no-backtests-fixture.ts';
import { createRolloutStore } from './rollout-store.ts';
import { createRollouts } from './rollouts.ts';
import type { EvidenceSource } from './views.ts';

export interface ServerParts {
  folder: string;
  authority: Authority;
  publish(deviceId: string, channel: Channel, payload: string): Promise<void>;
  disconnect(deviceId: string): void;
  notify(event: Omit<ChangeEvent, 'at'>): void;
  evidence: EvidenceSource;
  field: FieldSource;
}

export interface RegisteredVersion {
  model: string;
  version: number;
  digest: string;
  release: string;
  signature: string;
}

export type SimulatedServer = ReturnType<typeof openServer>;

const log = pino({ level: process.env.EDGELOOP_SIMULATION_LOG ?? 'silent' });
const databaseName = 'control-plane.db';

/** Takes some real time: keys are made. */
export function openSimulatedAuthority(folder: string): Promise<Authority> {
  return openAuthority({ dataDir: folder, publicHosts: ['localhost'], now: Date.now });
}

export function openServer({ folder, authority, publish, disconnect, notify, evidence, field }: ServerParts) {
  const database = openSqlite(join(folder, databaseName));
  const { tables } = database;
  const now = () => Date.now();
  const common = { database, now, notify, log };
  const fleet = createFleet({
    ...common,
    numbers: createVersionNumbers(tables),
    seal: createSeal(authority.ring, now),
    publish: (deviceId, channel, payload) => publish(deviceId, channel, JSON.stringify(payload)),
  });
  const registry = createRegistry({
    ...common,
    blobs: createFolderBlobs(join(folder, 'blobs')),
    signRelease: authority.ring.signRelease,
    dataDir: folder,
  });
  const rollouts = createRollouts({
    ...common,
    ...{ fleet, registry, evidence, field },
    traffic: () => Promise.reject(new Error('nobody plans here')),
    backtests: noBacktests,
  });
  const joinTokens = createJoinTokens({
    database,
    now,
    reachable: () => ({ hosts: ['localhost'], port: 1, caDigest: '0'.repeat(64) }),
  });
  const enrolment = createEnrolment({
    // Real keys take real time, for which no virtual clock waits: a request for a certificate stands for its key.
    ...{ ...common, joinTokens },
    authority: {
      ...authority,
      issue: async (_, csr) => ({ certificate: '', serial: sha256(csr), keyDigest: sha256(csr) }),
    },
    mqtt: () => ({ hosts: ['localhost'], port: 1 }),
    joined: async (deviceId) => {
      fleet.cameOrWent(deviceId);
      void fleet.publishDesired([deviceId]);
    },
    removed: async (deviceId) => {
      disconnect(deviceId);
      fleet.cameOrWent(deviceId);
      await fleet.publishDesired([deviceId]);
      for (const channel of ['desired', 'reported', 'presence'] as const) await publish(deviceId, channel, '');
    },
  });
  const fleetStore = createFleetStore(tables);
  const rolloutStore = createRolloutStore(tables);
  const registryStore = createRegistryStore(tables);

  return {
    fleet,
    rollouts,
    enrolment,
    receive: createDeviceMessages({
      onReported: fleet.onReported,
      onPresence: fleet.onPresence,
      ingest: () => Promise.reject(new Error('nobody sends telemetry here')),
      accepts: [],
      malformed: ({ channel }) => {
        throw new Error(`a message on ${channel} was not understood`);
      },
      acknowledge: async () => undefined,
      answerClock: async () => undefined,
      writable: () => database.writable(),
      count: (channel, outcome) => {
        if (outcome !== 'handled') throw new Error(`a message on ${channel} is ${outcome}`);
      },
      log,
    }),

    /** As the composition starts it. */
    async start(): Promise<void> {
      await fleet.start();
      await fleet.publishAllDesired();
      await rollouts.start();
    },

    async register(versions: readonly RegisteredVersion[]): Promise<void> {
      await database.transact(async (tx) => {
        for (const name of new Set(versions.map(({ model }) => model)))
          await registryStore.insertModel(tx, { name, description: '', createdAt: 0 });
        for (const version of versions)
          await registryStore.insertVersion(tx, {
            ...version,
            ...{ sizeBytes: 1, io: { inputs: [], outputs: [] }, manifest: {}, variants: [], goldenSamples: 0 },
            ...{ lineage: { source: 'upload' }, metrics: {}, createdAt: 0, createdBy: 'key:test' },
          });
      });
    },

    /** As if they had joined, without keys. */
    async add(devices: readonly { id: string; labels: Labels }[]): Promise<void> {
      await database.transact(async (tx) => {
        for (const { id, labels } of devices)
          await fleetStore.insert(tx, {
            ...{ id, labels, enrolledAt: now(), revokedAt: null, readmittedAt: null, certificateSerial: '1' },
            ...{ previousSerial: null, keyDigest: null, status: 'never_connected', session: null, lastSeenAt: null },
            ...{ desiredGeneration: 0, publishedGeneration: 0, conflictSince: null, keptWord: null },
            ...{ reported: null, reportedAt: null, facts: null, instances: null },
          });
      });
      for (const { id } of devices) fleet.cameOrWent(id);
    },

    /** Joins anew after it was removed and readmitted; `csr` is any text. */
    async enrol(request: Omit<EnrolRequest, 'secret'>): Promise<void> {
      const { token } = await joinTokens.create('key:test', { labels: {}, uses: 1, expiresIn: 3600 });
      const { secret } = decodeJoinToken(token);
      await enrolment.enrol({ ...request, secret });
    },

    isIn: async (deviceId: string): Promise<boolean> => {
      const row = await fleetStore.device(database.read, deviceId);
      return row !== undefined && row.revokedAt === null;
    },

    /** A new key signs from now on; those before it are trusted still. */
    async renewKey(): Promise<void> {
      await authority.ring.renew();
      await fleet.publishAllDesired();
    },

    /** Only the key that signs is trusted from now on. */
    async retireKeys(): Promise<void> {
      for (const { id, signs } of authority.ring.keys()) if (!signs) await authority.ring.retire(id);
      await fleet.publishAllDesired();
    },

    /** All rollouts, the oldest first. */
    rolloutsByAge: (): Promise<Rollout[]> =>
      rolloutStore.inPhases(database.read, [
        ...(['awaiting_approval', 'running', 'paused', 'completed'] as const),
        ...(['cancelled', 'superseded', 'rolling_back', 'rolled_back'] as const),
      ]),

    waves: (rolloutId: string) => rolloutStore.waves(database.read, rolloutId),

    members: (rolloutId: string) => rolloutStore.members(database.read, rolloutId),

    /** Completed rollouts that have given their version to the device, the newest first. */
    async completedOn(deviceId: string, model: string): Promise<string[]> {
      const { rollouts: all, rolloutDevices } = tables;
      const given = and(eq(rolloutDevices.deviceId, deviceId), isNotNull(rolloutDevices.assignedAt));
      const rows = await database.read
        .select({ id: all.id })
        .from(all)
        .innerJoin(rolloutDevices, eq(rolloutDevices.rolloutId, all.id))
        .where(and(eq(all.model, model), eq(all.phase, 'completed'), given));
      return rows
        .map(({ id }) => id)
        .sort()
        .reverse();
    },

    /** Of devices that may connect: what was told at most. */
    async generations(): Promise<Map<string, number>> {
      const devices = await fleet.devices();
      return new Map([...devices.values()].map(({ id, publishedGeneration }) => [id, publishedGeneration]));
    },

    /** What a kill leaves open is closed by the system. */
    closeFiles: (): Promise<void> => database.close(),
  };
}

/** Copies the database as it is now; nobody may be writing. */
export function copyDatabase(from: string, to: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    const path = join(from, databaseName + suffix);
    if (existsSync(path) && suffix !== '-shm') copyFileSync(path, join(to, databaseName + suffix));
    else rmSync(join(to, databaseName + suffix), { force: true });
  }
}
