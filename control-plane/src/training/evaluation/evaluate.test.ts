import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PipelineSpec } from '@edgeloop/shared/api/training';
import { Manifest } from '@edgeloop/shared/manifest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { LabelledRows } from '../../data/rows.ts';
import { writeParquet } from '../../data/tables.ts';
import { jobFiles, predictedColumn, scoreColumn } from '../jobs/trainer-contract.ts';
import { exportNetwork } from '../trainers/export.ts';
import { predict, predictedClasses, type TrainedNetwork } from '../trainers/network.ts';
import { createRandom } from '../trainers/random.ts';
import { features, labelledRow } from '../training-fixture.ts';
import { type Champion, evaluate } from './evaluate.ts';

const labels = ['high', 'low'];
const rule = PipelineSpec.shape.evaluation.parse({});
const limits = { timeoutMs: 60_000, maxRssBytes: 2 * 1024 ** 3 };
let folder: string;
const fileOf = (split: string) => join(folder, `${split}.parquet`);
let test: LabelledRows;

function rowsOf(count: number, seed: number): LabelledRows {
  const random = createRandom(seed);
  const rows = Array.from({ length: count }, () => labelledRow(random));
  const values = Float32Array.from(rows.flatMap((row) => row.values));
  return { features, values, labels: rows.map((row) => row.label), splits: [] };
}

/** Says `high` where weights . features is above `border`. */
function network(weights: number[], border: number): TrainedNetwork {
  const width = weights.length;
  const flat = (value: number) => new Float32Array(width).fill(value);
  const scaling = {
    transform: 'none' as const,
    fill: flat(0),
    mean: flat(0),
    scale: flat(1),
    clip: 1e6,
    constant: new Uint8Array(width),
  };
  const layer = {
    inputs: width,
    outputs: 2,
    weights: Float32Array.from([...weights.map((weight) => weight * 50), ...flat(0)]),
    bias: Float32Array.of(-border * 50, 0),
  };
  return { featureCount: width, classCount: 2, scaling, layers: [layer] };
}

const perfect = network([1, 1, 0], 1);

/** What a trainer leaves behind when it is done with this network. */
async function leave(trained: TrainedNetwork, claimed = trained): Promise<void> {
  await writeFile(join(folder, jobFiles.model), exportNetwork(trained, { featureNames: features, labels }));
  const manifest = { inputs: { features: { features } }, outputs: { labels, scores: 'scores' } };
  await writeFile(join(folder, jobFiles.manifest), JSON.stringify(manifest));
  const values = predict(claimed, test.values);
  const predicted = Array.from(predictedClasses(values, 2), (index) => labels[index] ?? '');
  const table = { features: labels.map((_, i) => scoreColumn(i)), values, labels: predicted, splits: [] };
  await writeParquet(join(folder, jobFiles.predictions), table, predictedColumn);
}

async function championWith(trained: TrainedNetwork, featureNames: string[]): Promise<Champion> {
  const path = join(folder, 'champion.onnx');
  await writeFile(path, exportNetwork(trained, { featureNames, labels }));
  const inputs = { features: { features: featureNames } };
  return {
    detail: { version: 4, manifest: Manifest.parse({ inputs, outputs: { labels } }), io: { inputs: [], outputs: [] } },
    path,
  };
}

const dataset = () => ({
  features,
  files: { train: fileOf('train'), validation: fileOf('validation'), test: fileOf('test') },
});

function run(champion?: Champion, recent?: string) {
  const signal = new AbortController().signal;
  return evaluate({ folder, dataset: dataset(), recent, champion, rule, limits, signal });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgeloop-evaluate-'));
  await mkdir(join(folder, 'output'));
  test = rowsOf(400, 3);
  await writeParquet(fileOf('train'), rowsOf(100, 1));
  await writeParquet(fileOf('validation'), rowsOf(50, 2));
  await writeParquet(fileOf('test'), test);
});
beforeEach(() => leave(perfect));
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the evaluation of a trained model', () => {
  it('compares with a champion that takes its features in another order', async () => {
    const evaluated = await run(await championWith(network([0, 1, 1], 1.2), ['c', 'b', 'a']));
    expect(evaluated.evaluation).toMatchObject({ rows: 400, challenger: 1, championVersion: 4, won: true });
    expect(evaluated.evaluation.champion).toBeGreaterThan(0.7);
    expect(evaluated.evaluation.champion).toBeLessThan(0.95);
  });

  it('makes the reference of validation and test rows, and golden samples of test rows', async () => {
    const { reference, golden } = await run();
    expect(reference).toMatchObject({ rows: 450, accuracy: 1 });
    expect(Object.keys(reference.features)).toEqual(features);
    const counts = reference.classes?.counts ?? {};
    expect((counts.high ?? 0) + (counts.low ?? 0)).toBe(450);
    expect(golden.samples.length).toBe(8);
    expect(golden.samples[0]?.inputs.features).toMatchObject({ shape: [1, 3], data: [...test.values.subarray(0, 3)] });
    expect(golden.samples[0]?.outputs.scores?.shape).toEqual([1, 2]);
  });

  it('does not compare with a champion of other features, and says so', async () => {
    const { evaluation } = await run(await championWith(perfect, ['a', 'b', 'z']));
    expect(evaluation).toMatchObject({ won: false, champion: null, championVersion: 4 });
    expect(evaluation.detail).toMatch(/takes the feature "z"/);
  });

  it('refuses a file that does not predict what its trainer said', async () => {
    await leave(perfect, network([1, 1, 0], 1.1));
    await expect(run()).rejects.toThrow(/not the one that was trained: scores differ by up to/);
  });

  it('refuses what is no ONNX file, and predictions of another shape', async () => {
    await writeFile(join(folder, jobFiles.model), 'no model');
    await expect(run()).rejects.toMatchObject({ code: 'model_rejected' });
    await leave(perfect);
    await copyFile(fileOf('test'), join(folder, jobFiles.predictions));
    await expect(run()).rejects.toThrow(/predicted/);
  });

  it('makes the reference of recent field rows when they are given', async () => {
    await leave(perfect);
    const recent = fileOf('recent');
    await writeParquet(recent, rowsOf(320, 9));
    const { reference, evaluation } = await run(undefined, recent);
    expect(reference.rows).toBe(320);
    expect(reference.accuracy).toBe(evaluation.challenger);
    expect((await run()).reference.rows).toBe(450);
  });

  it('ends with a model that takes too long', async () => {
    const signal = new AbortController().signal;
    const hasty = {
      folder,
      dataset: dataset(),
      recent: undefined,
      champion: undefined,
      rule,
      limits: { ...limits, timeoutMs: 1 },
      signal,
    };
    await expect(evaluate(hasty)).rejects.toThrow(/the evaluation of the model did not finish within/);
  });
});
