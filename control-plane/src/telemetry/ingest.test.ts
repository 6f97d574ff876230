import { gzipSync } from 'node:zlib';
import { MetricQuery } from '@edgeloop/shared/api/metrics';
import type { TelemetryItem } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Disregarded } from '../fleet/fleet.ts';
import type { Stored, TelemetryDeps } from './telemetry.ts';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';

let room: ReturnType<typeof openTelemetry>;
beforeAll(() => {
  room = openTelemetry();
});
afterAll(() => room.close());

const item: fc.Arbitrary<TelemetryItem> = fc.oneof(
  fc
    .record({ succeeded: fc.nat(50), failed: fc.nat(5), rows: fc.nat(100) })
    .map(({ succeeded, failed, rows }) =>
      windowOf({ model: 'property', succeeded, rows, failed: { timeout: failed } }),
    ),
  fc
    .array(fc.record({ inference: fc.nat(5), label: fc.constantFrom('a', 'b', 'c'), labelledAt: fc.nat(3) }), {
      minLength: 1,
      maxLength: 4,
    })
    .map((labels) => ({
      kind: 'labels' as const,
      labels: labels.map(({ inference, ...rest }) =>
        labelOf({ model: 'property', inferenceId: `i${inference}`, ...rest }),
      ),
    })),
  fc
    .record({ windows: fc.nat(3), requests: fc.nat(30), labels: fc.nat(3) })
    .map((loss) => ({ kind: 'loss' as const, ...loss })),
);

/** Slices of an outbox as a device may send them: overlapping, repeated, in any order, several at once. */
const sends = fc
  .tuple(fc.array(item, { minLength: 1, maxLength: 15 }), fc.array(fc.tuple(fc.nat(14), fc.nat(14)), { maxLength: 12 }))
  .map(([items, cuts]) => ({
    items,
    slices: [...cuts.map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const), [0, items.length] as const].filter(
      ([from]) => from < items.length,
    ),
  }));

let run = 0;

test('items are stored once, however often, in whatever order and together with what they are sent', async () => {
  const { telemetry, database } = room;
  await fc.assert(
    fc.asyncProperty(fc.array(sends, { minLength: 1, maxLength: 3 }), fc.boolean(), async (outboxes, atOnce) => {
      run += 1;
      const ids = outboxes.map((_, i) => `d${run}-${i}`);
      const work = outboxes.flatMap(({ items, slices }, i) =>
        slices.map(([from, to]) => async () => {
          const batch = batchOf(items.slice(from, to), { first: from + 1 });
          const ack = await telemetry.ingest(ids[i] ?? '', batch);
          expect(ack).toEqual({ epoch: 1, sequence: Math.min(to, items.length) });
        }),
      );
      if (atOnce) await Promise.all(work.map((send) => send()));
      else for (const send of work) await send();

      const all = outboxes.flatMap(({ items }) => items);
      const windows = all.flatMap((each) => (each.kind === 'window' ? [each] : []));
      const assigned = ids.map((deviceId) => ({ deviceId, since: -1 }));
      const failed = windows.reduce((sum, each) => sum + (each.failed.timeout ?? 0), 0);
      expect(await telemetry.evidence({ model: 'property', version: 1, assigned })).toEqual({
        requests: windows.reduce((sum, each) => sum + each.succeeded, 0) + failed,
        failed,
      });
      const stored = await database.read.select().from(database.tables.labels);
      expect(
        stored
          .filter(({ deviceId }) => ids.includes(deviceId))
          .map(labelKey)
          .sort(),
      ).toEqual(
        newestLabels(
          outboxes.map(({ items }) => items),
          ids,
        ),
      );
      const losses = (await database.read.select().from(database.tables.losses)).filter((l) =>
        ids.includes(l.deviceId),
      );
      expect(losses.length).toBe(all.filter(({ kind }) => kind === 'loss').length);
    }),
    { numRuns: 60 },
  );
});

function labelKey({ deviceId, inferenceId, label }: { deviceId: string; inferenceId: string; label: string }): string {
  return `${deviceId} ${inferenceId} ${label}`;
}

function newestLabels(outboxes: readonly (readonly TelemetryItem[])[], ids: readonly string[]): string[] {
  const keys = outboxes.flatMap((items, i) => {
    const labels = items.flatMap((each) => (each.kind === 'labels' ? each.labels : []));
    labels.sort((a, b) => a.labelledAt - b.labelledAt || (a.label < b.label ? -1 : 1));
    const newest = new Map(labels.map((label) => [label.inferenceId, label]));
    return [...newest.values()].map((label) => labelKey({ ...label, deviceId: ids[i] ?? '' }));
  });
  return keys.sort();
}

test('a device that lost its disk counts from 1 again in another epoch', async () => {
  const { telemetry } = room;
  const one = [windowOf({ model: 'epochs', succeeded: 3 })];
  for (const epoch of [10, 11, 10]) await telemetry.ingest('device', batchOf(one, { epoch }));
  const assigned = [{ deviceId: 'device', since: -1 }];
  expect(await telemetry.evidence({ model: 'epochs', version: 1, assigned })).toEqual({ requests: 6, failed: 0 });
});

test('evidence is of the given version and devices, in windows that ended after each device was told', async () => {
  const { telemetry } = room;
  const items = [10_000, 20_000, 30_000].flatMap((startedAt) => [
    windowOf({ model: 'evidence', version: 2, startedAt, succeeded: 10, failed: { timeout: 1 }, invalid: 5 }),
    windowOf({ model: 'evidence', version: 1, startedAt, succeeded: 100 }),
  ]);
  for (const id of ['early', 'late', 'other']) await telemetry.ingest(id, batchOf(items));
  const assigned = [
    { deviceId: 'early', since: 20_000 },
    { deviceId: 'late', since: 35_000 },
  ];
  expect(await telemetry.evidence({ model: 'evidence', version: 2, assigned })).toEqual({ requests: 33, failed: 3 });
});

test('counters tell new items from repetitions, and the change of a model is told at most once a second', async () => {
  const { telemetry, metrics, events, close } = openTelemetry();
  const batch = batchOf([windowOf(), windowOf()]);
  for (let i = 0; i < 3; i++) await telemetry.ingest('device', batch);
  const text = await metrics.metrics();
  expect(text).toMatch(/edgeloop_telemetry_items_stored_total 2\b/);
  expect(text).toMatch(/edgeloop_telemetry_items_duplicate_total 4\b/);
  expect(events).toEqual(['telemetry m ingested']);
  await close();
});

test('when a transaction fails only the batch that cannot be stored is refused', async () => {
  const { telemetry, database, close } = openTelemetry();
  const bad = windowOf();
  // A value that no column takes, as only a fault of ours could bring it here.
  Object.assign(bad, { startedAt: { toString: () => 'never' } });
  const results = await Promise.allSettled([
    telemetry.ingest('good', batchOf([windowOf({ succeeded: 1 })])),
    telemetry.ingest('bad', batchOf([bad])),
    telemetry.ingest('good', batchOf([windowOf({ succeeded: 2 })], { first: 2 })),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  const rows = await database.read.select().from(database.tables.windows);
  expect(rows.map(({ deviceId, succeeded }) => [deviceId, succeeded])).toEqual([
    ['good', 1],
    ['good', 2],
  ]);
  await close();
});

/** A batch of so many bytes, in one message. */
function messageOf(first: number, bytes: number): Buffer {
  const text = JSON.stringify(batchOf([windowOf({ succeeded: 1 })], { first }));
  return Buffer.from(text.padEnd(bytes, ' '));
}

test('what waits is bounded by its bytes: first nobody is read, then batches are refused, and none is lost', async () => {
  const { telemetry, database, close } = openTelemetry();
  const told: boolean[] = [];
  telemetry.onPressure((high) => told.push(high));
  const mebibyte = 1024 * 1024;
  const sent = Array.from({ length: 80 }, (_, i) => telemetry.take('device', messageOf(i + 1, mebibyte)));
  expect(telemetry.bytesHeld()).toBe(64 * mebibyte);
  expect(told).toEqual([true]);
  const results = await Promise.allSettled(sent);
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
  expect(refused).toEqual(new Array(16).fill('unavailable'));
  await expect.poll(() => telemetry.bytesHeld()).toBe(0);
  expect(told).toEqual([true, false]);
  for (let i = 64; i < 80; i++) await telemetry.take('device', messageOf(i + 1, mebibyte));
  expect(await database.read.$count(database.tables.windows)).toBe(80);
  await close();
});

test('others have their turn between the groups that are stored', async () => {
  const { telemetry, close } = openTelemetry();
  const sent = Array.from({ length: 4000 }, (_, i) => telemetry.take(`d${i}`, messageOf(1, 500)));
  let turns = 0;
  let busy = true;
  const count = () => {
    turns += 1;
    if (busy) setImmediate(count);
  };
  setImmediate(count);
  await Promise.all(sent);
  busy = false;
  expect(turns).toBeGreaterThanOrEqual(7);
  await close();
});

test('a message that is no batch is refused alone', async () => {
  const { telemetry, close } = openTelemetry();
  const results = await Promise.allSettled([
    telemetry.take('good', messageOf(1, 500)),
    telemetry.take('bad', Buffer.from('{"epoch":1,"items":[]}')),
    telemetry.take('good', gzipSync(messageOf(2, 500))),
  ]);
  expect(results).toMatchObject([
    { status: 'fulfilled', value: { sequence: 1 } },
    { status: 'rejected', reason: { code: 'invalid_request' } },
    { status: 'fulfilled', value: { sequence: 2 } },
  ]);
  expect(telemetry.bytesHeld()).toBe(0);
  await close();
});

test('numbers are taken once also after a commit that failed', async () => {
  const { database } = room;
  let broken = false;
  const failing: TelemetryDeps['database'] = {
    ...database,
    transact: (work) =>
      database.transact(async (tx) => {
        const value = await work(tx);
        if (broken) throw new Error('power cut');
        return value;
      }),
  };
  const { telemetry, close } = openTelemetry({ database: failing });
  const one = (sequence: number) =>
    telemetry.ingest('again', batchOf([windowOf({ model: 'again', succeeded: 1 })], { first: sequence }));
  await one(1);
  broken = true;
  await expect(one(2)).rejects.toThrow('power cut');
  broken = false;
  for (const sequence of [2, 1, 2, 4, 3, 4]) await one(sequence);
  const assigned = [{ deviceId: 'again', since: -1 }];
  expect(await telemetry.evidence({ model: 'again', version: 1, assigned })).toEqual({ requests: 4, failed: 0 });
  await close();
});

const digest = (digit: string) => digit.repeat(64);

/** Claims of version 2 with another release than `a`, and all of version 3, as a fleet may judge them. */
const suspicious: TelemetryDeps['claims'] = {
  judge: async () => (claim) => {
    if (claim.version === 3) return 'never_assigned';
    return claim.release === digest('b') ? 'unknown_release' : 'counted';
  },
  disregard: async () => undefined,
};

test('what ran under a false number is acknowledged and kept, and no reader counts it', async () => {
  const told: Disregarded[] = [];
  const handed: Stored[] = [];
  const { telemetry, database, metrics, close } = openTelemetry({
    claims: { ...suspicious, disregard: async (_tx, entries) => void told.push(...entries) },
  });
  telemetry.onStored((stored) => handed.push(stored));
  const windows = [
    windowOf({ version: 2, release: digest('a'), succeeded: 1, latencies: [5] }),
    windowOf({ version: 2, succeeded: 2, latencies: [5] }),
    windowOf({ version: 2, release: digest('b'), succeeded: 40, failed: { timeout: 2 }, latencies: [500] }),
    windowOf({ version: 3, succeeded: 7 }),
  ];
  const labels = [
    labelOf({ inferenceId: 'right', version: 2, release: digest('a') }),
    labelOf({ inferenceId: 'foreign', version: 2, release: digest('b'), label: 'b' }),
    labelOf({ inferenceId: 'never', version: 3, label: 'b' }),
  ];
  const batch = batchOf([...windows, { kind: 'labels', labels }]);
  expect(await telemetry.ingest('device', batch)).toEqual({ epoch: 1, sequence: 5 });
  await telemetry.ingest('device', batch);

  const span = { model: 'm', from: 0, to: 1000 };
  const assigned = [{ deviceId: 'device', since: -1 }];
  expect(await telemetry.evidence({ model: 'm', version: 2, assigned })).toEqual({ requests: 3, failed: 0 });
  expect(await telemetry.merged({ ...span, version: 2 })).toMatchObject({ windows: 2, window: { succeeded: 3 } });
  expect(await telemetry.merged({ ...span, version: 3 })).toBeUndefined();
  expect(await telemetry.labelsBetween(span)).toEqual({ labels: 1, correct: 1 });
  expect(await telemetry.activity({ ...span, stepMs: undefined })).toEqual([
    { version: 2, at: 0, windows: 2, requests: 3 },
  ]);
  expect(await telemetry.labelActivity({ ...span, stepMs: undefined })).toMatchObject([{ version: 2, labels: 1 }]);
  expect(await telemetry.versionsSince(0)).toEqual([{ model: 'm', version: 2 }]);
  const read = async (metric: MetricQuery['metric']) => {
    const { series } = await telemetry.query(MetricQuery.parse({ metric, model: 'm', from: '0', to: '1000' }));
    return series[0]?.points[0]?.value;
  };
  expect(await read('requests')).toBe(3);
  expect(await read('failed')).toBe(0);
  expect(await read('accuracy')).toBe(1);
  expect(await read('latency')).toBeLessThan(10);

  expect(handed.map((stored) => [stored.windows.length, stored.labels.length])).toEqual([
    [2, 1],
    [0, 0],
  ]);
  expect(told.map(({ what, reason, version, count }) => `${count} ${what} ${version} ${reason}`)).toEqual([
    '42 requests 2 unknown_release',
    '7 requests 3 never_assigned',
    '1 labels 2 unknown_release',
    '1 labels 3 never_assigned',
  ]);
  const { windows: table } = database.tables;
  const kept = await database.read.select().from(table);
  expect(kept.map(({ succeeded, foreignRelease }) => [succeeded, foreignRelease])).toEqual([
    [1, null],
    [2, null],
    [40, digest('b')],
  ]);
  expect(await metrics.metrics()).toContain(
    'edgeloop_telemetry_refused_total{what="requests",reason="unknown_release"} 42',
  );
  await close();
});
