import { describe, expect, it, vi } from 'vitest';
import { type BatcherOptions, createBatcher } from './batcher.ts';
import type { RunResult } from './pool.ts';
import type { NamedTensor } from './tensors.ts';

const row = (value: number, rows = 1): NamedTensor[] => [
  { name: 'x', datatype: 'FP32', shape: [rows, 1], data: new Float32Array(rows).fill(value) },
];

/** Runs that end when the test says so. */
function heldRuns() {
  const runs: { rows: number; finish(): void; fail(): void }[] = [];
  const run = (inputs: readonly NamedTensor[]) =>
    new Promise<RunResult>((resolve, reject) =>
      runs.push({
        rows: inputs[0]?.shape[0] ?? 0,
        finish: () => resolve({ outputs: [...inputs], runMs: 1 }),
        fail: () => reject(new Error('boom')),
      }),
    );
  return { runs, run };
}

const options = (run: BatcherOptions['run'], more: Partial<BatcherOptions> = {}): BatcherOptions => ({
  run,
  instances: 1,
  policy: { maxBatch: 4, maxDelayMs: 0 },
  batchable: true,
  maxQueued: 100,
  maxQueuedBytes: 1000,
  ...more,
});

describe('the batcher', () => {
  it('runs a lone request at once, and those that came meanwhile together', async () => {
    const { runs, run } = heldRuns();
    const batcher = createBatcher(options(run));
    const answers = [1, 2, 3, 4].map((value) => batcher.submit(row(value)));
    expect(runs.map(({ rows }) => rows)).toEqual([1]);
    expect(batcher.depth()).toBe(3);
    runs[0]?.finish();
    await vi.waitUntil(() => runs.length === 2);
    expect(runs[1]?.rows).toBe(3);
    runs[1]?.finish();
    const values = (await Promise.all(answers)).map(({ outputs }) => outputs[0]?.data);
    expect(values).toEqual([1, 2, 3, 4].map((value) => Float32Array.of(value)));
    expect([...batcher.runs()]).toEqual([
      [1, 1],
      [3, 1],
    ]);
  });

  it('runs each alone when a run of several fails, so that one does not spoil the others', async () => {
    const { runs, run } = heldRuns();
    const batcher = createBatcher(options(run));
    const settled = Promise.allSettled([1, 2, 3].map((value) => batcher.submit(row(value))));
    runs[0]?.finish();
    await vi.waitUntil(() => runs.length === 2);
    runs[1]?.fail();
    await vi.waitUntil(() => runs.length === 3);
    runs[2]?.fail();
    await vi.waitUntil(() => runs.length === 4);
    runs[3]?.finish();
    expect((await settled).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('stops sharing runs when the model gives no row for each row', async () => {
    const rowsRun: number[] = [];
    const run = async (inputs: readonly NamedTensor[]) => {
      rowsRun.push(inputs[0]?.shape[0] ?? 0);
      await new Promise(setImmediate);
      return { outputs: row(7), runMs: 1 };
    };
    const batcher = createBatcher(options(run));
    const submitThree = () => Promise.all([1, 2, 3].map((value) => batcher.submit(row(value))));
    for (const { outputs } of await submitThree()) expect(outputs).toEqual(row(7));
    expect(rowsRun).toEqual([1, 2, 1, 1]);
    await submitThree();
    expect(rowsRun).toEqual([1, 2, 1, 1, 1, 1, 1]);
  });

  it('refuses with a time to come back when its queue is full, by count and by bytes', async () => {
    const byCount = createBatcher(options(heldRuns().run, { maxQueued: 2 }));
    for (const value of [1, 2, 3]) void byCount.submit(row(value));
    await expect(byCount.submit(row(4))).rejects.toMatchObject({ code: 'unavailable', retryAfterSeconds: 1 });
    const byBytes = createBatcher(options(heldRuns().run, { maxQueuedBytes: 100 }));
    void byBytes.submit(row(1, 1000));
    void byBytes.submit(row(1, 20));
    await expect(byBytes.submit(row(4, 20))).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('waits for company when told to, and not for ever', async () => {
    const { runs, run } = heldRuns();
    const batcher = createBatcher(options(run, { policy: { maxBatch: 2, maxDelayMs: 20 } }));
    void batcher.submit(row(1));
    expect(runs).toHaveLength(0);
    void batcher.submit(row(2));
    expect(runs.map(({ rows }) => rows)).toEqual([2]);
    runs[0]?.finish();
    void batcher.submit(row(3));
    await vi.waitUntil(() => runs.length === 2);
    expect(runs[1]?.rows).toBe(1);
  });
});
