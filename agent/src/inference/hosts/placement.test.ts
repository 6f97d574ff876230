import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { slowToLoad } from '../../../../test/support/hostile-models.ts';
import { encodeGraph, identity } from '../../../../test/support/onnx-models.ts';
import { ModelFiles } from '../../process/ipc.ts';
import { createEngine, type Engine } from '../engine.ts';

describe('worker threads', () => {
  const folder = mkdtempSync(join(tmpdir(), 'placement-'));
  const path = join(folder, 'model.onnx');
  writeFileSync(path, identity('float', ['n']));
  const started: Worker[] = [];
  const ended = new Set<Worker>();
  const crashes: string[] = [];
  let engine: Engine;

  const onWorker = (worker: Worker): void => {
    started.push(worker);
    worker.on('exit', () => ended.add(worker));
  };
  beforeEach(() => {
    process.on('worker', onWorker);
    engine = createEngine({ threads: 2, onCrash: ({ name }) => void crashes.push(name) });
  });
  afterEach(async () => {
    await engine.close();
    process.off('worker', onWorker);
    expect(ended.size).toBe(started.length);
    started.length = 0;
    crashes.length = 0;
    ended.clear();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const load = (name: string, manifest: object = {}): Promise<void> =>
    engine.load(ModelFiles.parse({ name, version: 1, path, manifest }));
  const ask = async (name: string, value: number): Promise<unknown> => {
    const { model, release } = engine.lease(name, 1);
    try {
      const { outputs } = await model.batcher.submit([
        { name: 'x', datatype: 'FP32', shape: [1], data: Float32Array.of(value) },
      ]);
      return outputs[0]?.data[0];
    } finally {
      release();
    }
  };
  const alive = (): number => started.length - ended.size;

  it('are shared by small models, and gone with the last of them', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => load(`m${i}`)));
    expect(await Promise.all(Array.from({ length: 20 }, (_, i) => ask(`m${i}`, i)))).toEqual(
      Array.from({ length: 20 }, (_, i) => i),
    );
    // One is enough; on a machine that is slow for a moment some count as long to load, and keep a thread of their own.
    await vi.waitUntil(() => alive() <= 8, { timeout: 15_000 });
    await Promise.all(Array.from({ length: 20 }, (_, i) => engine.unload(`m${i}`, 1)));
    // One in which models were tried waits a moment for the next.
    await vi.waitUntil(() => alive() === 0, { timeout: 15_000 });
  });

  it('are replaced when they die, with all their models, and what they had not begun runs elsewhere', async () => {
    await load('first', { instances: 1 });
    await load('second', { instances: 1 });
    await load('both', { instances: 2 });
    expect(alive()).toBe(2);
    // Idle, so that it may be ended from outside.
    await started[0]?.terminate();
    await vi.waitUntil(() => crashes.length > 0, { timeout: 15_000 });
    expect(await Promise.all(['first', 'second', 'both'].map((name, i) => ask(name, i)))).toEqual([0, 1, 2]);
    await vi.waitUntil(() => alive() === 2, { timeout: 15_000 });
    for (const name of ['first', 'second', 'both']) await engine.unload(name, 1);
  });

  describe('with one thread, which a run keeps', () => {
    const slowPath = join(folder, 'slow.onnx');
    const side = 2400;
    let slow: { ended: boolean; over: Promise<unknown> };

    beforeEach(async () => {
      await engine.close();
      engine = createEngine({ threads: 1, onCrash: (_, error) => expect.unreachable(error.message) });
      await load('quick');
      const matrix = (name: string) => ({ name, type: 'float', dims: ['n', 'n'] }) as const;
      const products = Array.from({ length: 6 }, (_, i) => ({
        opType: 'MatMul',
        inputs: [`x${i}`, 'x0'],
        outputs: [`x${i + 1}`],
      }));
      writeFileSync(slowPath, encodeGraph({ inputs: [matrix('x0')], outputs: [matrix('x6')], nodes: products }));
      await engine.load(ModelFiles.parse({ name: 'slow', version: 1, path: slowPath, manifest: {} }));
      await vi.waitUntil(() => alive() === 1, { timeout: 15_000 });
      const { model, release } = engine.lease('slow', 1);
      const run = model.batcher.submit([
        { name: 'x0', datatype: 'FP32', shape: [side, side], data: new Float32Array(side * side) },
      ]);
      const begun = { ended: false, over: run.finally(release) };
      void run.then(() => {
        begun.ended = true;
      });
      slow = begun;
      await expect.poll(() => model.batcher.depth(), { timeout: 15_000 }).toBe(0);
    });
    afterEach(() => slow.over);

    it('others pass it on a thread of their own, and what waits behind it is taken back', async () => {
      expect(await Promise.all([1, 2, 3].map((value) => ask('quick', value)))).toEqual([1, 2, 3]);
      expect(slow.ended).toBe(false);
      expect(alive()).toBe(2);
    });

    it('a model that is loaded meanwhile does not wait for it', async () => {
      await load('meanwhile');
      expect(await ask('meanwhile', 4)).toBe(4);
      expect(await ask('quick', 5)).toBe(5);
      expect(slow.ended).toBe(false);
    });

    it('a model that leaves meanwhile keeps nobody else from coming or leaving', async () => {
      const left = engine.unload('slow', 1);
      await load('another');
      await engine.unload('quick', 1);
      expect(await ask('another', 6)).toBe(6);
      expect(slow.ended).toBe(false);
      await slow.over;
      await left;
    });
  });

  it('that take long to load are their models’ own, and more than a few share some', async () => {
    const slowPath = join(folder, 'slow-to-load.onnx');
    writeFileSync(slowPath, slowToLoad(10, 1024));
    await load('quick', { instances: 1 });
    const names = Array.from({ length: 10 }, (_, i) => `slow-${i}`);
    for (const name of names)
      await engine.load(ModelFiles.parse({ name, version: 1, path: slowPath, manifest: { instances: 1 } }));
    expect(await Promise.all(names.map((name) => ask(name, 1)))).toEqual(names.map(() => 1.5));
    // Eight for the ten, and the shared one.
    await vi.waitUntil(() => alive() === 9, { timeout: 60_000 });
    expect(await Promise.all(names.map((name) => ask(name, 2)))).toEqual(names.map(() => 2.5));
    expect(await ask('quick', 3)).toBe(3);
  });
});
