import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { datatypes } from '@edgeloop/shared/tensors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelFiles } from '../ipc.ts';
import { createEngine, type Engine } from './engine.ts';
import { identityModel, softmaxModel } from './onnx-fixture.ts';
import { tensorFromJson, tensorToJson } from './tensors.ts';

describe('the engine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'engine-'));
  let engine: Engine;

  beforeAll(() => {
    engine = createEngine({ threads: 2, onCrash: (_, error) => expect.unreachable(error.message) });
  });
  afterAll(async () => {
    await engine.close();
    rmSync(folder, { recursive: true });
  });

  function files(name: string, version: number, bytes: Buffer, more: object = {}): ModelFiles {
    const path = join(folder, `${name}-${version}.onnx`);
    writeFileSync(path, bytes);
    return ModelFiles.parse({ name, version, path, manifest: {}, ...more });
  }

  const softmax = softmaxModel(
    [
      [1, 0],
      [0, 1],
    ],
    [0, 0],
  );
  const row = (a: number, b: number) =>
    tensorFromJson({ name: 'features', datatype: 'FP32', shape: [1, 2], data: [a, b] });
  const golden = (first: number) => ({
    samples: [
      {
        inputs: { features: { datatype: 'FP32', shape: [1, 2], data: [1, 1] } },
        outputs: { scores: { datatype: 'FP32', shape: [1, 2], data: [first, 0.5] } },
      },
    ],
  });

  it('reads the signature, reproduces golden samples, and answers many at once each with its own', async () => {
    await engine.load(files('softmax', 1, softmax, { golden: golden(0.5) }));
    engine.activate('softmax', 1);
    const lease = engine.lease('softmax');
    expect(lease.model.signature).toEqual({
      inputs: [{ name: 'features', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'scores', datatype: 'FP32', shape: [-1, 2] }],
    });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => lease.model.batcher.submit([row(i / 100, 0)])),
    );
    for (const [i, { outputs }] of answers.entries()) {
      expect(outputs[0]?.shape).toEqual([1, 2]);
      expect(outputs[0]?.data[0]).toBeCloseTo(1 / (1 + Math.exp(-i / 100)), 5);
    }
    const runs = [...lease.model.batcher.runs()].reduce((sum, [, count]) => sum + count, 0);
    expect(runs).toBeLessThan(200);
    lease.release();
  });

  it('refuses a version whose golden samples do not reproduce, naming the value', async () => {
    await expect(engine.load(files('softmax', 2, softmax, { golden: golden(0.6) }))).rejects.toMatchObject({
      code: 'model_rejected',
      message: 'golden sample 0: output "scores" value 0 is 0.5, expected 0.6',
    });
    expect(() => engine.lease('softmax', 2)).toThrow('unknown model "softmax" version 2');
  });

  it('refuses a manifest that contradicts the model', async () => {
    const inputs = { features: { features: ['a', 'b', 'c'] } };
    await expect(engine.load(files('softmax', 3, softmax, { manifest: { inputs } }))).rejects.toThrow(
      'manifest.inputs.features.features: 3 names for a last dimension of 2',
    );
    const manifest = { task: 'classification', outputs: { labels: ['a', 'b', 'c'] } };
    await expect(engine.load(files('softmax', 3, softmax, { manifest }))).rejects.toThrow('manifest.outputs');
  });

  it('takes loading and unloading of one version in turn, each as often as it is asked', async () => {
    const again = files('again', 1, softmax, { manifest: { instances: 1 } });
    await Promise.all([engine.load(again), engine.load(again)]);
    const first = engine.lease('again', 1);
    first.release();
    await Promise.all([engine.unload('again', 1), engine.load(again), engine.unload('again', 2)]);
    const second = engine.lease('again', 1);
    expect(second.model).not.toBe(first.model);
    second.release();
    await Promise.all([engine.unload('again', 1), engine.unload('again', 1)]);
    expect(() => engine.lease('again', 1)).toThrow('unknown model "again"');
  });

  it('lets a lease finish on the old version while new callers get the new one', async () => {
    await engine.load(files('softmax', 4, softmax));
    const old = engine.lease('softmax');
    engine.activate('softmax', 4);
    let gone = false;
    const unloaded = engine.unload('softmax', 1).then(() => {
      gone = true;
    });
    const fresh = engine.lease('softmax');
    expect(fresh.version).toBe(4);
    fresh.release();
    await expect(old.model.batcher.submit([row(0, 0)])).resolves.toMatchObject({ outputs: [{ shape: [1, 2] }] });
    expect(gone).toBe(false);
    old.release();
    await unloaded;
    expect(engine.list().map(({ name, version }) => `${name}@${version}`)).toEqual(['softmax@4']);
  });

  const ortNames = {
    BOOL: 'bool',
    UINT8: 'uint8',
    INT32: 'int32',
    INT64: 'int64',
    FP16: 'float16',
    FP32: 'float',
    FP64: 'double',
    BYTES: 'string',
  } as const;

  it.each(datatypes.filter((datatype) => datatype in ortNames))(
    'carries %s to the model and back',
    async (datatype) => {
      const type = Object.entries(ortNames).find(([name]) => name === datatype)?.[1] ?? 'float';
      const data = { BOOL: [true, false], BYTES: ['é', ''], INT64: [1, '1152921504606846977'], UINT8: [0, 255] }[
        String(datatype)
      ] ?? [1, -2];
      await engine.load(files(`identity-${datatype}`, 1, identityModel(type, ['n']), { manifest: { instances: 1 } }));
      const { model, release } = engine.lease(`identity-${datatype}`, 1);
      const { outputs } = await model.batcher.submit([tensorFromJson({ name: 'x', datatype, shape: [2], data })]);
      expect(outputs.map(tensorToJson)).toEqual([{ datatype, shape: [2], data }]);
      release();
      await engine.unload(`identity-${datatype}`, 1);
    },
  );
});
