import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { identity } from '../../../../test/support/onnx-models.ts';
import type { Ending, Job } from '../worker/job.ts';
import type { ModelToOpen } from '../worker/messages.ts';
import { startModelProcess } from './model-process.ts';
import type { Worker } from './worker.ts';

describe('a model in a process of its own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'model-process-'));
  const path = join(folder, 'model.onnx');
  writeFileSync(path, identity('float', ['n', 2]));
  const model: ModelToOpen = {
    id: 7,
    name: 'echo',
    version: 1,
    path,
    intraOpThreads: 1,
    providers: [],
    golden: undefined,
    isolation: 'process',
  };
  let thread: Worker | undefined;
  const died: string[] = [];
  afterEach(() => thread?.end());
  afterAll(() => rmSync(folder, { recursive: true }));

  async function start(): Promise<Worker> {
    died.length = 0;
    const fresh = startModelProcess({
      maxRssBytes: 2 ** 31,
      onEnded: () => undefined,
      onUnbatchable: () => undefined,
      onSteps: () => undefined,
      onDied: ({ message }) => died.push(message),
    });
    thread = fresh;
    const opened = await fresh.open(model);
    expect(opened).toMatchObject({ joining: { allowed: true }, signature: { inputs: [{ shape: [-1, 2] }] } });
    return fresh;
  }

  const outputs = [{ name: 'y', datatype: 'FP32' as const, shape: [-1, 2] }];
  const jobOf = (value: number, more: Partial<Job>): Job => ({
    model: 7,
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(value, -value) }],
    rows: 1,
    maxRows: 8,
    deadline: undefined,
    outputs,
    outputBytes: 64,
    settle: () => undefined,
    ...more,
  });
  const run = (on: Worker, value: number, more: Partial<Job> = {}) =>
    new Promise<Ending>((settle) => on.submit(jobOf(value, { ...more, settle })));

  it('runs together what came together, and gives each its own', async () => {
    const process = await start();
    const endings = [1, 2, 3].map((value) => run(process, value));
    expect([process.depth(), process.runs() % 2]).toEqual([3, 0]);
    process.wake();
    expect(process.runs() % 2).toBe(1);
    const ended = await Promise.all(endings);
    expect(ended).toMatchObject([1, 2, 3].map((value) => ({ outputs: [{ data: Float32Array.of(value, -value) }] })));
    expect(ended.map((each) => each.kind === 'done' && each.outcome.runRows)).toEqual([3, 0, 0]);
    expect([process.depth(), process.runs() % 2]).toEqual([0, 0]);
  });

  it('drops what was taken back or has expired', async () => {
    const process = await start();
    const lost = run(process, 1);
    process.takeBack();
    expect(await lost).toEqual({ kind: 'lost' });
    const handle = process.submit(jobOf(2, {}));
    expect(process.cancel(handle ?? 0)).toBe(true);
    const expired = run(process, 3, { deadline: performance.now() - 1 });
    process.wake();
    expect(await expired).toEqual({ kind: 'expired' });
    expect(process.cancel(handle ?? 0)).toBe(false);
  });

  it('gives back what is for a model that it does not hold, and what has not begun to run', async () => {
    const process = await start();
    const strange = run(process, 1, { model: 8 });
    process.wake();
    expect(await strange).toEqual({ kind: 'lost' });
    const endings = Promise.all(Array.from({ length: 200 }, (_, i) => run(process, i, { rows: 0 })));
    process.wake();
    process.takeBack();
    const kinds = new Set((await endings).map(({ kind }) => kind));
    expect(kinds.has('lost')).toBe(true);
    expect([...kinds].every((kind) => kind === 'lost' || kind === 'done')).toBe(true);
    expect([process.depth(), process.runs() % 2]).toEqual([0, 0]);
  });

  it('fails what was there when it is killed, says why once, and takes no more', async () => {
    const process = await start();
    const failed = run(process, 1);
    process.kill?.('a run did not return');
    expect(await failed).toMatchObject({ kind: 'failed', error: { message: /died: a run did not return/ } });
    expect(died).toEqual(["the model's process died: a run did not return"]);
    expect(process.submit(jobOf(1, {}))).toBeUndefined();
    await expect(process.open(model)).rejects.toThrow(/died/);
  });

  it('says with which words on stderr it crashed', async () => {
    const preload = join(folder, 'crash.cjs');
    writeFileSync(
      preload,
      `setTimeout(() => {
        process.stderr.write('terminate called\\n', () => process.kill(process.pid, 'SIGABRT'));
      }, 50);`,
    );
    vi.stubEnv('NODE_OPTIONS', `--require ${preload}`);
    await expect(start()).rejects.toThrow("the model's process died: it was ended by SIGABRT: terminate called");
    vi.unstubAllEnvs();
    expect(died).toEqual(["the model's process died: it was ended by SIGABRT: terminate called"]);
  });

  it('ends when it is told to, and that is no death', async () => {
    const process = await start();
    await process.end();
    expect(died).toEqual([]);
    expect(process.submit(jobOf(1, {}))).toBeUndefined();
  });
});
