import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { describe, expect, it, vi } from 'vitest';
import type { Lane } from '../hosts/lane.ts';
import type { Job } from '../worker/job.ts';
import { type BatcherOptions, ModelBatcher } from './batcher.ts';
import { createDispatcher } from './dispatcher.ts';
import { createCaller } from './hang-up.ts';
import { createRunHistory } from './run-history.ts';
import { createStatistics } from './statistics.ts';

const row = (value: number, rows = 1): NamedTensor[] => [
  { name: 'x', datatype: 'FP32', shape: [rows, 1], data: new Float32Array(rows).fill(value) },
];

/** A thread with room for so many jobs, which end when the test says so. */
function heldLane(room = 1): { lane: Lane; jobs: Job[]; finish(count?: number, runMs?: number): void } {
  const jobs: Job[] = [];
  const cancelled = new Set<Job>();
  const lane: Lane = {
    plannedMs: 0,
    plannedBytes: 0,
    opening: false,
    lateRun: undefined,
    full: false,
    thread: {
      started: Promise.resolve(undefined),
      submit: (job) => (jobs.length < room ? jobs.push(job) - 1 : undefined),
      cancel: (handle) => {
        const job = jobs[handle];
        if (!job || handle === 0) return false;
        cancelled.add(job);
        return true;
      },
      depth: () => jobs.length,
      open: () => Promise.reject(new Error('not here')),
      close: () => Promise.resolve(),
      end: () => Promise.resolve(),
      wake: () => undefined,
      takeBack: () => undefined,
      runs: () => 0,
      running: () => 0,
      processorMs: () => undefined,
    },
  };
  const finish = (count = 1, runMs = 1): void => {
    lane.full = false;
    for (const job of jobs.splice(0, count)) {
      if (cancelled.has(job)) continue;
      const outcome = { startedAtMs: 0, inputMs: 0, runMs, outputMs: 0, runRows: Math.max(job.rows, 1) };
      job.settle({ kind: 'done', outputs: [...job.inputs], outcome });
    }
  };
  return { lane, jobs, finish };
}

const signature = {
  inputs: [{ name: 'x', datatype: 'FP32' as const, shape: [-1, 1] }],
  outputs: [{ name: 'y', datatype: 'FP32' as const, shape: [-1, 1] }],
};

function served(lanes: Lane[], more: Partial<BatcherOptions> = {}) {
  const dispatcher = createDispatcher();
  const model = addModel(dispatcher, lanes, more);
  return { dispatcher, model, submit: model.submit.bind(model) };
}

function addModel(
  dispatcher: ReturnType<typeof createDispatcher>,
  lanes: Lane[],
  more: Partial<BatcherOptions> = {},
): ModelBatcher {
  const model = new ModelBatcher({
    id: 1,
    signature,
    batchable: true,
    statistics: createStatistics(Date.now),
    history: createRunHistory(),
    policy: { maxBatch: 4, maxDelayMs: 0 },
    maxQueued: 100,
    bytesFree: () => 1000 - dispatcher.waitingBytes(),
    pump: dispatcher.pump,
    ...more,
  });
  model.setLanes(lanes);
  dispatcher.add(model);
  return model;
}

const firstValue = (job: Job | undefined): unknown => job?.inputs[0]?.data[0];

describe('the batcher', () => {
  it('hands a lone request over at once, and answers each with its own', async () => {
    const { lane, jobs, finish } = heldLane(8);
    const { submit, model } = served([lane]);
    const first = submit(row(1));
    await vi.waitUntil(() => jobs.length === 1, { timeout: 15_000 });
    expect(model.depth()).toBe(0);
    finish();
    await expect(first).resolves.toMatchObject({ outputs: row(1), runMs: 1 });
    expect(model.statistics()).toMatchObject({ inferenceCount: 1, executionCount: 1, success: { count: 1 } });
  });

  it('keeps what is beyond the next run, so that priorities, deadlines and other models get their say', async () => {
    const { lane, jobs, finish } = heldLane(256);
    const { submit, model, dispatcher } = served([lane]);
    const answers = [5, 4, 3, 2, 1, 0].map((priority) => submit(row(priority), { priority }));
    const before = jobs.length;
    expect(before).toBeLessThan(6);
    expect(model.depth()).toBe(6 - before);
    finish(before);
    dispatcher.pump();
    expect(firstValue(jobs[0])).toBe(0);
    while (jobs.length > 0) {
      finish(jobs.length);
      dispatcher.pump();
    }
    await Promise.all(answers);
  });

  it('drops what its caller left or its deadline passed, waiting or handed over, and never what runs', async () => {
    const { lane, jobs, finish } = heldLane(2);
    const { submit, model, dispatcher } = served([lane], { policy: { maxBatch: 1, maxDelayMs: 0 } });
    const caller = createCaller();
    const deadline = performance.now() + 20;
    const running = submit(row(1), { caller });
    const handedOver = submit(row(2), { caller });
    const waiting = submit(row(3), { caller });
    const late = submit(row(4), { deadline });
    const patient = submit(row(5));
    expect(jobs).toHaveLength(2);
    caller.hangUp();
    await expect(handedOver).rejects.toMatchObject({ code: 'unavailable' });
    await expect(waiting).rejects.toMatchObject({ code: 'unavailable' });
    await expect(late).rejects.toMatchObject({ code: 'timeout' });
    finish(2);
    dispatcher.pump();
    finish();
    await expect(running).resolves.toMatchObject({ outputs: row(1) });
    await expect(patient).resolves.toMatchObject({ outputs: row(5) });
    expect(model.statistics()).toMatchObject({ cancelled: 2, expired: 1, success: { count: 2 } });
    await expect(submit(row(6), { deadline: performance.now() - 1 })).rejects.toMatchObject({ code: 'timeout' });
    await expect(submit(row(6), { caller })).rejects.toMatchObject({ code: 'unavailable' });
    expect(jobs).toHaveLength(0);
  });

  it('refuses with a time to come back when its queue is full, by count and by bytes', async () => {
    const byCount = served([heldLane(1).lane], { maxQueued: 2 });
    for (const value of [1, 2, 3]) void byCount.submit(row(value));
    await expect(byCount.submit(row(4))).rejects.toMatchObject({ code: 'unavailable', retryAfterSeconds: 1 });
    const byBytes = served([heldLane(1).lane]);
    for (const rows of [1, 200, 20]) void byBytes.submit(row(1, rows));
    await expect(byBytes.submit(row(4, 40))).rejects.toMatchObject({ code: 'unavailable' });
    expect(byBytes.model.statistics().rejected).toBe(1);
  });

  it('waits for company when told to, and not for ever', async () => {
    const { lane, jobs, finish } = heldLane(8);
    const { submit, model } = served([lane], { policy: { maxBatch: 1, maxDelayMs: 0 } });
    void submit(row(0));
    finish();
    const patient = served([lane], { policy: { maxBatch: 2, maxDelayMs: 20 } });
    // The first sizes are tried one after the other, so the cap is 1 at first.
    for (let i = 0; i < 5; i++) {
      const answer = patient.submit(row(i));
      await vi.waitUntil(() => jobs.length === 1, { timeout: 15_000 });
      finish();
      await answer;
    }
    void patient.submit(row(1));
    expect(jobs).toHaveLength(0);
    await vi.waitUntil(() => jobs.length === 1, { timeout: 15_000 });
    void patient.submit(row(2));
    void patient.submit(row(3));
    expect(jobs).toHaveLength(3);
    expect(model.depth()).toBe(0);
  });

  it('refuses data that does not fill its shape, and strings that would be cut', async () => {
    const { submit } = served([heldLane().lane]);
    const short: NamedTensor = { name: 'x', datatype: 'FP32', shape: [3, 1], data: new Float32Array(2) };
    await expect(submit([short])).rejects.toMatchObject({ code: 'invalid_request' });
    const cut: NamedTensor = { name: 'x', datatype: 'BYTES', shape: [1, 1], data: ['a\0b'] };
    await expect(submit([cut])).rejects.toThrow('NUL');
  });

  it('runs elsewhere what a thread that died had not begun', async () => {
    const dead = heldLane(4);
    const { submit, model } = served([dead.lane]);
    const answer = submit(row(7));
    const other = heldLane(4);
    model.setLanes([other.lane]);
    dead.jobs[0]?.settle({ kind: 'lost' });
    expect(firstValue(other.jobs[0])).toBe(7);
    other.finish();
    await expect(answer).resolves.toMatchObject({ outputs: row(7) });
  });
});

describe('the dispatcher', () => {
  it('gives models that share a thread the same time, whatever they ask for', async () => {
    const { lane, jobs, finish } = heldLane(1);
    const dispatcher = createDispatcher();
    const models = [1, 2].map((id) =>
      addModel(dispatcher, [lane], {
        id,
        maxQueued: 1000,
        bytesFree: () => 1e9,
        policy: { maxBatch: 1, maxDelayMs: 0 },
      }),
    );
    const [greedy, modest] = models;
    for (let i = 0; i < 400; i++) void greedy?.submit(row(i));
    for (let i = 0; i < 50; i++) void modest?.submit(row(i));
    const given = new Map([
      [1, 0],
      [2, 0],
    ]);
    // The greedy one takes three times as long a run.
    for (let i = 0; i < 100; i++) {
      const id = jobs[0]?.model ?? 0;
      const runMs = id === 1 ? 3 : 1;
      given.set(id, (given.get(id) ?? 0) + runMs);
      finish(1, runMs);
      dispatcher.pump();
    }
    expect(modest?.depth()).toBe(0);
    expect(given.get(2)).toBe(50);
  });
});
