// Models of several steps, as their callers see them.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { writeBundle } from '@edgeloop/shared/node/model-bundle';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { grpcClient, inferFields, rawOutputsOf } from '../../../test/support/grpc.ts';
import { identity, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { cellPicture, colourFiles, colourManifest } from '../../../test/support/pipeline-models.ts';
import { until } from '../../../test/support/until.ts';
import { ModelFiles } from '../process/ipc.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { unigram } from './predict/tokenizer-fixture.ts';

const Stats = z.object({
  model_stats: z.array(
    z.object({
      inference_count: z.number(),
      execution_count: z.number(),
      batch_stats: z.array(z.object({ batch_size: z.number() })),
      runtime: z.object({ batchable: z.boolean(), joining: z.string() }),
      steps: z.array(
        z.object({
          name: z.string(),
          does: z.string(),
          success: z.object({ count: z.number(), ns: z.number() }),
          fail: z.object({ count: z.number() }),
          cut: z.number(),
        }),
      ),
    }),
  ),
});
const Outputs = z.object({
  outputs: z.array(z.object({ name: z.string(), shape: z.array(z.number()), data: z.array(z.number()) })),
});
const Predicted = z.object({
  image: z.object({ width: z.number(), height: z.number() }),
  detections: z.array(z.object({ box: z.object({ x: z.number(), width: z.number() }) })),
  warnings: z.array(z.string()).optional(),
});
const root = mkdtempSync(join(tmpdir(), 'pipelines-'));
const colourful = cellPicture({ 6: [0, 250, 0], 8: [80, 80, 250], 15: [240, 0, 0] });
let front: ServedFront;

beforeAll(async () => {
  front = await serveFront();
});
afterAll(async () => {
  await front.close();
  rmSync(root, { recursive: true });
});

async function load(name: string, files: Record<string, Uint8Array>, manifest: ManifestInput): Promise<void> {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, bytes] of Object.entries(files)) writeFileSync(join(path, file), bytes);
  await front.engine.load(ModelFiles.parse({ name, version: 1, path, manifest }));
  front.engine.activate(name, 1);
}

async function statsOf(name: string) {
  const { model_stats: stats } = Stats.parse((await front.get(`/v2/models/${name}/stats`)).json());
  return stats[0] ?? expect.unreachable('no statistics');
}

const pictureInput = (pixels: Uint8Array) => ({
  inputs: [{ name: 'picture', datatype: 'UINT8', shape: [1, 40, 40, 3], data: [...pixels] }],
});

describe.each(['in a folder', 'in one file', 'in a process of its own'])('a pipeline whose models lie %s', (where) => {
  const name = where.replaceAll(' ', '-');
  beforeAll(async () => {
    if (where !== 'in one file') {
      const isolation = where === 'in a folder' ? 'shared' : 'process';
      return load(name, colourFiles, { ...colourManifest(), isolation });
    }
    const path = join(root, 'bundle');
    await writeBundle(
      path,
      Object.entries(colourFiles).map(([file, bytes]) => ({ name: file, bytes })),
    );
    await front.engine.load(ModelFiles.parse({ name, version: 1, path, manifest: colourManifest() }));
    front.engine.activate(name, 1);
  });

  it('answers its own inputs with its own outputs', async () => {
    const answer = await front.post(`/v2/models/${name}/infer`, pictureInput(colourful));
    const [boxes, colours, found] = Outputs.parse(answer.json()).outputs;
    expect(boxes).toMatchObject({
      name: 'boxes',
      shape: [3, 4],
      data: [20, 10, 30, 20, 0, 20, 10, 30, 30, 30, 40, 40],
    });
    expect(colours?.data.map(Math.round)).toEqual([0, 1, 0, 0, 0, 1, 1, 0, 0]);
    expect(found?.data).toEqual([3]);
    const nothing = Outputs.parse((await front.post(`/v2/models/${name}/infer`, pictureInput(cellPicture({})))).json());
    expect(nothing.outputs.map(({ shape }) => shape)).toEqual([[0, 4], [0, 3], [1]]);
  });

  it('makes of a picture what is in it, with the classes of its last step', async () => {
    const png = await sharp(colourful, { raw: { width: 40, height: 40, channels: 3 } })
      .resize(80, 80, { kernel: 'nearest' })
      .png()
      .toBuffer();
    const answer = await front.post(`/predict/${name}`, png, { 'content-type': 'image/png' });
    expect(answer.json()).toMatchObject({
      image: { width: 80, height: 80 },
      detections: expect.arrayContaining([
        { label: 'red', score: expect.any(Number), box: { x: 60, y: 60, width: 20, height: 20 } },
        { label: 'green', score: expect.any(Number), box: { x: 40, y: 20, width: 20, height: 20 } },
        { label: 'blue', score: expect.any(Number), box: { x: 0, y: 40, width: 20, height: 20 } },
      ]),
    });
  });

  it('sees a picture as it is, one that is too large made smaller, and says when there was more than it may tell', async () => {
    const many = cellPicture({ 0: [250, 0, 0], 3: [250, 0, 0], 12: [250, 0, 0], 15: [250, 0, 0] });
    for (const width of [40, 100, 400]) {
      const png = await sharp(many, { raw: { width: 40, height: 40, channels: 3 } })
        .resize(width, width, { kernel: 'nearest' })
        .png()
        .toBuffer();
      const answer = Predicted.parse(
        (await front.post(`/predict/${name}`, png, { 'content-type': 'image/png' })).json(),
      );
      expect(answer.image).toEqual({ width, height: width });
      expect(answer.detections).toHaveLength(3);
      for (const { box } of answer.detections) {
        expect(box.width).toBeCloseTo(width / 4, 1);
        expect([0, (width * 3) / 4]).toContain(Math.round(box.x));
      }
      expect(answer.warnings).toEqual(['the pipeline cut 4 boxes to 3; its steps may allow more']);
    }
  });

  it('is told as an ensemble, and each of its steps is counted', async () => {
    expect((await front.get(`/v2/models/${name}`)).json()).toMatchObject({
      platform: 'ensemble',
      inputs: [{ name: 'picture', datatype: 'UINT8', shape: [1, -1, -1, 3] }],
      outputs: [{ name: 'boxes' }, { name: 'colours' }, { name: 'found' }],
    });
    expect((await front.get(`/v2/models/${name}/config`)).json()).toMatchObject({
      platform: 'ensemble',
      ensemble_scheduling: {
        step: [
          { model_name: 'picture', input_map: { input: 'picture' } },
          {
            model_name: 'detector.onnx',
            input_map: { x: 'grid' },
            output_map: { boxes: 'cells', scores: 'brightness' },
          },
          { model_name: 'detect' },
          { model_name: 'crop', input_map: { picture: 'picture', boxes: 'boxes' } },
          { model_name: 'colours.onnx', output_map: { scores: 'colours' } },
        ],
      },
    });
    const before = await statsOf(name);
    const many = cellPicture({ 0: [250, 0, 0], 3: [250, 0, 0], 12: [250, 0, 0], 15: [250, 0, 0] });
    expect((await front.post(`/v2/models/${name}/infer`, pictureInput(many))).status).toBe(200);
    const { steps, execution_count } = await statsOf(name);
    expect(execution_count).toBe(before.execution_count + 1);
    expect(steps.map(({ name: step, does, fail }) => [step, does, fail.count])).toEqual([
      ['small', 'picture', 0],
      ['detector', 'detector.onnx', 0],
      ['bright', 'detect', 0],
      ['cut', 'crop', 0],
      ['colours', 'colours.onnx', 0],
    ]);
    expect(steps.map(({ success }) => success.count)).toEqual(steps.map(() => execution_count));
    expect(steps.every(({ success }) => success.ns > 0)).toBe(true);
    expect(steps.map(({ cut }, at) => cut - (before.steps[at]?.cut ?? 0))).toEqual([0, 0, 1, 0, 0]);
    const text = (await front.get('/metrics')).body.toString('utf8');
    const series = `{model="${name}",version="1",step="bright"}`;
    for (const line of [`step_success_total${series} ${execution_count}`, `step_cut_total${series} ${steps[2]?.cut}`])
      expect(text).toContain(`edgeloop_inference_${line}\n`);
    expect(text).toContain(`edgeloop_inference_step_failure_total{model="${name}",version="1",step="colours"} 0\n`);
    expect(text).toMatch(/step_duration_seconds_total\{model="[^"]+",version="1",step="detector"\} [\d.e-]+\n/);
  });
});

describe('in front of a pipeline', () => {
  it('answers are kept: the same picture runs no step, another one all of them', async () => {
    await load('kept', colourFiles, { ...colourManifest(), cache: { maxBytes: 1_000_000 } });
    const ask = async (pixels: Uint8Array) =>
      Outputs.parse((await front.post('/v2/models/kept/infer', pictureInput(pixels))).json()).outputs;
    const runs = async () => (await statsOf('kept')).steps.map(({ success }) => success.count);
    const first = await ask(colourful);
    expect(await runs()).toEqual([1, 1, 1, 1, 1]);
    expect(await ask(colourful)).toEqual(first);
    expect(await runs()).toEqual([1, 1, 1, 1, 1]);
    expect(await ask(cellPicture({}))).not.toEqual(first);
    expect(await runs()).toEqual([2, 2, 2, 2, 2]);
  });

  it('texts become tokens', async () => {
    await load(
      'texts',
      { 'tokens.onnx': identity('int64', ['n', 't']) },
      {
        pipeline: {
          inputs: [{ name: 'input_ids', datatype: 'INT64', shape: [-1, -1] }],
          outputs: ['numbers'],
          steps: [
            { name: 'tokens', model: 'tokens.onnx', inputs: { x: 'input_ids' }, outputs: { y: 'ids' } },
            { name: 'floats', operation: 'cast', input: 'ids', output: 'numbers', to: 'FP32' },
          ],
        },
        inputs: { input_ids: { text: { tokenizer: unigram } } },
      },
    );
    const answer = await front.post('/predict/texts', { text: 'the pump' });
    expect(answer.json()).toMatchObject({ outputs: [{ name: 'numbers', datatype: 'FP32', data: [0, 4, 5, 2] }] });
    const cut = await front.post('/predict/texts', { texts: ['the pump', 7] });
    expect(cut.status).toBe(400);
  });
});

describe('an ensemble', () => {
  const weights = [
    [1, 0],
    [0, 1],
  ];
  const ensemble: ManifestInput = {
    task: 'classification',
    pipeline: {
      inputs: [{ name: 'features', datatype: 'FP32', shape: [-1, 2] }],
      outputs: ['scores'],
      steps: [
        { name: 'a', model: 'a.onnx', inputs: { features: 'features' }, outputs: { scores: 'sa' } },
        { name: 'b', model: 'b.onnx', inputs: { features: 'features' }, outputs: { scores: 'sb' } },
        { name: 'both', operation: 'average', inputs: ['sa', 'sb'], weights: [3, 1], output: 'scores' },
      ],
    },
    inputs: { features: { features: ['p', 'q'] } },
    outputs: { labels: ['no', 'yes'] },
    cache: { maxBytes: 10_000 },
  };
  const files = { 'a.onnx': softmaxClassifier(weights, [0, 0]), 'b.onnx': softmaxClassifier(weights, [0, 5]) };
  const chance = (p: number, q: number, bias: number) => Math.exp(q + bias) / (Math.exp(p) + Math.exp(q + bias));
  const expected = (p: number, q: number) => 0.75 * chance(p, q, 0) + 0.25 * chance(p, q, 5);

  it('shares runs where each of its steps keeps rows apart, and gives each caller his own rows', async () => {
    await load('both', files, ensemble);
    expect((await statsOf('both')).runtime).toMatchObject({ batchable: true });
    const rows = Array.from({ length: 100 }, (_, i) => [i / 50, 1 - i / 50] as const);
    const answers = await Promise.all(
      rows.map(async (row) => {
        const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: row }];
        return Outputs.parse((await front.post('/v2/models/both/infer', { inputs })).json()).outputs[0]?.data[1];
      }),
    );
    for (const [at, [p, q]] of rows.entries()) expect(answers[at]).toBeCloseTo(expected(p, q), 5);
    const { steps, batch_stats } = await statsOf('both');
    expect(batch_stats.some(({ batch_size: size }) => size > 1)).toBe(true);
    expect(steps.map(({ success }) => success.count)).toEqual([
      steps[0]?.success.count,
      steps[0]?.success.count,
      steps[0]?.success.count,
    ]);
    const predicted = await front.post('/predict/both', { features: { p: 2, q: 0 } });
    expect(predicted.json()).toMatchObject({ label: 'no' });
  });

  it('answers over gRPC', async () => {
    const client = grpcClient(await front.grpc());
    const bytes = new Uint8Array(Float32Array.of(2, 0).buffer);
    const answer = await client.call(
      'ModelInfer',
      inferFields('both', [{ name: 'features', datatype: 'FP32', shape: [1, 2], bytes }]),
    );
    const [scores] = rawOutputsOf(answer);
    expect([scores?.name, scores?.shape]).toEqual(['scores', [1, 2]]);
    expect(Number(scores?.elements[1])).toBeCloseTo(expected(2, 0), 5);
    client.close();
  });

  it('counts a step that fails by what a caller sent', async () => {
    const apart: ManifestInput = {
      pipeline: {
        inputs: [
          { name: 'features', datatype: 'FP32', shape: [-1, 2] },
          { name: 'others', datatype: 'FP32', shape: [-1, 2] },
        ],
        outputs: ['scores'],
        steps: [
          { name: 'a', model: 'a.onnx', inputs: { features: 'features' }, outputs: { scores: 'sa' } },
          { name: 'both', operation: 'average', inputs: ['sa', 'others'], output: 'scores' },
        ],
      },
    };
    await load('apart', { 'a.onnx': files['a.onnx'] }, apart);
    const input = (name: string, rows: number) => ({
      name,
      datatype: 'FP32',
      shape: [rows, 2],
      data: Array(rows * 2).fill(1),
    });
    const answer = await front.post('/v2/models/apart/infer', { inputs: [input('features', 1), input('others', 2)] });
    expect([answer.status, answer.json()]).toEqual([
      400,
      { error: 'step "both" (average): its inputs are [1,2] and [2,2], which is not one shape' },
    ]);
    const steps = await until('the failure', async () => {
      const { steps } = await statsOf('apart');
      return steps[1]?.fail.count === 1 ? steps : undefined;
    });
    expect(steps.map(({ success, fail }) => [success.count, fail.count])).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });

  it.each<[string, Partial<ManifestInput>, RegExp]>([
    ['a file that is missing', {}, /step "b" needs the file "b\.onnx"; there are "a\.onnx"/],
  ])('is refused with %s', async (_, changes, reason) => {
    await expect(load('missing', { 'a.onnx': files['a.onnx'] }, { ...ensemble, ...changes })).rejects.toThrow(reason);
  });

  it('keeps the states of sequences at its own inputs and outputs', async () => {
    await load('memory', files, {
      pipeline: {
        inputs: [
          { name: 'features', datatype: 'FP32', shape: [1, 2] },
          { name: 'before', datatype: 'FP32', shape: [1, 2] },
        ],
        outputs: ['after'],
        steps: [
          { name: 'a', model: 'a.onnx', inputs: { features: 'features' }, outputs: { scores: 'now' } },
          { name: 'b', operation: 'average', inputs: ['now', 'before'], output: 'after' },
        ],
      },
      inputs: { before: { state: 'after' } },
    });
    const ask = async (parameters: object) => {
      const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [0, 0] }];
      const answer = await front.post('/v2/models/memory/infer', { inputs, parameters });
      return Outputs.parse(answer.json()).outputs[0]?.data[0];
    };
    expect(await ask({ sequence_id: 1, sequence_start: true })).toBeCloseTo(0.25, 6);
    expect(await ask({ sequence_id: 1 })).toBeCloseTo(0.375, 6);
    expect(await ask({ sequence_id: 1, sequence_end: true })).toBeCloseTo(0.4375, 6);
  });
});
