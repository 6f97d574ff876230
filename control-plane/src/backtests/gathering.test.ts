import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BacktestCreate } from '@edgeloop/shared/api/backtests';
import { AppError } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import type { Labels } from '@edgeloop/shared/selector';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { afterAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { createSampleStore, type FieldSample } from '../data/sample-store.ts';
import { createSamples } from '../data/samples.ts';
import { openSqlite } from '../database/open.ts';
import { gather } from './gathering.ts';

const folder = mkdtempSync(join(tmpdir(), 'gathering-'));
const database = openSqlite(join(folder, 'test.db'));
const sampleStore = createSampleStore(database.tables);
const samplesRoom = createSamples({
  ...{ database, sampleStore, now: () => nowMs, metrics: new Registry() },
  ...{ featuresOf: async () => [], featureCount: async () => undefined },
  claims: { judge: async () => () => 'counted', disregard: async () => undefined },
  labelled: () => undefined,
});
const nowMs = 1_800_000_000_000;
const dayMs = 86_400_000;
afterAll(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});

const manifestOf = (...features: string[]) => Manifest.parse({ inputs: { x: { features } } });
const versions = new Map([
  [1, manifestOf('a', 'b')],
  [2, manifestOf('b', 'a')],
  [3, manifestOf('b')],
]);
const labels = new Map<string, Labels>([
  ['d1', { site: 'x' }],
  ['d2', { site: 'y' }],
]);

type Stored = Pick<FieldSample, 'predictedAt'> & Partial<Pick<FieldSample, 'deviceId' | 'version' | 'values'>>;

/** Samples that are captured by the real store, and taken from it again. */
async function gathered(samples: readonly Stored[], asked: z.input<typeof BacktestCreate> = {}, candidate = 2) {
  const model = `m${Math.random()}`;
  await database.transact(async (tx) => {
    for (const [at, { deviceId = 'd1', values = Float32Array.of(at, -at), ...sample }] of samples.entries())
      await sampleStore.insertSamples(
        tx,
        deviceId,
        [
          {
            inferenceId: `${model} ${at}`,
            model,
            version: 1,
            reason: 'rate',
            features: [...values],
            ...sample,
            predicted: 'p',
            label: 'l',
          },
        ],
        nowMs,
      );
  });
  const path = join(folder, 'rows');
  const result = await gather(
    {
      // As many pages as there may be.
      samples: { fieldSamples: (query) => samplesRoom.fieldSamples({ ...query, pageRows: 7 }) },
      contract: async (_, version) => {
        const manifest = versions.get(version);
        if (manifest === undefined) throw new AppError('not_found', 'no such version');
        return { manifest, digest: '' };
      },
      labelsOf: (id) => labels.get(id),
      now: () => nowMs,
    },
    {
      ...{ model, path, asked: BacktestCreate.parse(asked), signal: new AbortController().signal },
      candidate: { version: candidate, manifest: versions.get(candidate) ?? manifestOf('z') },
    },
  );
  const bytes = readFileSync(path);
  return { ...result, floats: new Float32Array(Uint8Array.from(bytes).buffer) };
}

describe('samples for a backtest', () => {
  it('are each taken once, with their values, whatever instants they share', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 40 }), async (ages) => {
        const { samples, floats, layouts, layoutOf, cut } = await gathered(
          ages.map((age) => ({ predictedAt: nowMs - age * dayMs })),
        );
        expect(samples).toHaveLength(ages.length);
        expect(cut).toBeNull();
        const firsts = samples.map((_, row) => floats[row * 2] ?? Number.NaN).sort((a, b) => a - b);
        expect(firsts).toEqual(ages.map((_, at) => at));
        expect(samples.every((_, row) => layouts[layoutOf[row] ?? -1]?.join() === 'a,b')).toBe(true);
        expect(samples.every(({ label, predicted }) => label === 'l' && predicted === 'p')).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it('are as many as are asked for, spread over the time as far as there are some', async () => {
    const busy = Array.from({ length: 200 }, (_, i) => ({ predictedAt: nowMs - i }));
    const rare = Array.from({ length: 5 }, (_, i) => ({ predictedAt: nowMs - 3 * dayMs - i }));
    const { samples, cut } = await gathered([...busy, ...rare], { limit: 100 });
    expect(samples).toHaveLength(100);
    expect(samples.filter(({ predictedAt }) => predictedAt < nowMs - dayMs)).toHaveLength(2 + 3);
    expect(cut).toBe('100 samples spread over the time, as many as were asked for');
    expect((await gathered([...busy, ...rare], { limit: 205 })).samples).toHaveLength(205);
  });

  it('are of the last days, and of the devices that are asked for', async () => {
    const all = [
      { predictedAt: nowMs, deviceId: 'd1' },
      { predictedAt: nowMs, deviceId: 'd2' },
      { predictedAt: nowMs, deviceId: 'gone' },
      { predictedAt: nowMs - 8 * dayMs, deviceId: 'd1' },
    ];
    const ids = async (asked: z.input<typeof BacktestCreate>) =>
      (await gathered(all, asked)).samples.map(({ deviceId }) => deviceId).sort();
    expect(await ids({})).toEqual(['d1', 'd2', 'gone']);
    expect(await ids({ days: 9 })).toEqual(['d1', 'd1', 'd2', 'gone']);
    expect(await ids({ selector: 'site=y' })).toEqual(['d2']);
  });

  it('are left out when the candidate cannot be asked, by version and reason', async () => {
    const at = { predictedAt: nowMs };
    const { samples, leftOut } = await gathered(
      [
        at,
        { ...at, version: 3, values: Float32Array.of(1) },
        { ...at, version: 9 },
        { ...at, values: Float32Array.of(1, 2, 3) },
      ],
      {},
      1,
    );
    expect(samples.map(({ version }) => version)).toEqual([1]);
    expect(Object.fromEntries(leftOut)).toEqual({
      'version 1 takes the feature "a", which samples of version 3 do not have': 1,
      'version 9, which answered them, is not known here any more': 1,
      'they have other values than version 1 names features': 1,
    });
  });
});
