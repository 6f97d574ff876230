import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createConsumer } from '../ring/consumer.ts';
import { createProducer } from '../ring/producer.ts';
import { readRecord, type ShapedData, viewsOfArena } from '../ring/records.ts';
import { allocateRing, slotStates } from '../ring/ring.ts';
import type { BatchRunner } from './batch-run.ts';
import type { FromWorker } from './messages.ts';
import { runFromRing } from './ring-runs.ts';

const outputBytes = 24;
const request = { model: 7, rows: 1, maxRows: 8, inputAt: 0, inputBytes: 8, outputBytes, deadlineMs: 0 };
const row = (value: number): ShapedData[] => [{ shape: [1, 1], data: Float32Array.of(value) }];
/** Memory that nobody touches is not taken. */
const tooLarge: ShapedData[] = [{ shape: [1, 2 ** 26], data: new Float32Array(2 ** 26) }];

describe('requests that share a run', () => {
  let channel: MessageChannel;
  beforeEach(() => {
    channel = new MessageChannel();
  });
  afterEach(() => channel.port1.close());

  /** One request for each of `parts`, which are what the model gives for them. */
  async function run(parts: ShapedData[][], runner?: BatchRunner['run']) {
    const shared = allocateRing(8, 1024);
    const producer = createProducer(shared);
    for (const [i] of parts.entries()) producer.publish({ ...request, outputAt: i * outputBytes });
    const ring = createConsumer(shared);
    const slots = ring.take(
      () => 1,
      () => true,
    );
    const arena = viewsOfArena(shared.arena);
    const finish = vi.spyOn(ring, 'finish');
    const runs: number[] = [];
    await runFromRing(
      { ring, arena, port: channel.port2 },
      {
        run: async (taken) => {
          runs.push(taken.length);
          return runner
            ? runner(taken)
            : { parts: taken.map(({ sequence }) => parts[sequence] ?? []), inputMs: 1, runMs: 2 };
        },
      },
      slots,
    );
    const messages: FromWorker[] = [];
    for (let got = receiveMessageOnPort(channel.port1); got; got = receiveMessageOnPort(channel.port1))
      messages.push(got.message);
    return {
      runs,
      finished: finish.mock.calls.map(([sequence, state]) => [sequence, state]),
      runRows: parts.map((_, sequence) => producer.outcome(sequence).runRows),
      values: parts.map(
        (_, i) => arena.singles[(readRecord(arena, i * outputBytes, [{ datatype: 'FP32' }])[0]?.at ?? 0) / 4],
      ),
      messages,
    };
  }

  it('end once each, when the outputs of a later one cannot be delivered', async () => {
    const { runs, finished, runRows, values, messages } = await run([row(1), tooLarge, row(3)]);
    expect(runs).toEqual([3]);
    expect(finished).toEqual([
      [0, slotStates.done],
      [1, slotStates.failed],
      [2, slotStates.done],
    ]);
    expect([values[0], values[2]]).toEqual([1, 3]);
    expect(runRows).toEqual([3, 0, 0]);
    expect(messages).toEqual([
      {
        kind: 'failed',
        sequence: 1,
        failure: { code: 'payload_too_large', message: expect.stringContaining('256 MB') },
      },
    ]);
  });

  it('count as one run, also when the outputs of the first cannot be delivered', async () => {
    expect((await run([tooLarge, row(2), row(3)])).runRows).toEqual([0, 3, 0]);
  });

  it('run each on its own when the run fails, and the one at fault fails alone', async () => {
    const { runs, finished, messages } = await run([row(1), row(2)], async (taken) => {
      if (taken.some(({ sequence }) => sequence === 1)) throw new Error('bad row');
      return { parts: [row(1)], inputMs: 1, runMs: 2 };
    });
    expect(runs).toEqual([2, 1, 1]);
    expect(finished).toEqual([
      [0, slotStates.done],
      [1, slotStates.failed],
    ]);
    expect(messages).toEqual([{ kind: 'failed', sequence: 1, failure: { code: 'internal', message: 'bad row' } }]);
  });

  it('go by message when they hold strings, and not when these are too large together', async () => {
    const text = 'ü'.repeat(1024 * 1024);
    const strings = (count: number): ShapedData[] => [{ shape: [count], data: new Array<string>(count).fill(text) }];
    const { finished, messages } = await run([strings(2), strings(65)]);
    expect(finished).toEqual([
      [0, slotStates.elsewhere],
      [1, slotStates.failed],
    ]);
    expect(messages).toEqual([
      { kind: 'outputs', sequence: 0, outputs: strings(2) },
      {
        kind: 'failed',
        sequence: 1,
        failure: { code: 'payload_too_large', message: expect.stringContaining('130 MB') },
      },
    ]);
  });
});
