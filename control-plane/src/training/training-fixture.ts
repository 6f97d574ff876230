// A training room on real parts in a temporary folder: SQLite, blobs, data, registry; and a small dataset.
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Alert } from '@edgeloop/shared/api/alerts';
import { DatasetImport } from '@edgeloop/shared/api/data';
import { PipelineSpec, type RunDetail } from '@edgeloop/shared/api/training';
import { signRelease } from '@edgeloop/shared/node/signing';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createFolderBlobs } from '../blobs/folder.ts';
import { createData } from '../data/data.ts';
import { openSqlite } from '../database/open.ts';
import { createRegistry } from '../registry/registry.ts';
import type { TrainingDeps } from './dependencies.ts';
import { createRandom } from './trainers/random.ts';
import { createTraining } from './training.ts';

export const features = ['a', 'b', 'c'];

/** Class `high` above the line a + b = `border`, else `low`; c tells nothing. */
export function labelledRow(random: () => number, border = 1): { values: number[]; label: string } {
  const values = [random(), random(), random()];
  return { values, label: (values[0] ?? 0) + (values[1] ?? 0) > border ? 'high' : 'low' };
}

/** In a folder of its own, or in one that an earlier process has left. */
export async function createWorkshop({ given }: { given?: string } = {}) {
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'edgeloop-training-')));
  const database = openSqlite(join(folder, 'test.db'));
  const blobs = createFolderBlobs(join(folder, 'blobs'));
  const log = pino({ level: 'silent' });
  const notify = () => undefined;
  const { privateKey: fleetKey } = generateKeyPairSync('ed25519');
  const registry = createRegistry({
    database,
    blobs,
    signRelease: (release) => signRelease(release, fleetKey),
    now: Date.now,
    notify,
    log,
    dataDir: folder,
  });
  const featuresOf = async () => features;
  const data = createData({
    ...{ database, blobs, now: Date.now, scratchDir: join(folder, 'scratch'), featuresOf },
    featureCount: async () => features.length,
    claims: { judge: async () => () => 'counted', disregard: async () => undefined },
    labelled: () => undefined,
    metrics: new Registry(),
  });
  const releases: { model: string; version: number; runId: string }[] = [];
  const deps: TrainingDeps = {
    database,
    data,
    registry,
    blobs,
    deployed: async () => new Map(),
    release: async (model, version, _plan, runId) => {
      if (!releases.some((release) => release.runId === runId)) releases.push({ model, version, runId });
      return `rollout-of-${runId}`;
    },
    now: Date.now,
    notify,
    log,
    dataDir: folder,
  };
  const open: ReturnType<typeof createTraining>[] = [];
  return {
    folder,
    database,
    data,
    registry,
    releases,
    /** A training room on the same database, as after a restart. */
    openTraining() {
      const training = createTraining(deps);
      open.push(training);
      return training;
    },
    async importRows({ rows = 800, seed = 1 } = {}) {
      const random = createRandom(seed);
      const lines = Array.from({ length: rows }, () => {
        const { values, label } = labelledRow(random);
        return [...values, label].join(',');
      });
      const text = `${features.join(',')},label\n${lines.join('\n')}\n`;
      const path = join(folder, 'rows.csv');
      await writeFile(path, text);
      const options = DatasetImport.parse({ format: 'csv', split: { train: 0.5, validation: 0.2, test: 0.3 } });
      const fileDigest = createHash('sha256').update(text).digest('hex');
      return data.importTable('key:test', 'points', { path, fileDigest, options });
    },
    /** Labelled samples from a device, with the border moved. */
    async captureRows({ rows, predictedAt, border }: { rows: number; predictedAt: number; border: number }) {
      const random = createRandom(predictedAt);
      const samples = Array.from({ length: rows }, (_, i) => {
        const { values, label } = labelledRow(random, border);
        const inferenceId = `i-${predictedAt}-${i}`;
        return {
          inferenceId,
          model: 'sorter',
          version: 1,
          predictedAt,
          reason: 'labelled' as const,
          features: values,
          label,
        };
      });
      await data.capture('device-1', { samples });
    },
    async close() {
      for (const training of open) await training.close();
      await registry.close();
      await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
export type Workshop = Awaited<ReturnType<typeof createWorkshop>>;

export function pipelineSpec(change: Record<string, unknown> = {}): PipelineSpec {
  const trainer = { kind: 'softmax', parameters: { epochs: 25, learningRate: 0.05 } };
  return PipelineSpec.parse({ name: 'sort', model: 'sorter', dataset: 'points', trainer, ...change });
}

/** An MLP that trains for seconds, so that a test can end what trains it long before it is done. */
export const slowTrainer = {
  kind: 'mlp',
  parameters: { epochs: 300, patience: 0, learningRate: 0.01, hidden: [64, 64], batchSize: 8 },
};

/** An MLP that trains until it is stopped. */
export const endlessTrainer = { kind: 'mlp', parameters: { epochs: 10_000, patience: 0, hidden: [64, 64] } };

export function driftAlert(change: Partial<Alert> = {}): Alert {
  return {
    id: 'alert-1',
    ruleId: 'rule-1',
    kind: 'drift',
    model: 'sorter',
    version: 1,
    status: 'firing',
    startedAt: 1_000_000,
    firedAt: 1_000_100,
    resolvedAt: null,
    acknowledgedBy: null,
    silencedUntil: null,
    summary: 'a has moved',
    features: [],
    scope: { kind: 'fleet', devices: [], detail: '' },
    value: 1,
    ...{ severity: 'warning', labels: {}, acknowledgedAt: null, note: null, bound: null, baseline: null },
    evidence: { state: 'fresh', since: 1_000_000, numbersAt: 1_000_000, detail: '' },
    resolution: null,
    links: { causedBy: [], runs: [], rollouts: [], resolvedBy: [] },
    ...change,
  };
}

/** Polls until `condition` gives something; fails after a deadline, telling what was seen last. */
export async function until<T>(
  look: () => Promise<T>,
  condition: (seen: T) => boolean,
  timeoutMs = 100_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const seen = await look();
    if (condition(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`waited in vain; seen last: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function ended(run: RunDetail): boolean {
  return run.stage === 'done';
}
