import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { cellPicture, colourClassifier, colourFiles, colourManifest } from '../../../test/support/pipeline-models.ts';
import { Manifest } from '../manifest.ts';
import { type ModelFile, openServable } from '../node/servable-model.ts';
import { openPipeline } from '../node/servable-pipeline.ts';
import { Pipeline } from '../pipeline-manifest.ts';
import type { NamedTensor, TensorData } from '../tensor-data.ts';
import { generatePipeline } from './generated-pipeline-fixture.ts';
import { runPipeline, type StepRun } from './run.ts';

const root = mkdtempSync(join(tmpdir(), 'pipeline-'));
afterAll(() => rmSync(root, { recursive: true }));

const types = { FP32: 'float32', INT64: 'int64', BOOL: 'bool', UINT8: 'uint8' } as const;

async function openFile(file: ModelFile) {
  const { session, signature } = await openServable(file, (source) =>
    'path' in source
      ? InferenceSession.create(source.path, { logSeverityLevel: 3 })
      : InferenceSession.create(source.bytes, { logSeverityLevel: 3 }),
  );
  return { session, signature, release: () => session.release() };
}

let count = 0;
async function open(pipeline: z.input<typeof Pipeline>, files: Record<string, Uint8Array>) {
  const folder = mkdtempSync(join(root, `${count++}-`));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  const { plan, models, release } = await openPipeline(folder, Pipeline.parse(pipeline), openFile);
  const ran: string[] = [];
  const runModel = async (file: string, inputs: readonly NamedTensor[]): Promise<NamedTensor[]> => {
    ran.push(`${file} ${inputs.map(({ shape }) => `[${shape}]`)}`);
    const results = await models.get(file)?.session.run(
      Object.fromEntries(
        inputs.map(({ name, datatype, data, shape }) => {
          const type = types[datatype as keyof typeof types];
          return [name, new Tensor(type as 'float32', data as Float32Array, [...shape])];
        }),
      ),
    );
    const outputs = models.get(file)?.signature.outputs ?? [];
    return outputs.flatMap(({ name, datatype }) => {
      const tensor = results?.[name];
      return tensor ? [{ name, datatype, shape: tensor.dims, data: tensor.data as TensorData }] : [];
    });
  };
  const steps: StepRun[] = [];
  const run = (inputs: readonly NamedTensor[]) =>
    runPipeline(plan, inputs, { runModel, nowMs: () => performance.now(), onStep: (step) => steps.push(step) });
  return { plan, run, ran, steps, release };
}

const floats = (name: string, shape: readonly number[], values: readonly number[]): NamedTensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: Float32Array.from(values),
});
const picture = (pixels: Uint8Array): NamedTensor[] => [
  { name: 'picture', datatype: 'UINT8', shape: [1, 40, 40, 3], data: pixels },
];

describe('a pipeline', () => {
  it('gives what its steps give as one graph of ONNX Runtime, in whatever order they stand', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(1000), { minLength: 3, maxLength: 60 }), fc.nat(1000), async (numbers, seed) => {
        const { pipeline, files, whole, dims } = generatePipeline(numbers);
        if (Object.keys(files).length === 0) return;
        const { run, release } = await open(pipeline, files);
        const values = Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7 + seed) * 2);
        const outputs = await run([floats('x', dims, values)]);
        const session = await InferenceSession.create(whole, { logSeverityLevel: 3 });
        const expected = await session.run({ x: new Tensor('float32', Float32Array.from(values), [...dims]) });
        expect(outputs.map(({ name }) => name)).toEqual(pipeline.outputs);
        for (const { name, shape, data } of outputs) {
          const theirs = expected[name];
          expect([name, shape]).toEqual([name, theirs?.dims]);
          const [mine, raw] = [data as Float32Array, theirs?.data as Float32Array];
          for (const [at, value] of raw.entries()) expect(mine[at]).toBeCloseTo(value, 4);
        }
        await session.release();
        await release();
      }),
      { numRuns: 150 },
    );
  });

  it('finds, cuts out and tells, and says how many there were', async () => {
    const { run, ran, steps, plan } = await open(Manifest.parse(colourManifest()).pipeline as Pipeline, colourFiles);
    const cells = cellPicture({ 1: [250, 0, 0], 6: [0, 250, 0], 8: [80, 80, 250], 15: [240, 0, 0] });
    const [boxes, colours, found] = await run(picture(cells));
    // Three are asked for, the brightest ones; a corner is less blurred than an edge.
    expect(boxes).toMatchObject({ shape: [3, 4] });
    expect([...(boxes?.data ?? [])]).toEqual([20, 10, 30, 20, 0, 20, 10, 30, 30, 30, 40, 40]);
    const scores = [...((colours?.data as Float32Array) ?? [])];
    expect([0, 1, 2].map((row) => scores.slice(row * 3, row * 3 + 3).map(Math.round))).toEqual([
      [0, 1, 0],
      [0, 0, 1],
      [1, 0, 0],
    ]);
    expect(found?.data).toEqual(BigInt64Array.of(4n));
    expect(ran).toEqual(['detector.onnx [1,1,4,4]', 'colours.onnx [3,3,2,2]']);
    expect(steps.map(({ at, failed, cut }) => [plan.steps[at]?.name, failed, cut])).toEqual([
      ['small', false, false],
      ['detector', false, false],
      ['bright', false, true],
      ['cut', false, false],
      ['colours', false, false],
    ]);
  });

  it('gives the boxes of any picture where they are in that picture, and crops of what is there', async () => {
    const manifest = Manifest.parse(colourManifest()).pipeline as Pipeline;
    const padded = structuredClone(manifest);
    const [small] = padded.steps;
    if (small?.operation === 'picture') small.image.crop = 'pad';
    const { run } = await open(padded, colourFiles);
    // 80 x 40: the upper half of its right side is red; in the grid it stands in the two rows in the middle.
    const pixels = new Uint8Array(40 * 80 * 3);
    for (let y = 0; y < 20; y++) for (let x = 40; x < 60; x++) pixels[(y * 80 + x) * 3] = 255;
    const [boxes, colours] = await run([{ name: 'picture', datatype: 'UINT8', shape: [1, 40, 80, 3], data: pixels }]);
    expect([...(boxes?.data ?? [])]).toEqual([40, 0, 60, 20]);
    expect(Math.round(Number(colours?.data[0]))).toBe(1);
  });

  it('gives well-formed tensors of nothing when nothing is found', async () => {
    const { run, ran } = await open(Manifest.parse(colourManifest()).pipeline as Pipeline, colourFiles);
    const [boxes, colours, found] = await run(picture(cellPicture({})));
    expect([boxes?.shape, colours?.shape, found?.data]).toEqual([[0, 4], [0, 3], BigInt64Array.of(0n)]);
    expect(ran).toEqual(['detector.onnx [1,1,4,4]']);
  });

  it.each([0, 1, 3])('runs a model that takes one row once for each of %i rows', async (rows) => {
    const pipeline = {
      inputs: [{ name: 'crops', datatype: 'FP32' as const, shape: [-1, 3, 2, 2] }],
      outputs: ['colours'],
      steps: [
        {
          name: 'colours',
          model: 'colours.onnx',
          rows: 'each' as const,
          inputs: { crops: 'crops' },
          outputs: { scores: 'colours' },
        },
      ],
    };
    const values = Array.from({ length: rows * 12 }, (_, i) => Math.cos(i));
    const one = await open(pipeline, { 'colours.onnx': colourClassifier(1) });
    const [each] = await one.run([floats('crops', [rows, 3, 2, 2], values)]);
    expect(one.ran).toEqual(Array(rows).fill('colours.onnx [1,3,2,2]'));
    expect(each?.shape).toEqual([rows, 3]);
    if (rows === 0) return;
    const many = await open(
      { ...pipeline, steps: pipeline.steps.map((step) => ({ ...step, rows: 'together' as const })) },
      { 'colours.onnx': colourClassifier() },
    );
    const [together] = await many.run([floats('crops', [rows, 3, 2, 2], values)]);
    for (const [at, value] of Array.from(together?.data ?? [], Number).entries())
      expect(each?.data[at]).toBeCloseTo(value, 6);
  });

  it('names the step that fails, and counts it', async () => {
    const { run, steps } = await open(
      {
        inputs: [
          { name: 'a', datatype: 'FP32', shape: [-1, 3, 2, 2] },
          { name: 'b', datatype: 'FP32', shape: [-1, 3] },
        ],
        outputs: ['both'],
        steps: [
          { name: 'colours', model: 'colours.onnx', inputs: { crops: 'a' }, outputs: { scores: 'c' } },
          { name: 'ensemble', operation: 'average', inputs: ['c', 'b'], output: 'both' },
        ],
      },
      colourFiles,
    );
    const inputs = [floats('a', [1, 3, 2, 2], Array(12).fill(0)), floats('b', [2, 3], Array(6).fill(0))];
    await expect(run(inputs)).rejects.toMatchObject({
      code: 'invalid_request',
      message: 'step "ensemble" (average): its inputs are [1,3] and [2,3], which is not one shape',
    });
    expect(steps.map(({ at, failed }) => [at, failed])).toEqual([
      [0, false],
      [1, true],
    ]);
    await expect(run([inputs[0] as NamedTensor, floats('b', [2], [0, 0])])).rejects.toThrow(
      'input "b" is [2], and must be [-1,3]',
    );
  });
});

describe('filtering', () => {
  it('keeps rows by their scores in every tensor, and the best of too many', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(100), { maxLength: 12 }),
        fc.nat(100),
        fc.integer({ min: 1, max: 5 }),
        async (scores, from, most) => {
          const { run } = await open(
            {
              inputs: [
                { name: 'scores', datatype: 'FP32', shape: [-1] },
                { name: 'crops', datatype: 'FP32', shape: [-1, 3, 2, 2] },
              ],
              outputs: ['kept', 'colours', 'found'],
              steps: [
                { name: 'colours', model: 'colours.onnx', inputs: { crops: 'some' }, outputs: { scores: 'colours' } },
                {
                  name: 'sure',
                  operation: 'filter',
                  scores: 'scores',
                  from,
                  most,
                  keep: { scores: 'kept', crops: 'some' },
                  found: 'found',
                },
              ],
            },
            colourFiles,
          );
          const crops = scores.flatMap((score) => Array(12).fill(score));
          const [kept, colours, found] = await run([
            floats('scores', [scores.length], scores),
            floats('crops', [scores.length, 3, 2, 2], crops),
          ]);
          const passed = scores.filter((score) => score >= from);
          const least = passed.toSorted((a, b) => b - a)[most - 1] ?? from;
          expect(Number(found?.data[0])).toBe(passed.length);
          expect(kept?.data.length).toBe(Math.min(most, passed.length));
          expect([...(kept?.data ?? [])].every((score) => Number(score) >= least)).toBe(true);
          expect(colours?.shape).toEqual([kept?.data.length, 3]);
        },
      ),
      { numRuns: 25 },
    );
  });
});
