import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeGraph, identity, perceptron } from '../../../test/support/onnx-models.ts';
import { ModelFiles } from '../process/ipc.ts';
import { clearRunningNote } from '../process/running-note.ts';
import { readRunningNote } from '../process/running-report.ts';
import type { Lane } from './hosts/lane.ts';
import { ThisThread } from './hosts/this-thread.ts';
import { ModelBatcher } from './queueing/batcher.ts';
import { createDispatcher } from './queueing/dispatcher.ts';
import { createRunHistory } from './queueing/run-history.ts';
import { createStatistics } from './queueing/statistics.ts';
import { createQuickModels, stampOf } from './quick-models.ts';
import type { ModelToOpen } from './worker/messages.ts';
import { openSession } from './worker/session.ts';

const folder = mkdtempSync(join(tmpdir(), 'quick-models-'));
const notePath = join(folder, 'running-note');
const ends: (() => Promise<void>)[] = [];
beforeAll(async () => {
  // The first session of a process takes longer to make than those that follow.
  const path = join(folder, 'first.onnx');
  writeFileSync(path, perceptron([2, 4, 3]));
  await (await openSession(path)).session.release();
});
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Quick models beside a thread of the same kind that stands for the others; probation is over when the test says so. */
function start() {
  let nowMs = 1000;
  clearRunningNote(notePath);
  const dispatcher = createDispatcher();
  const batchers = new Map<number, ModelBatcher>();
  const events = {
    onEnded: dispatcher.pumpSoon,
    onUnbatchable: (id: number) => batchers.get(id)?.stopBatching(),
  };
  const refused: unknown[] = [];
  const quickModels = createQuickModels({
    ...events,
    runningNotePath: notePath,
    nowMs: () => nowMs,
    onRefused: (_, error) => refused.push(error),
  });
  const other = new ThisThread({ ...events, note: undefined });
  const lane: Lane = { thread: other, plannedMs: 0, plannedBytes: 0, opening: false, lateRun: undefined, full: false };
  ends.push(async () => {
    await quickModels.close();
    await other.end();
  });

  const load = async (name: string, bytes: Uint8Array, more: Partial<ModelFiles> = {}) => {
    const id = batchers.size + 1;
    const path = join(folder, `${name}.onnx`);
    writeFileSync(path, bytes);
    const files = ModelFiles.parse({ name, version: 1, path, manifest: {}, ...more });
    const isolation = files.manifest.isolation;
    const model: ModelToOpen = {
      id,
      name,
      version: 1,
      path,
      golden: undefined,
      intraOpThreads: 1,
      providers: [],
      isolation,
    };
    const stamp = stampOf(path);
    const opened = await other.open(model);
    const quick = quickModels.standingOf(files, { ...model, stamp }, opened);
    const batcher = new ModelBatcher({
      id,
      signature: opened.signature,
      batchable: opened.joining.allowed,
      statistics: createStatistics(Date.now),
      history: createRunHistory(),
      quick,
      policy: { maxBatch: 32, maxDelayMs: 0 },
      maxQueued: 1000,
      bytesFree: () => 1e9,
      pump: dispatcher.pumpSoon,
    });
    batchers.set(id, batcher);
    batcher.setLanes([lane]);
    dispatcher.add(batcher);
    return { id, path, batcher, quick };
  };
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  /** With runs on these inputs; on a busy machine more of them are needed until enough were quick. */
  const prove = async ({ batcher, quick }: Awaited<ReturnType<typeof load>>, inputs: NamedTensor[]) => {
    nowMs += 10_000;
    await vi.waitUntil(
      async () => {
        for (let run = 0; run < 200; run++) await batcher.submit(inputs);
        return quick?.standing.isProven();
      },
      { timeout: 30_000, interval: 0 },
    );
    quickModels.look();
  };
  const runsOf = (quick: { lane: Lane | undefined } | undefined) => (quick?.lane?.thread.runs() ?? 0) / 2;
  return { quickModels, load, prove, runsOf, refused, pass };
}

const row = (...values: number[]): NamedTensor[] => [
  { name: 'x', datatype: 'FP32', shape: [1, values.length], data: Float32Array.from(values) },
];

describe('models that run in the thread that answers HTTP', () => {
  it('have proved themselves elsewhere, and answer the same here', async () => {
    const { load, prove, runsOf, refused } = start();
    const tiny = await load('tiny', perceptron([2, 4, 3]));
    const { batcher, quick } = tiny;
    const [before] = (await batcher.submit(row(0.25, -3))).outputs;
    expect(batcher.runsHere()).toBe(0);
    await prove(tiny, row(1, 2));
    await vi.waitUntil(() => quick?.lane !== undefined);
    expect((await batcher.submit(row(0.25, -3))).outputs).toEqual([before]);
    expect([runsOf(quick), batcher.runsHere()]).toEqual([1, 1]);
    expect(refused).toEqual([]);
  });

  it('run what has come together as one, and give each caller its own', async () => {
    const { load, prove, runsOf } = start();
    const echo = await load('echo', identity('float', ['n', 2]));
    const { batcher, quick } = echo;
    await prove(echo, [{ name: 'x', datatype: 'FP32', shape: [8, 2], data: new Float32Array(16) }]);
    const answers = await Promise.all([1, 2, 3, 4].map((value) => batcher.submit(row(value, -value))));
    expect(answers.map(({ outputs }) => outputs[0]?.data)).toEqual([1, 2, 3, 4].map((v) => Float32Array.of(v, -v)));
    expect(runsOf(quick)).toBe(1);
    expect(batcher.statistics().batches.find(({ size }) => size === 4)?.infer.count).toBe(1);
  });

  it('fail one request and answer its neighbours', async () => {
    const { load, prove, runsOf } = start();
    const picks = encodeGraph({
      inputs: [{ name: 'x', type: 'int64', dims: ['n', 1] }],
      outputs: [{ name: 'y', type: 'float', dims: ['n', 1] }],
      initializers: [{ name: 'table', dims: [2], data: Float32Array.of(5, 7) }],
      nodes: [{ opType: 'Gather', inputs: ['table', 'x'], outputs: ['y'] }],
    });
    const pick = (place: bigint): NamedTensor[] => [
      { name: 'x', datatype: 'INT64', shape: [1, 1], data: BigInt64Array.of(place) },
    ];
    const model = await load('picks', picks);
    const { batcher, quick } = model;
    await prove(model, [{ name: 'x', datatype: 'INT64', shape: [3, 1], data: BigInt64Array.of(0n, 1n, 0n) }]);
    const [good, bad, other] = await Promise.allSettled(
      [pick(0n), pick(9n), pick(1n)].map((each) => batcher.submit(each)),
    );
    expect(good).toMatchObject({ value: { outputs: [{ data: Float32Array.of(5) }] } });
    expect(bad).toMatchObject({ reason: { code: 'internal', message: expect.stringMatching(/out of.*bounds/) } });
    expect(other).toMatchObject({ value: { outputs: [{ data: Float32Array.of(7) }] } });
    expect(runsOf(quick)).toBeGreaterThan(0);
  });

  it('are noted while they run and for a second after, each in the place of the one before', async () => {
    const { load, prove, quickModels, pass } = start();
    const noted = () => readRunningNote(notePath, 'http-thread').map(({ name }) => name);
    const first = await load('first', perceptron([2, 4, 3]));
    const second = await load('second', identity('float', ['n', 2]));
    await prove(first, row(1, 2));
    await prove(second, row(1, 2));
    await first.batcher.submit(row(1, 2));
    expect(noted()).toEqual(['first']);
    await second.batcher.submit(row(1, 2));
    expect(noted()).toEqual(['second']);
    quickModels.look();
    pass(999);
    quickModels.look();
    expect(noted()).toEqual(['second']);
    pass(1);
    quickModels.look();
    expect(noted()).toEqual([]);
  });

  it.each([
    ['that is on trial', { onTrial: true }],
    ['that was there when its process died', { suspected: true }],
    ['in a process of its own', { manifest: ModelFiles.shape.manifest.parse({ isolation: 'process' }) }],
  ])('are never one %s', async (_, more) => {
    expect((await start().load('tiny', perceptron([2, 4, 3]), more)).quick).toBeUndefined();
  });

  it('are none whose file was changed since it was loaded', async () => {
    const { load, prove, refused } = start();
    const changed = await load('changed', identity('float', ['n', 2]));
    const { batcher } = changed;
    writeFileSync(changed.path, perceptron([2, 4, 2]));
    await prove(changed, row(1, 2));
    await vi.waitUntil(() => refused.length > 0);
    expect(refused).toEqual([expect.objectContaining({ code: 'conflict' })]);
    expect((await batcher.submit(row(3, 4))).outputs[0]?.data).toEqual(Float32Array.of(3, 4));
    expect(batcher.runsHere()).toBe(0);
  });
});
