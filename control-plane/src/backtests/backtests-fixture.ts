// Backtests on real parts in a temporary folder: SQLite, blobs, data, registry; the fleet is what a test says it is.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Backtest, BacktestCreate } from '@edgeloop/shared/api/backtests';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import type { Labels } from '@edgeloop/shared/selector';
import type { CapturedSample } from '@edgeloop/shared/telemetry';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { vi } from 'vitest';
import type { z } from 'zod';
import { manifest as sumManifest } from '../../../test/support/models.ts';
import { until } from '../../../test/support/until.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import { createData } from '../data/data.ts';
import { openSqlite } from '../database/open.ts';
import { createRegistry } from '../registry/registry.ts';
import { type BacktestsDeps, createBacktests } from './backtests.ts';
import type { ReplayLimits } from './replay.ts';

const nowMs = 1_800_000_000_000;
const hourMs = 3_600_000;

export type Captured = Pick<CapturedSample, 'features'> & Partial<CapturedSample> & { deviceId?: string };

export async function openBacktests(given: Partial<ReplayLimits> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'backtests-'));
  const database = openSqlite(join(folder, 'test.db'));
  const blobs = createFolderBlobs(join(folder, 'blobs'));
  const now = () => nowMs;
  const log = pino({ level: 'silent' });
  const notify = () => undefined;
  const common = { database, blobs, now, notify, log };
  const registry = createRegistry({ ...common, signRelease: () => 'signed', dataDir: folder });
  const data = createData({
    ...{ database, blobs, now, scratchDir: join(folder, 'data'), metrics: new Registry() },
    ...{ featuresOf: registry.featureNames, featureCount: registry.featureCount },
    claims: { judge: async () => () => 'counted', disregard: async () => undefined },
    labelled: () => undefined,
  });
  const devices = new Map<string, Labels>();
  const deployed = new Map<number, number>();
  const fleet = {
    deployed: async () => deployed,
    devices: async () => new Map([...devices].map(([id, labels]) => [id, { labels }])),
  };
  const ended = vi.fn<(rolloutId: string) => void>();
  const limits = { budgetMs: 60_000, timeoutMs: 90_000, maxRssBytes: 2 * 1024 ** 3, ...given };
  const deps: BacktestsDeps = {
    ...common,
    registry,
    samples: data,
    fleet,
    ended,
    scratchDir: join(folder, 'scratch'),
    limits,
  };
  let samples = 0;
  const world = {
    ...{ database, folder, registry, data, devices, deployed, ended },
    backtests: createBacktests(deps),
    /** As after the end of the process. */
    restart() {
      world.backtests = createBacktests(deps);
    },
    /** Registers a version; gives its number. */
    async push(model: string, bytes: Uint8Array, manifest: ManifestInput = sumManifest): Promise<number> {
      const path = join(folder, `upload-${samples++}.onnx`);
      writeFileSync(path, bytes);
      const registration = {
        model,
        files: { path },
        manifest,
        lineage: { source: 'upload' as const },
        createModel: true,
      };
      return (await registry.register('key:test', registration)).version;
    },
    /** Samples of version 1, an hour ago and before, unless they say otherwise. */
    async capture(model: string, captured: readonly Captured[]): Promise<void> {
      for (const { deviceId = 'd1', ...sample } of captured) {
        const at = samples++;
        const usual = {
          inferenceId: `i${at}`,
          model,
          version: 1,
          predictedAt: nowMs - hourMs - at,
          reason: 'rate' as const,
        };
        await data.capture(deviceId, { samples: [{ ...usual, ...sample }] });
      }
    },
    /** Asks for one and waits until it is over. */
    async backtest(model: string, version: number, asked: z.input<typeof BacktestCreate> = {}): Promise<Backtest> {
      const { id } = await world.backtests.create('key:test', { model, version, asked: BacktestCreate.parse(asked) });
      return world.over(model, version, id);
    },
    over: (model: string, version: number, id: string): Promise<Backtest> =>
      until(
        'the backtest being over',
        async () => {
          const found = await world.backtests.backtest(model, version, id);
          return found.endedAt === null ? undefined : found;
        },
        { timeoutMs: 100_000 },
      ),
    async close() {
      await world.backtests.close();
      await registry.close();
      await database.close();
      rmSync(folder, { recursive: true });
    },
  };
  return world;
}
