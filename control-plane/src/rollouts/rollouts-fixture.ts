// Rollouts with a fleet and a registry on a real database in a temporary folder, and devices that do as they are told,
// for tests.
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RolloutCreate } from '@edgeloop/shared/api/rollouts';
import { Desired, type DesiredModel, type ModelReport } from '@edgeloop/shared/messages';
import { signRelease } from '@edgeloop/shared/node/signing';
import type { Labels } from '@edgeloop/shared/selector';
import pino from 'pino';
import { expect, vi } from 'vitest';
import type { z } from 'zod';
import { createFolderBlobs } from '../blobs/folder.ts';
import { openSqlite } from '../database/open.ts';
import { createFleet } from '../fleet/fleet.ts';
import { createFleetStore } from '../fleet/fleet-store.ts';
import { createRegistry } from '../registry/registry.ts';
import { createRegistryStore } from '../registry/registry-store.ts';
import { createVersionNumbers } from '../registry/version-numbers.ts';
import type { BacktestSource } from './backtest-gate.ts';
import type { FieldSource } from './field-gates.ts';
import { createRollouts, type TrafficSource } from './rollouts.ts';
import type { TracingDeps } from './tracing.ts';
import type { EvidenceSource } from './views.ts';

const log = pino({ level: 'silent' });
const { privateKey } = generateKeyPairSync('ed25519');
const facts = { agentVersion: '1', nodeVersion: '20', platform: 'linux', arch: 'x64', cpus: 1, memoryBytes: 1 };

export type World = Awaited<ReturnType<typeof openRollouts>>;

/** A world with model "net" in versions 1 to `versions`. Its clock stands between rounds. */
export async function openRollouts(versions = 3) {
  const folder = mkdtempSync(join(tmpdir(), 'rollouts-'));
  const database = openSqlite(join(folder, 'test.db'));
  let clock = 1_000_000;
  const now = () => clock;
  const notify = () => {};
  const desired = new Map<string, Desired>();
  const reports = new Map<string, Omit<ModelReport, 'name'>>();
  const broken = { broker: false };
  const fleet = createFleet({
    database,
    now,
    notify,
    log,
    numbers: createVersionNumbers(database.tables),
    seal: (_, order) => order,
    publish: async (deviceId, channel, payload, { retain }) => {
      if (broken.broker) throw new Error('the broker is away');
      expect([channel, retain]).toEqual(['desired', true]);
      desired.set(deviceId, Desired.parse(payload));
    },
  });
  const blobs = createFolderBlobs(join(folder, 'blobs'));
  const registry = createRegistry({
    database,
    blobs,
    signRelease: (release) => signRelease(release, privateKey),
    now,
    notify,
    log,
    dataDir: folder,
  });
  const evidence = vi.fn<EvidenceSource>(async () => ({ requests: 100, failed: 0 }));
  const field = vi.fn<FieldSource>(async () => undefined);
  const traffic = vi.fn<TrafficSource>();
  const backtests = {
    ask: vi.fn<BacktestSource['ask']>(async () => undefined),
    of: vi.fn<BacktestSource['of']>(async () => undefined),
    create: vi.fn<BacktestSource['create']>(),
    newest: vi.fn<BacktestSource['newest']>(async () => null),
  };
  let sendSpans: TracingDeps['send'] | undefined;
  const build = (lookEveryMs?: number) =>
    createRollouts({
      sendSpans,
      database,
      fleet,
      registry,
      evidence,
      field,
      traffic,
      backtests,
      now,
      notify,
      log,
      ...(lookEveryMs && { lookEveryMs }),
    });
  const besideOf = (wanted: DesiredModel['beside']): Pick<ModelReport, 'beside'> => {
    if (wanted === undefined) return {};
    const { version, release, rolloutId } = wanted;
    const about = { version, release, rolloutId, since: clock };
    const error = { code: 'integrity', message: 'bad hash' };
    return { beside: world.bad.has(version) ? { ...about, state: 'failed', error } : { ...about, state: 'running' } };
  };
  const world = {
    database,
    now,
    fleet,
    registry,
    evidence,
    field,
    traffic,
    backtests,
    desired,
    /** Devices on which every version above 1 fails. */
    refusing: new Set<string>(),
    /** Devices whose agent cannot run a version beside another. */
    old: new Set<string>(),
    /** Versions that fail on every device. */
    bad: new Set<number>(),
    broken,
    rollouts: build(),
    /** As after the end of the process: what was only in memory is gone. */
    restart: (lookEveryMs?: number) => {
      world.rollouts = build(lookEveryMs);
    },
    /** Exports traces from now on. */
    trace(send: TracingDeps['send']) {
      sendSpans = send;
      world.restart();
    },
    async enrol(id: string, labels: Labels = {}) {
      const store = createFleetStore(database.tables);
      const device = { id, labels, enrolledAt: 0, revokedAt: null, certificateSerial: '1', session: 's' };
      const unknown = {
        lastSeenAt: clock,
        desiredGeneration: 0,
        publishedGeneration: 0,
        keptWord: null,
        conflictSince: null,
        instances: null,
        reported: null,
        reportedAt: null,
        facts: null,
      };
      const rest = { status: 'online', keyDigest: null, readmittedAt: null, previousSerial: null };
      await database.transact((tx) => store.insert(tx, { ...device, ...unknown, ...rest }));
      fleet.cameOrWent(id);
    },
    async report(id: string, model: Omit<ModelReport, 'name'> | null, problems: string[] = []) {
      if (model === null) reports.delete(id);
      else reports.set(id, model);
      await fleet.onReported(id, {
        generation: desired.get(id)?.generation ?? 0,
        models: model === null ? [] : [{ name: 'net', ...model }],
        facts: { ...facts, cpuModel: '', hostname: '', ...(world.old.has(id) ? {} : { capabilities: ['beside'] }) },
        startedAt: 0,
        reportedAt: clock,
        outbox: { pendingItems: 0, pendingBytes: 0, droppedItems: 0 },
        problems,
      });
    },
    /** Devices do what they were told, but for what fails on them: then they stay with what they have. */
    async obey(ids: Iterable<string> = desired.keys()) {
      for (const id of ids) {
        const wanted = desired.get(id)?.models.find(({ name }) => name === 'net');
        const active = reports.get(id)?.active ?? null;
        const besideIt = world.old.has(id) ? {} : besideOf(wanted?.beside);
        if (wanted === undefined) await world.report(id, null);
        else if (world.bad.has(wanted.version) || (world.refusing.has(id) && wanted.version > 1)) {
          const error = { code: 'integrity', message: 'bad hash' };
          const { version, rolloutId } = wanted;
          const candidate = { version, rolloutId, since: clock, error, state: 'failed' as const };
          await world.report(id, { active, lastGood: active?.version ?? null, candidate });
        } else {
          const { version, release } = wanted;
          const serving = { active: { version, release, since: 0 }, lastGood: version, candidate: null };
          await world.report(id, { ...serving, ...besideIt });
        }
      }
    },
    /** What devices were told and said, and what fails on them. */
    forget() {
      for (const each of [desired, reports, world.refusing, world.bad]) each.clear();
    },
    pass(seconds: number) {
      clock += seconds * 1000;
    },
    async round(seconds = 2) {
      world.pass(seconds);
      await world.rollouts.look();
      await world.obey();
    },
    async rounds(times = 12) {
      for (let i = 0; i < times; i++) await world.round();
    },
    running: () => Object.fromEntries([...desired].map(([id, { models }]) => [id, models[0]?.version ?? null]).sort()),
    async release(version: number | string, plan: Partial<z.input<typeof RolloutCreate>> = {}, traceparent?: string) {
      const asked = RolloutCreate.parse({ model: 'net', version, bakeSeconds: 3, ...plan });
      return world.rollouts.create('key:test', asked, traceparent);
    },
    phase: async (id: string) => (await world.rollouts.detail(id)).state.phase,
    history: async (id: string) => (await world.rollouts.detail(id)).history.map(({ text }) => text),
    async close() {
      await world.rollouts.close();
      await database.close();
      rmSync(folder, { recursive: true });
    },
  };
  const store = createRegistryStore(database.tables);
  await database.transact(async (tx) => {
    await store.insertModel(tx, { name: 'net', description: '', createdAt: 0 });
    for (let version = 1; version <= versions; version++) {
      const digest = String(version % 10).repeat(64);
      const io = { inputs: [], outputs: [] };
      const given = { model: 'net', version, digest, release: digest, signature: `s${version}`, sizeBytes: 1, io };
      const rest = { manifest: {}, goldenSamples: 0, lineage: { source: 'upload' }, metrics: {}, variants: null };
      await store.insertVersion(tx, { ...given, ...rest, createdAt: 0, createdBy: 'key:test' });
    }
  });
  return world;
}
