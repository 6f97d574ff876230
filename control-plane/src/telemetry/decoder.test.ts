import type { Worker } from 'node:worker_threads';
import { gzipSync } from 'node:zlib';
import { AppError } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { afterEach, expect, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { Decoder, startThread } from './decoder.ts';
import { type Decoded, type DecodedGroup, decode, decodeToBytes, unpackGroup } from './decoding.ts';
import { PendingRollups } from './rollup.ts';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';
import { WindowRow } from './window-row.ts';

const log = pino({ level: 'silent' });
/** No window is from its future. */
const now = 1e9;
const histogram = { counts: [0, 3, 1], sum: 1.5, sumOfSquares: 2, min: null, max: 1 };
const deep = `{"epoch":1,"items":[{"sequence":1,"item":${'['.repeat(200_000)}${']'.repeat(200_000)}}]}`;
const windows = [1, 2, 3].map((succeeded) =>
  windowOf({
    succeeded,
    latencies: [1, succeeded],
    failed: { timeout: 1 },
    features: { a: histogram },
    classes: { x: 2 },
  }),
);
const payloads = [
  Buffer.from(JSON.stringify(batchOf([...windows, { kind: 'labels', labels: [labelOf()] }]))),
  gzipSync(JSON.stringify(batchOf([windowOf({ release: 'a'.repeat(64), startedAt: 70_000 })], { epoch: 2, first: 9 }))),
  Buffer.from('no batch'),
  Buffer.from(deep),
  Buffer.from(JSON.stringify(batchOf([{ kind: 'loss', windows: 1, requests: 2, labels: 3 }]))),
];

const decoders: Decoder[] = [];
afterEach(async () => {
  for (const decoder of decoders.splice(0)) await decoder.close();
});

/** One that has a thread, which the test may kill. */
async function threaded(options: { idleMs?: number } = {}) {
  const threads: Worker[] = [];
  const noted = () => {
    const thread = startThread();
    threads.push(thread);
    return thread;
  };
  const decoder = new Decoder({ log, busyMs: 0, startThread: noted, ...options });
  decoders.push(decoder);
  await decoder.decode(payloads.slice(0, 1), now);
  await until('the thread', async () => decoder.isThreaded || undefined);
  return { decoder, threads };
}

/** As it is stored. */
function plain({ batches }: Pick<DecodedGroup, 'batches'>) {
  return batches.map((batch: Decoded) => {
    if (batch instanceof AppError) return `${batch.code}: ${batch.message}`;
    const items = batch.items.map((item) => {
      if (item.kind !== 'window') return item;
      const row = new WindowRow({ deviceId: 'd', epoch: 1, sequence: item.sequence, receivedAt: 1 }, item);
      const { model, version, release, startedAt, endedAt, succeeded, failed, invalid, rows, classes } = item.head;
      const head = { model, version, release, startedAt, endedAt, succeeded, failed, invalid, rows, classes };
      const cells = { ...item.cells, latency: [...item.cells.latency], body: [...item.cells.body] };
      return { sequence: item.sequence, head, cells, window: row.window };
    });
    return { epoch: batch.epoch, items };
  });
}

const here = { batches: payloads.map((payload) => decode(payload, now)) };

test('what the thread gives is what is decoded here', () => {
  const there = unpackGroup(decodeToBytes(payloads, now));
  expect(plain(there)).toEqual(plain(here));
  const fleet = new PendingRollups('fleet');
  for (const window of windows) fleet.addWindow('', window);
  fleet.addWindow('', windowOf({ release: 'a'.repeat(64), startedAt: 70_000 }));
  expect(there.fleet).toEqual([...fleet.finest()]);
});

test('a batch that is none, of whatever depth, is refused by itself', () => {
  const [, , text, nested, loss] = plain(here);
  expect(text).toContain('invalid_request: telemetry is not valid JSON');
  expect(nested).toContain('invalid_request: ');
  expect(loss).toMatchObject({ epoch: 1 });
});

test('a thread is started when there is work for it, and ended when there is none', async () => {
  const quiet = new Decoder({ log, busyMs: 1e9 });
  decoders.push(quiet);
  await quiet.decode(payloads, now);
  expect(quiet.isThreaded).toBe(false);

  const { decoder, threads } = await threaded({ idleMs: 300 });
  expect(plain(await decoder.decode(payloads, now))).toEqual(plain(here));
  await until('the end of the thread', async () => !decoder.isThreaded || undefined);
  expect(plain(await decoder.decode(payloads, now))).toEqual(plain(here));
  expect(threads.length).toBe(2);
});

test('nothing is lost with a thread that dies, and another follows', async () => {
  const { decoder, threads } = await threaded();
  const asked = Array.from({ length: 20 }, () => decoder.decode(payloads, now));
  await threads[0]?.terminate();
  for (const group of await Promise.all(asked)) expect(plain(group)).toEqual(plain(here));
  await until('another thread', async () => decoder.isThreaded || undefined);
  expect(threads.length).toBe(2);
});

test('what a thread has decoded is counted once, in rollups and windows, beside what came twice', async () => {
  const { decoder } = await threaded();
  const room = openTelemetry({ decoder });
  try {
    room.telemetry.start();
    await until('the rollups', async () => room.telemetry.isLive() || undefined);
    const sent = Array.from({ length: 30 }, (_, i) => JSON.stringify(batchOf(windows, { first: 1 + 2 * i })));
    const acks = await Promise.all(sent.map((text) => room.telemetry.take('device', Buffer.from(text))));
    expect(acks.at(-1)).toMatchObject({ epoch: 1, sequence: 61 });
    const stored = await room.database.read.select().from(room.database.tables.windows);
    const requests = stored.reduce((sum, { succeeded, failed }) => sum + succeeded + failed, 0);
    expect(stored.length).toBe(61);
    const merged = await room.telemetry.activity({ model: 'm', from: 0, to: 1e9, stepMs: undefined });
    expect(merged).toEqual([{ version: 1, at: 0, windows: 61, requests }]);
  } finally {
    await room.close();
  }
});
