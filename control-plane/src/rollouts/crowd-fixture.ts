// A fleet of thousands with its rollouts on a real database, without sockets: devices do as they are told at once and say so at each
// step. For measuring and for tests of what it costs.
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { RolloutCreate } from '@edgeloop/shared/api/rollouts';
import { Desired, type ModelReport } from '@edgeloop/shared/messages';
import { signDocument } from '@edgeloop/shared/node/signing';
import { pino } from 'pino';
import { createFolderBlobs } from '../blobs/folder.ts';
import { openSqlite } from '../database/open.ts';
import { createFleet } from '../fleet/fleet.ts';
import { createRegistry } from '../registry/registry.ts';
import { createRegistryStore } from '../registry/registry-store.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import { noBacktests } from './no-backtests-fixture.ts';
import { createRollouts, type Rollouts } from './rollouts.ts';

const facts = { agentVersion: '1', nodeVersion: '20', platform: 'linux', arch: 'x64', cpus: 1, memoryBytes: 1 };

/** Model "bench" in versions 1 to 3, devices of 20 sites. */
export async function openCrowd(folder: string, devices: number) {
  const log = pino({ level: 'error' });
  const database = openSqlite(join(folder, 'bench.db'));
  const { privateKey } = generateKeyPairSync('ed25519');
  const devicesByName = new Map<string, { generation: number; active: ModelReport['active'] }>();
  const common = { database, now: Date.now, notify: () => undefined, log };
  const fleet = createFleet({
    ...common,
    numbers: createVersionNumbers(database.tables),
    seal: (_, desired) => ({ ...desired, order: signDocument('order', JSON.stringify(desired), privateKey) }),
    publish: async (deviceId, _channel, payload) => void obey(deviceId, Desired.parse(payload)),
  });
  const registry = createRegistry({
    ...common,
    blobs: createFolderBlobs(join(folder, 'blobs')),
    signRelease: () => '',
    dataDir: folder,
  });
  const rollouts: Rollouts = createRollouts({
    ...common,
    ...{ fleet, registry },
    evidence: async () => ({ requests: 0, failed: 0 }),
    evidenceVersion: () => 0,
    field: async () => undefined,
    traffic: async () => {
      throw new Error('nobody asks for a plan');
    },
    backtests: noBacktests,
  });

  /** Fetches, proves and serves at once, and says so at each step. */
  async function obey(deviceId: string, { generation, models: [wanted] }: Desired): Promise<void> {
    const device = devicesByName.get(deviceId) ?? { generation: 0, active: null };
    devicesByName.set(deviceId, device);
    device.generation = generation;
    if (wanted === undefined || wanted.release === device.active?.release) return report(deviceId);
    const { version, release, rolloutId } = wanted;
    await report(deviceId, { version, release, rolloutId, state: 'fetching', since: Date.now() });
    device.active = { version, release, since: Date.now() };
    await report(deviceId, { version, release, rolloutId, state: 'probation', since: Date.now() });
    await report(deviceId);
  }

  async function report(deviceId: string, candidate: ModelReport['candidate'] = null): Promise<void> {
    const { generation, active } = devicesByName.get(deviceId) ?? { generation: 0, active: null };
    const model = { name: 'bench', active, lastGood: active?.version ?? null, candidate };
    await fleet.onReported(deviceId, {
      ...{ generation, startedAt: 0, reportedAt: Date.now(), facts: { ...facts, cpuModel: '', hostname: '' } },
      models: active === null && candidate === null ? [] : [model],
      outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
    });
  }

  await fill({ database, devices });
  await fleet.publishAllDesired();
  await rollouts.start();
  return {
    rollouts,
    /** Without baking and evidence; gives its id. */
    async release(version: number, plan: object): Promise<string> {
      const whole = { model: 'bench', version, bakeSeconds: 0, gates: { minRequests: 0 }, ...plan };
      return (await rollouts.create('bench', RolloutCreate.parse(whole))).id;
    },
    reportAll: () => Promise.all([...devicesByName.keys()].map((id) => report(id))),
    async close(): Promise<void> {
      await rollouts.close();
      await database.close();
    },
  };
}

async function fill({ database, devices }: { database: ReturnType<typeof openSqlite>; devices: number }) {
  const store = createRegistryStore(database.tables);
  await database.transact(async (tx) => {
    await store.insertModel(tx, { name: 'bench', description: '', createdAt: 0 });
    for (const version of [1, 2, 3]) {
      const digest = String(version).repeat(64);
      const given = { model: 'bench', version, digest, release: digest, signature: 's', sizeBytes: 1 };
      const rest = { variants: null, manifest: {}, goldenSamples: 0, lineage: { source: 'upload' }, metrics: {} };
      const io = { inputs: [], outputs: [] };
      await store.insertVersion(tx, { ...given, ...rest, io, createdAt: 0, createdBy: 'bench' });
    }
    for (let i = 0; i < devices; i++)
      await tx.insert(database.tables.devices).values({
        ...{ id: `sim-${String(i).padStart(5, '0')}`, labels: { site: `s${i % 20}` }, enrolledAt: 0 },
        ...{ certificateSerial: '1', status: 'online', desiredGeneration: 0, publishedGeneration: 0 },
      });
  });
}
