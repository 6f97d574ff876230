import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeGraph, identity, perceptron } from '../../../../test/support/onnx-models.ts';
import type { Ending, Job } from '../worker/job.ts';
import { ThisThread } from './this-thread.ts';

const folder = mkdtempSync(join(tmpdir(), 'this-thread-'));
afterAll(() => rmSync(folder, { recursive: true }));

const transposed = (perm: readonly number[]) =>
  encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: ['n', 'm'] }],
    outputs: [{ name: 'y', type: 'float', dims: ['m', 'n'] }],
    nodes: [{ opType: 'Transpose', inputs: ['x'], outputs: ['y'], attributes: [{ name: 'perm', ints: [...perm] }] }],
  });

interface Told {
  endings: Map<string, Ending>;
  unbatchable: number[];
}

async function start(models: Record<number, { bytes: Uint8Array; joined: boolean }>) {
  const told: Told = { endings: new Map(), unbatchable: [] };
  const thread = new ThisThread({
    note: undefined,
    onEnded: () => undefined,
    onUnbatchable: (id) => told.unbatchable.push(id),
  });
  for (const [id, { bytes, joined }] of Object.entries(models)) {
    const path = join(folder, `${id}.onnx`);
    writeFileSync(path, bytes);
    await thread.open({
      ...{ id: Number(id), name: `model${id}`, version: 1, path, golden: undefined, intraOpThreads: 1, providers: [] },
      ...{ isolation: 'shared', joining: { allowed: joined, reason: 'said so' } },
    });
  }
  const submit = (name: string, inputs: NamedTensor[], more: Partial<Job> = {}) =>
    thread.submit({
      ...{ model: 1, inputs, rows: inputs[0]?.shape[0] ?? 0, maxRows: 8, deadline: undefined, outputBytes: 0 },
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
      settle: (ending) => {
        if (told.endings.has(name)) throw new Error(`${name} was settled twice`);
        told.endings.set(name, ending);
      },
      ...more,
    });
  const run = async () => {
    thread.wake();
    await expect.poll(() => thread.depth(), { interval: 1 }).toBe(0);
    return told.endings;
  };
  return { ...told, thread, submit, run };
}

const tensor = (shape: readonly number[], ...values: number[]): NamedTensor[] => [
  { name: 'x', datatype: 'FP32', shape, data: Float32Array.from(values) },
];
const dataOf = (ending: Ending | undefined) =>
  ending?.kind === 'done' ? [...(ending.outputs[0]?.data ?? [])] : ending;
const runsIn = (endings: ReadonlyMap<string, Ending>) =>
  [...endings.values()].map((ending) => (ending.kind === 'done' ? ending.outcome.runRows : undefined));

describe('runs in the thread that answers HTTP', () => {
  it('join what may share a run, in order, up to the most rows of each', async () => {
    const { submit, run } = await start({ 1: { bytes: identity('float', ['n', 2]), joined: true } });
    submit('a', tensor([1, 2], 1, 2));
    submit('b', tensor([2, 2], 3, 4, 5, 6));
    submit('alone', tensor([1, 2], 7, 8), { rows: 0 });
    submit('c', tensor([1, 2], 9, 10), { maxRows: 1 });
    submit('d', tensor([1, 2], 11, 12));
    const endings = await run();
    expect([...endings].map(([name, ending]) => [name, dataOf(ending)])).toEqual([
      ['a', [1, 2]],
      ['b', [3, 4, 5, 6]],
      ['alone', [7, 8]],
      ['c', [9, 10]],
      ['d', [11, 12]],
    ]);
    // Each run is told once, by its first.
    expect(runsIn(endings)).toEqual([3, 0, 1, 1, 1]);
  });

  it('do not join other models, and no other shapes', async () => {
    const free = identity('float', ['n', 'm']);
    const { submit, run } = await start({ 1: { bytes: free, joined: true }, 2: { bytes: free, joined: true } });
    submit('a', tensor([1, 2], 1, 2));
    submit('b', tensor([1, 3], 3, 4, 5));
    submit('c', tensor([1, 3], 6, 7, 8), { model: 2 });
    const endings = await run();
    expect([...endings.values()].map(dataOf)).toEqual([
      [1, 2],
      [3, 4, 5],
      [6, 7, 8],
    ]);
    expect(runsIn(endings)).toEqual([1, 1, 1]);
  });

  it('give outputs that later runs do not write over', async () => {
    const { submit, run } = await start({ 1: { bytes: perceptron([2, 4, 2]), joined: true } });
    for (const name of ['a', 'b', 'c', 'd']) submit(name, tensor([1, 2], name.charCodeAt(0), 1), { maxRows: 1 });
    const before = new Map([...(await run())].map(([name, ending]) => [name, dataOf(ending)]));
    submit('e', tensor([1, 2], -1, -1));
    const endings = await run();
    for (const [name, data] of before) expect(dataOf(endings.get(name))).toEqual(data);
    expect(new Set([...before.values()].map(String)).size).toBe(4);
  });

  it('tell of a model that gives no row for each row, and run each alone', async () => {
    const { submit, run, unbatchable } = await start({ 1: { bytes: transposed([1, 0]), joined: true } });
    submit('a', tensor([1, 3], 1, 2, 3));
    submit('b', tensor([1, 3], 4, 5, 6));
    const endings = await run();
    expect([...endings.values()].map(dataOf)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(unbatchable).toEqual([1]);
  });

  it('leave out what is cancelled, and what came too late', async () => {
    const { thread, submit, run } = await start({ 1: { bytes: identity('float', ['n', 2]), joined: true } });
    submit('late', tensor([1, 2], 1, 2), { deadline: performance.now() - 1 });
    const gone = submit('gone', tensor([1, 2], 3, 4));
    submit('there', tensor([1, 2], 5, 6), { deadline: performance.now() + 60_000 });
    expect([thread.cancel(gone), thread.cancel(gone)]).toEqual([true, false]);
    const endings = await run();
    expect(endings.get('late')).toEqual({ kind: 'expired' });
    expect(dataOf(endings.get('there'))).toEqual([5, 6]);
    expect(endings.has('gone')).toBe(false);
  });

  it('give back what they do not hold, and what is taken back before it began', async () => {
    const { thread, submit, run } = await start({});
    submit('a', tensor([1, 2], 1, 2));
    expect(await run()).toEqual(new Map([['a', { kind: 'lost' }]]));
    submit('b', tensor([1, 2], 1, 2));
    thread.takeBack();
    expect((await run()).get('b')).toEqual({ kind: 'lost' });
  });

  it('end at once from the second run of a shape on', async () => {
    const { thread, submit, run } = await start({ 1: { bytes: identity('float', ['n', 2]), joined: true } });
    submit('first', tensor([1, 2], 1, 2));
    const endings = await run();
    submit('second', tensor([1, 2], 3, 4));
    thread.wake();
    expect(dataOf(endings.get('second'))).toEqual([3, 4]);
  });
});
