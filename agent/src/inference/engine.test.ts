import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import { tensorFromJson, tensorToJson } from '@edgeloop/shared/tensor-data';
import { datatypes } from '@edgeloop/shared/tensors';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { processKiller } from '../../../test/support/hostile-models.ts';
import { encodeGraph, identity, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { ModelFiles } from '../process/ipc.ts';
import { clearRunningNote } from '../process/running-note.ts';
import { readRunningNote } from '../process/running-report.ts';
import { createEngine, type Engine } from './engine.ts';

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

  function files(name: string, version: number, bytes: Uint8Array, more: object = {}): ModelFiles {
    const path = join(folder, `${name}-${version}.onnx`);
    writeFileSync(path, bytes);
    return ModelFiles.parse({ name, version, path, manifest: {}, ...more });
  }

  const softmax = softmaxClassifier(
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
      opset: 17,
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
    expect(() => engine.lease('softmax', 2)).toThrow('unknown model: "softmax" version 2');
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
    expect(() => engine.lease('again', 1)).toThrow('unknown model: "again"');
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

  describe('loading a version again', () => {
    const loadIdentity = (digest: string, plus: number, more: object = {}) => {
      const bytes = encodeGraph({
        inputs: [{ name: 'x', type: 'float', dims: ['n'] }],
        outputs: [{ name: 'y', type: 'float', dims: ['n'] }],
        initializers: [{ name: 'w', dims: [1], data: Float32Array.of(plus) }],
        nodes: [{ opType: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
      });
      const path = join(folder, `${digest}.onnx`);
      writeFileSync(path, bytes);
      return engine.load(ModelFiles.parse({ name: 'twice', version: 1, path, digest, manifest: {}, ...more }));
    };
    const ask = async ({ model }: ReturnType<Engine['lease']>) => {
      const { outputs } = await model.batcher.submit([
        { name: 'x', datatype: 'FP32', shape: [1], data: Float32Array.of(0) },
      ]);
      return outputs[0]?.data[0];
    };
    afterEach(() => engine.unload('twice', 1));

    it('changes nothing when it is loaded just so', async () => {
      await loadIdentity('a', 1);
      const first = engine.lease('twice', 1);
      first.release();
      await loadIdentity('a', 1);
      const second = engine.lease('twice', 1);
      second.release();
      expect(second.model).toBe(first.model);
    });

    it('swaps other bytes of the same number in while it is asked, and failed ones not at all', async () => {
      await loadIdentity('a', 1);
      engine.activate('twice', 1);
      const before = engine.lease('twice');
      let over = false;
      const seen: unknown[] = [];
      const traffic = (async () => {
        while (!over) {
          const lease = engine.lease('twice');
          seen.push(await ask(lease));
          lease.release();
        }
      })();
      await loadIdentity('b', 2);
      expect(await ask(before)).toBe(1);
      before.release();
      const after = engine.lease('twice');
      expect(await ask(after)).toBe(2);
      after.release();
      writeFileSync(join(folder, 'c.onnx'), 'no model');
      await expect(
        engine.load(
          ModelFiles.parse({ name: 'twice', version: 1, path: join(folder, 'c.onnx'), digest: 'c', manifest: {} }),
        ),
      ).rejects.toMatchObject({ code: 'model_rejected' });
      over = true;
      await traffic;
      const last = engine.lease('twice');
      expect(await ask(last)).toBe(2);
      last.release();
      expect(seen.filter((value) => value !== 1 && value !== 2)).toEqual([]);
      expect(last.model.batcher.statistics().success.count).toBeLessThan(seen.length + 3);
    });

    it('moves a version out of its own process and goes on counting it', async () => {
      await loadIdentity('a', 1, { manifest: { isolation: 'process', instances: 1 } });
      const apart = engine.lease('twice', 1);
      expect(await ask(apart)).toBe(1);
      await loadIdentity('a', 1);
      const moved = engine.lease('twice', 1);
      expect(moved.model.files.manifest.isolation).toBe('shared');
      expect(await ask(moved)).toBe(1);
      expect(await ask(apart)).toBe(1);
      apart.release();
      moved.release();
      expect(moved.model.counted).toBe(apart.model.counted);
      expect(moved.model.batcher.statistics().success.count).toBe(3);
    });
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
      await engine.load(files(`identity-${datatype}`, 1, identity(type, ['n']), { manifest: { instances: 1 } }));
      const { model, release } = engine.lease(`identity-${datatype}`, 1);
      const { outputs } = await model.batcher.submit([tensorFromJson({ name: 'x', datatype, shape: [2], data })]);
      expect(outputs.map(tensorToJson)).toEqual([{ datatype, shape: [2], data }]);
      release();
      await engine.unload(`identity-${datatype}`, 1);
    },
  );

  it('says how a version runs, counts what it did, and says why it runs on another provider than was asked for', async () => {
    await engine.load(
      files('counted', 1, softmax, {
        manifest: { providers: ['qnn'] },
        tuning: { instances: 1, intraOpThreads: 2, maxBatch: 8 },
      }),
    );
    const { model, release } = engine.lease('counted', 1);
    await model.batcher.submit([row(1, 0)]);
    await expect(model.batcher.submit([{ ...row(1, 0), shape: [1, 3] }])).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await expect(model.batcher.submit([row(1, 0)], { deadline: 0 })).rejects.toMatchObject({ code: 'timeout' });
    release();
    expect(model.runtime).toEqual({
      instances: 1,
      intraOpThreads: 2,
      batchable: true,
      joining: expect.stringContaining('keeps rows apart'),
      providers: { used: ['cpu'], fallback: '"qnn" is not part of ONNX Runtime on this machine' },
    });
    expect(model.batcher.statistics()).toMatchObject({
      success: { count: 1 },
      inferenceCount: 1,
      executionCount: 1,
      batches: [{ size: 1, infer: { count: 1 } }],
      expired: 1,
    });
    await engine.unload('counted', 1);
    expect(() => engine.lease('counted', 1)).toThrow('unknown model: "counted"');
  });

  it('runs what does not fit the shared memory, and answers in order with what does', async () => {
    await engine.load(files('echo', 1, identity('float', ['a', 'b']), { manifest: { instances: 1 } }));
    const { model, release } = engine.lease('echo', 1);
    const filled = (rows: number, width: number, value: number) => [
      { name: 'x', datatype: 'FP32' as const, shape: [rows, width], data: new Float32Array(rows * width).fill(value) },
    ];
    // 8 MB is more than a request may take of the ring; small and empty ones travel through it.
    const sizes = [
      [2, 3],
      [1024, 2048],
      [1, 1],
      [0, 5],
      [2000, 1000],
      [3, 2],
    ];
    const answers = await Promise.all(
      sizes.map(([rows = 0, width = 0], i) => model.batcher.submit(filled(rows, width, i))),
    );
    for (const [i, { outputs }] of answers.entries()) {
      const [rows = 0, width = 0] = sizes[i] ?? [];
      expect(outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))).toEqual([
        { name: 'y', datatype: 'FP32', shape: [rows, width] },
      ]);
      // Not by toEqual, which takes seconds over millions of values.
      expect(outputs[0]?.data.length).toBe(rows * width);
      const data = outputs[0]?.data;
      expect(data instanceof Float32Array && data.every((value) => value === i)).toBe(true);
    }
    release();
    await engine.unload('echo', 1);
  });

  it('gives each request its own rows when runs are shared, and each its own error', async () => {
    const instances = { manifest: { instances: 1 } };
    await engine.load(files('shared', 1, softmax, instances));
    const { model, release } = engine.lease('shared', 1);
    const rows = (count: number, value: number) =>
      tensorFromJson({ name: 'features', datatype: 'FP32', shape: [count, 2], data: Array(count).fill([value, 0]) });
    const requests = Array.from({ length: 300 }, (_, i) =>
      i % 50 === 7 ? { ...rows(2, 0), shape: [1, 4] } : rows((i % 4) + 1, i / 100),
    );
    const outcomes = await Promise.allSettled(requests.map((request) => model.batcher.submit([request])));
    for (const [i, outcome] of outcomes.entries()) {
      if (i % 50 === 7) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'invalid_request' } });
        continue;
      }
      const output = outcome.status === 'fulfilled' ? outcome.value.outputs[0] : undefined;
      expect(output?.shape).toEqual([(i % 4) + 1, 2]);
      expect(output?.data[0]).toBeCloseTo(1 / (1 + Math.exp(-i / 100)), 5);
      expect(output?.data.at(-2)).toBe(output?.data[0]);
    }
    expect(model.batcher.statistics().executionCount).toBeLessThan(294);
    release();
    await engine.unload('shared', 1);
  });

  it('serves on when shared threads are renewed after many versions came and went', async () => {
    const v = (version: number) => files('renewed', version, softmax);
    await engine.load(v(1));
    engine.activate('renewed', 1);
    let over = false;
    const traffic = (async () => {
      let answered = 0;
      while (!over) {
        const lease = engine.lease('renewed');
        const { outputs } = await lease.model.batcher.submit([row(0, 0)]);
        lease.release();
        expect(outputs[0]?.data[0]).toBe(0.5);
        answered++;
      }
      return answered;
    })();
    for (let version = 2; version <= 30; version++) {
      await engine.load(v(version));
      engine.activate('renewed', version);
      await engine.unload('renewed', version - 1);
    }
    over = true;
    expect(await traffic).toBeGreaterThan(29);
    await engine.unload('renewed', 30);
  });

  it('takes an initializer that the graph lists as an input for optional', async () => {
    const bytes = encodeGraph({
      inputs: [
        { name: 'x', type: 'float', dims: ['n'] },
        { name: 'w', type: 'float', dims: [1] },
      ],
      outputs: [{ name: 'y', type: 'float', dims: ['n'] }],
      initializers: [{ name: 'w', dims: [1], data: Float32Array.of(3) }],
      nodes: [{ opType: 'Mul', inputs: ['x', 'w'], outputs: ['y'] }],
    });
    await engine.load(files('optional', 1, bytes));
    const { model, release } = engine.lease('optional', 1);
    expect(model.signature.inputs.map(({ name }) => name)).toEqual(['x']);
    const { outputs } = await model.batcher.submit([
      { name: 'x', datatype: 'FP32', shape: [2], data: Float32Array.of(1, 2) },
    ]);
    expect(outputs[0]?.data).toEqual(Float32Array.of(3, 6));
    release();
    await engine.unload('optional', 1);
  });

  it('names the version that a killed process was running', async () => {
    const path = join(folder, 'running-note');
    clearRunningNote(path);
    const noting = createEngine({
      threads: 1,
      runningNotePath: path,
      onCrash: (_, error) => expect.unreachable(error.message),
    });
    await noting.load(files('noted', 3, identity('float', ['a', 'b'])));
    const { model, release } = noting.lease('noted', 3);
    const data = new Float32Array(4_000_000);
    let over = false;
    const runs = (async () => {
      while (!over) await model.batcher.submit([{ name: 'x', datatype: 'FP32', shape: [2000, 2000], data }]);
    })();
    // One reading is both the sign and the answer: the note comes and goes with every run.
    const seen = await vi.waitUntil(() => readRunningNote(path).at(0), { timeout: 10_000, interval: 0 });
    expect(seen).toEqual({ name: 'noted', version: 3 });
    over = true;
    await runs;
    release();
    await vi.waitUntil(() => readRunningNote(path).length === 0, { timeout: 10_000 });
    await noting.close();
  });

  it('lays it to nobody that a model which lost its process cannot come back because its file is gone', async () => {
    const said: string[] = [];
    const apart = createEngine({
      threads: 1,
      onCrash: () => undefined,
      onModelDied: (_, error) => said.push(error instanceof AppError ? error.code : error.message),
    });
    const killer = files('killer', 1, processKiller(), { manifest: { isolation: 'process', instances: 1 } });
    await apart.load(killer);
    const { model, release } = apart.lease('killer', 1);
    rmSync(killer.path);
    const vector = (name: string, value: bigint) =>
      ({ name, datatype: 'INT64', shape: [1], data: BigInt64Array.of(value) }) as const;
    await expect(model.batcher.submit([vector('x', 0n), vector('d', -2n)])).rejects.toThrow('SIGFPE');
    await vi.waitUntil(() => said.length === 2, { timeout: 10_000 });
    expect(said).toEqual(['internal', 'unavailable']);
    release();
    await apart.close();
  });
});
