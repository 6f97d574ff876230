import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import { isCrowded, type Lane } from './lane.ts';
import { type Instances, Placement } from './placement.ts';
import type { Worker } from './worker.ts';

/** A thread that loads when it is told to, and runs nothing. */
interface FakeThread extends Worker {
  models: Set<number>;
  hasEnded: boolean;
  load(): void;
}

const threads: FakeThread[] = [];
/** False: each load waits for `load`. */
let loadsAtOnce = true;
let loadMs = 1;

vi.mock('./worker-thread.ts', () => ({
  startWorkerThread: () => {
    const thread = fakeThread();
    threads.push(thread);
    return thread;
  },
}));

function fakeThread(): FakeThread {
  let load = (): void => undefined;
  const opened = (): OpenedModel => ({
    signature: { inputs: [], outputs: [] },
    joining: { allowed: false, reason: 'not here' },
    plain: false,
    providers: { used: ['cpu'], fallback: undefined },
    loadMs,
  });
  const thread: FakeThread = {
    models: new Set(),
    hasEnded: false,
    load: () => load(),
    started: Promise.resolve(undefined),
    runs: () => 0,
    running: () => 0,
    processorMs: () => undefined,
    submit: () => undefined,
    cancel: () => false,
    depth: () => 0,
    open: (model) =>
      new Promise((resolve) => {
        load = () => {
          thread.models.add(model.id);
          resolve(opened());
        };
        if (loadsAtOnce) load();
      }),
    close: async (id) => void thread.models.delete(id),
    end: async () => {
      thread.hasEnded = true;
    },
    wake: () => undefined,
    takeBack: () => undefined,
  };
  return thread;
}

describe('threads of a model', () => {
  let placement: Placement;
  beforeEach(() => {
    threads.length = 0;
    loadsAtOnce = true;
    loadMs = 1;
    placement = new Placement({
      threads: 2,
      runningNotePath: undefined,
      maxRssBytes: 1,
      onEnded: () => undefined,
      onUnbatchable: () => undefined,
      onSteps: () => undefined,
      onCrash: (_, error) => expect.unreachable(error.message),
    });
  });
  const model = (id: number): ModelToOpen => ({
    id,
    name: `m${id}`,
    version: 1,
    path: '/none',
    golden: undefined,
    intraOpThreads: 1,
    providers: [],
    isolation: 'shared',
  });
  const place = (id: number, instances: Instances = { first: 1, most: 2 }) =>
    placement.place(model(id), instances, () => undefined);
  const holding = (id: number) => threads.filter((thread) => thread.models.has(id) && !thread.hasEnded).length;

  it('are one at first, and more when it has grown, up to its bound', async () => {
    await place(1);
    expect(placement.lanesOf(1)).toHaveLength(1);
    await Promise.all([placement.grow(1), placement.grow(1)]);
    expect(placement.lanesOf(1)).toHaveLength(2);
    await placement.grow(1);
    expect([placement.lanesOf(1).length, holding(1)]).toEqual([2, 2]);
  });

  it('begin before the first model where that was prepared, once, whoever prepares', async () => {
    placement.prepare();
    placement.prepare(10_000);
    await place(1);
    expect([threads.length, placement.lanesOf(1).length]).toEqual([1, 1]);
  });

  it('end when the model that they were prepared for does not come', async () => {
    vi.useFakeTimers();
    try {
      placement.prepare(10_000);
      await vi.advanceTimersByTimeAsync(9_999);
      expect(threads.map(({ hasEnded }) => hasEnded)).toEqual([false]);
      await vi.advanceTimersByTimeAsync(1);
      expect(threads.map(({ hasEnded }) => hasEnded)).toEqual([true]);
    } finally {
      vi.useRealTimers();
    }
  });

  it('are all there at once where somebody wrote down how many', async () => {
    await place(1, { first: 2, most: 2 });
    expect(placement.lanesOf(1)).toHaveLength(2);
  });

  it('are shared with others when it grows', async () => {
    await place(1, { first: 2, most: 2 });
    await place(2);
    await placement.grow(2);
    expect(new Set(placement.lanesOf(2))).toEqual(new Set(placement.lanesOf(1)));
  });

  it('are further ones of its own where it takes long to load', async () => {
    loadMs = 1000;
    await place(1);
    await placement.grow(1);
    loadMs = 1;
    await place(2);
    expect(placement.lanesOf(1)).toHaveLength(2);
    expect(placement.lanesOf(1)).not.toContain(placement.lanesOf(2)[0]);
  });

  it('take it no further once it has left', async () => {
    await place(1);
    loadsAtOnce = false;
    const grown = placement.grow(1);
    await placement.displace(1);
    threads[1]?.load();
    await grown;
    await vi.waitFor(() => expect(holding(1)).toBe(0));
    expect(placement.lanesOf(1)).toEqual([]);
  });

  it('in which it was tried serve it, also when the machine was too busy to load it soon', async () => {
    loadsAtOnce = false;
    const placed = place(1, { first: 2, most: 2 });
    // The next model is tried when the first has had its time.
    const next = place(2);
    await vi.waitUntil(() => threads.length > 2, { timeout: 15_000 });
    loadsAtOnce = true;
    for (const thread of threads) thread.load();
    await Promise.all([placed, next]);
    await vi.waitFor(() => expect(holding(1)).toBe(placement.lanesOf(1).length));
    const serving = new Set([1, 2].flatMap((id) => placement.lanesOf(id).map(({ thread }) => thread)));
    expect(serving.size).toBe(2);
  });
});

describe('a model is crowded', () => {
  const lane = (plannedMs: number, depth: number): Lane => ({
    thread: { ...fakeThread(), depth: () => depth },
    plannedMs,
    plannedBytes: 0,
    opening: false,
    lateRun: undefined,
    full: false,
  });

  it('when all its threads have enough to do and more than one request each, or some wait', () => {
    expect(isCrowded([lane(7, 1)], 0)).toBe(false);
    expect(isCrowded([lane(7, 1)], 1)).toBe(true);
    expect(isCrowded([lane(7, 2)], 0)).toBe(true);
    expect(isCrowded([lane(7, 2), lane(0, 0)], 0)).toBe(false);
    expect(isCrowded([lane(0.1, 9)], 0)).toBe(false);
    expect(isCrowded([], 5)).toBe(false);
  });

  it('by a run that takes long and keeps others waiting', () => {
    const late = { ...lane(0, 1), lateRun: 0 };
    expect([isCrowded([late], 0), isCrowded([late], 1)]).toEqual([false, true]);
  });
});
