import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
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
    await vi.waitUntil(() => alive() === 2, { timeout: 15_000 });
    await Promise.all(Array.from({ length: 20 }, (_, i) => engine.unload(`m${i}`, 1)));
    expect(alive()).toBe(0);
  });

  it('are replaced when they die, with all their models, and what they had not begun runs elsewhere', async () => {
    await load('first', { instances: 1 });
    await load('second', { instances: 1 });
    await load('both');
    expect(alive()).toBe(2);
    // Idle, so that it may be ended from outside.
    await started[0]?.terminate();
    await vi.waitUntil(() => crashes.length > 0, { timeout: 15_000 });
    expect(await Promise.all(['first', 'second', 'both'].map((name, i) => ask(name, i)))).toEqual([0, 1, 2]);
    await vi.waitUntil(() => alive() === 2, { timeout: 15_000 });
    for (const name of ['first', 'second', 'both']) await engine.unload(name, 1);
  });

  it('let others pass a run that takes long, on a thread of their own, and take back what waits behind it', async () => {
    await engine.close();
    engine = createEngine({ threads: 1, onCrash: (_, error) => expect.unreachable(error.message) });
    await load('quick');
    const slowPath = join(folder, 'slow.onnx');
    const matrix = (name: string) => ({ name, type: 'float', dims: ['n', 'n'] }) as const;
    const products = Array.from({ length: 6 }, (_, i) => ({
      opType: 'MatMul',
      inputs: [`x${i}`, 'x0'],
      outputs: [`x${i + 1}`],
    }));
    writeFileSync(slowPath, encodeGraph({ inputs: [matrix('x0')], outputs: [matrix('x6')], nodes: products }));
    await engine.load(ModelFiles.parse({ name: 'slow', version: 1, path: slowPath, manifest: {} }));
    const { model, release } = engine.lease('slow', 1);
    const side = 2000;
    let slowEnded = false;
    const slow = model.batcher.submit([
      { name: 'x0', datatype: 'FP32', shape: [side, side], data: new Float32Array(side * side) },
    ]);
    const ended = slow.finally(() => {
      slowEnded = true;
    });
    await expect.poll(() => model.batcher.depth(), { timeout: 15_000 }).toBe(0);
    expect(await Promise.all([1, 2, 3].map((value) => ask('quick', value)))).toEqual([1, 2, 3]);
    expect(slowEnded).toBe(false);
    expect(alive()).toBe(2);
    await ended;
    release();
  });
});
