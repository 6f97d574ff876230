import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { addValue, emptyHistogram } from '@edgeloop/shared/sketches/histogram';
import { Window } from '@edgeloop/shared/telemetry';
import { eq } from 'drizzle-orm';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, expect, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import type { Keeper } from '../database/expire.ts';
import { openSqlite } from '../database/open.ts';
import { createHistory, type HistoryQuery } from './history.ts';
import { createLabelRollupStore } from './label-rollup-store.ts';
import { LabelRollups } from './label-rollups.ts';
import { createWindowMerge } from './merge.ts';
import { createRetention, type KeepTelemetry } from './retention.ts';
import { createRollupStore } from './rollup-store.ts';
import { createRollups } from './rollups.ts';
import { createSeriesStore } from './series-store.ts';
import { keepAll, windowOf } from './telemetry-fixture.ts';
import { createTelemetryStore, type Span } from './telemetry-store.ts';
import { sentWindow, WindowRow } from './window-row.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const folder = mkdtempSync(join(tmpdir(), 'history-'));
const database = openSqlite(join(folder, 'test.db'));
afterAll(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});

/** Telemetry as it is stored, put together and let go of, whose process can die. */
async function openWorld({ keep = keepAll, now = () => 3 * day }: { keep?: KeepTelemetry; now?: () => number } = {}) {
  const { windows, rollups: rolledUp, telemetryMarks } = database.tables;
  await database.transact(async (tx) => {
    for (const table of [windows, rolledUp, telemetryMarks]) await tx.delete(table);
  });
  const store = createTelemetryStore(database);
  const log = pino({ level: 'silent' });
  const all: { deviceId: string; window: Window }[] = [];
  let sequence = 0;
  let process = await startProcess();
  return {
    all,
    async take(rows: readonly { deviceId: string; window: Window; foreign?: boolean }[]): Promise<void> {
      const stored = rows.map(({ deviceId, window, foreign = false }) => {
        if (!foreign) all.push({ deviceId, window });
        const key = { deviceId, epoch: 1, sequence: ++sequence };
        const row = new WindowRow({ ...key, receivedAt: 0 }, sentWindow(window));
        if (foreign) row.foreignRelease = 'other';
        return row;
      });
      await database.transact((tx) => store.addWindows(tx, stored));
      process.rollups.onStored(stored.filter(({ foreignRelease }) => foreignRelease === null));
    },
    flush: () => process.rollups.flush(),
    /** What was not written down is gone with it. */
    async die(): Promise<void> {
      await process.rollups.stop();
      process = await startProcess();
    },
    async expire(): Promise<void> {
      const keepers: readonly Keeper[] = process.keepers;
      for (const keeper of keepers) while ((await keeper.expire(7)) >= 7);
    },
    /** As a version left it that wrote minutes without their merged windows. */
    async asBefore(): Promise<void> {
      await process.rollups.stop();
      await database.transact(async (tx) => {
        await tx.update(database.tables.rollups).set({ body: null }).where(eq(database.tables.rollups.level, 60));
        await tx.delete(database.tables.telemetryMarks).where(eq(database.tables.telemetryMarks.name, 'full-minutes'));
      });
      process = await startProcess();
    },
    history: () => process.history,
    end: () => process.rollups.stop(),
    windows: async () => database.read.$count(windows),
  };

  async function startProcess() {
    const rollupStore = createRollupStore(database);
    const rollups = createRollups({ database, store: rollupStore, now, log });
    const retention = createRetention({ database, store, rollupStore, keep, rolledUpTo: rollups.writtenUpTo, now });
    rollups.start();
    await until('the rollups say all', async () => rollups.isLive() || undefined, { everyMs: 1 });
    const labelRollups = new LabelRollups({
      ...{ database, rollupStore, labels: [], log, now },
      store: createLabelRollupStore(database),
      knownDevices: async () => new Map(),
    });
    const history = createHistory({
      ...{ ...retention, store, rollups, labelRollups },
      seriesStore: createSeriesStore(database),
    });
    return { rollups, history, keepers: retention.keepers };
  }
}
type World = Awaited<ReturnType<typeof openWorld>>;

const edges = [0, 1, 2];
const window = fc
  .record({
    device: fc.constantFrom('a', 'b', 'c'),
    model: fc.constantFrom('m', 'n'),
    version: fc.constantFrom(1, 2),
    variant: fc.constantFrom(undefined, 'int8', 'fp32'),
    startedAt: fc.integer({ min: 0, max: 3 * day }),
    succeeded: fc.nat(50),
    failed: fc.nat(5),
    latencies: fc.array(fc.double({ min: 0.01, max: 1000, noNaN: true }), { maxLength: 4 }),
    classes: fc.dictionary(fc.constantFrom('x', 'y'), fc.nat(9)),
    values: fc.array(fc.double({ min: -1, max: 3, noNaN: true }), { maxLength: 4 }),
    foreign: fc.boolean(),
  })
  .map(({ device, foreign, failed, values, ...parts }) => {
    const histogram = emptyHistogram(edges);
    for (const value of values) addValue(histogram, edges, value);
    return {
      deviceId: device,
      foreign,
      window: windowOf({
        ...parts,
        failed: { timeout: failed },
        features: { f: histogram },
        confidence: { ...histogram, counts: [...histogram.counts] },
      }),
    };
  });
const step = fc.oneof(
  fc.record({ kind: fc.constant('take' as const), rows: fc.array(window, { minLength: 1, maxLength: 8 }) }),
  fc.record({ kind: fc.constantFrom('flush' as const, 'die' as const) }),
);
const query = fc
  .record({
    model: fc.constantFrom(undefined, 'm'),
    version: fc.constantFrom(undefined, 2),
    devices: fc.constantFrom(undefined, ['a'], ['a', 'c'], []),
    bounds: fc.tuple(fc.integer({ min: 0, max: 3 * day }), fc.integer({ min: 0, max: 3 * day })),
    stepMs: fc.constantFrom(undefined, minute, 10 * minute, hour, 6 * hour, day),
    byDevice: fc.boolean(),
  })
  .map(({ bounds: [a, b], byDevice, ...rest }): HistoryQuery => {
    const columns = ['version', ...(byDevice ? ['device' as const] : [])] as const;
    return { ...rest, from: Math.min(a, b), to: Math.max(a, b) + 1, columns };
  });

async function live(world: World, steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) {
  for (const each of steps) {
    if (each.kind === 'take') await world.take(each.rows);
    else await world[each.kind]();
  }
}

function asked({ all }: World, { from, to, model, version, devices }: Span) {
  return all.filter(
    ({ deviceId, window: { startedAt, ...of } }) =>
      startedAt >= from &&
      startedAt < to &&
      (model === undefined || of.model === model) &&
      (version === undefined || of.version === version) &&
      (devices === undefined || devices.includes(deviceId)),
  );
}

function bucketOf(at: number, { stepMs, from }: HistoryQuery): number {
  return stepMs === undefined ? from : at - (at % stepMs);
}

/** Sums of numbers by key, without zeros. */
function counter() {
  const sums = new Map<string, number>();
  return {
    add: (key: string, count: number) => sums.set(key, (sums.get(key) ?? 0) + count),
    entries: () => [...sums].filter(([, count]) => count !== 0).sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

test('whatever is read of the past equals what single windows say, after flushes and deaths at any time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.array(query, { minLength: 1, maxLength: 4 }),
      async (steps, queries) => {
        const world = await openWorld();
        await live(world, steps);
        for (const each of queries) await expectEqual(world, each);
        await world.end();
      },
    ),
    { numRuns: 40 },
  );
});

async function expectEqual(world: World, each: HistoryQuery): Promise<void> {
  const byDevice = each.columns.includes('device');
  const found = {
    sums: counter(),
    classes: counter(),
    variants: counter(),
    latency: new QuantileSketchBuilder(),
    confidence: 0,
  };
  const real = {
    sums: counter(),
    classes: counter(),
    variants: counter(),
    latency: new QuantileSketchBuilder(),
    confidence: 0,
  };
  const key = (version: string | number, device: string, at: number) =>
    `${version} ${byDevice ? device : ''} ${bucketOf(at, each)}`;
  await world.history().sums(each, ({ version, device, at, succeeded, failed, windows }) => {
    for (const [name, count] of Object.entries({ succeeded, failed, windows }))
      found.sums.add(`${name} ${key(version, device, at)}`, count);
  });
  await world.history().classes(each, ({ version, device, at, classes }) => {
    for (const [name, count] of Object.entries(classes))
      found.classes.add(`${name} ${key(version, device, at)}`, count);
  });
  await world.history().figures(each, ({ latency, confidence }) => {
    found.latency.merge(latency);
    found.confidence += confidence.count;
  });
  await world.history().parts(each, Window.pick({ succeeded: true }), ({ version, device, at, parts, variants }) => {
    for (const [name, { succeeded }] of Object.entries({ ...variants, all: parts }))
      found.variants.add(`${name} ${key(version, device, at)}`, succeeded);
  });
  for (const { deviceId, window: one } of asked(world, each)) {
    const sums = { succeeded: one.succeeded, failed: one.failed.timeout ?? 0, windows: 1 };
    const own = key(one.version, deviceId, one.startedAt);
    for (const name of one.variant === undefined ? ['all'] : ['all', one.variant])
      real.variants.add(`${name} ${own}`, one.succeeded);
    for (const [name, count] of Object.entries(sums)) real.sums.add(`${name} ${own}`, count);
    for (const [name, count] of Object.entries(one.classes)) real.classes.add(`${name} ${own}`, count);
    real.latency.merge(one.latencyMs);
    real.confidence += one.confidence?.counts.slice(0, -1).reduce((sum, count) => sum + count, 0) ?? 0;
  }
  expect(found.sums.entries()).toEqual(real.sums.entries());
  expect(found.variants.entries()).toEqual(real.variants.entries());
  expect(found.classes.entries()).toEqual(real.classes.entries());
  expect(found.latency.toJSON().bins).toEqual(real.latency.toJSON().bins);
  expect(found.confidence).toBe(real.confidence);
  await expectWholeWindows(world, each);
}

async function expectWholeWindows(world: World, span: Span): Promise<void> {
  const [found, real] = [createWindowMerge(), createWindowMerge()];
  let windows = 0;
  await world.history().full(span, (one, of) => {
    found.add(one);
    windows += of;
  });
  const known = asked(world, span);
  for (const each of known) real.add(each.window);
  expect(windows).toBe(known.length);
  const counts = (merged: Window | undefined) => [
    merged?.succeeded,
    merged?.features.f?.counts,
    merged?.latencyMs.bins,
  ];
  expect(counts(found.result())).toEqual(counts(real.result()));
}

test('minutes that were written down without their merged windows are read from the windows', async () => {
  const now = 2 * hour + 5 * minute;
  const world = await openWorld({ now: () => now });
  const at = (minutes: number) => ({
    deviceId: 'a',
    window: windowOf({ startedAt: minutes * minute, succeeded: minutes + 1, variant: 'int8' }),
  });
  await world.take(Array.from({ length: 125 }, (_, i) => at(i)));
  await world.flush();
  await world.asBefore();
  await world.take(Array.from({ length: 40 }, (_, i) => at(125 + i)));
  await world.flush();
  for (const stepMs of [minute, 10 * minute, hour])
    for (const to of [130 * minute, 165 * minute])
      await expectEqual(world, { from: 3 * minute, to, stepMs, columns: ['version'] });
  await world.end();
});

const daily = (deviceId: string, startedAt: number) => ({
  deviceId,
  window: windowOf({ startedAt, succeeded: 1, latencies: [5] }),
});

test('single windows go when they are old, and the hours and days before still count', async () => {
  const now = 10 * day;
  const world = await openWorld({ now: () => now, keep: { ...keepAll, windowsMs: day, historyMs: 400 * day } });
  const starts = Array.from({ length: 240 }, (_, i) => i * hour + 7 * minute);
  await world.take(starts.flatMap((at) => [daily('a', at), daily('b', at)]));
  await world.expire();
  expect(await world.windows()).toBe(480);
  await world.flush();
  await world.expire();
  expect(await world.windows()).toBe(2 * 24);
  for (const devices of [undefined, ['a']])
    for (const stepMs of [undefined, hour, day]) {
      let sum = 0;
      const span = { model: 'm', devices, from: 0, to: now };
      await world.history().sums({ ...span, stepMs, columns: [] }, ({ succeeded }) => {
        sum += succeeded;
      });
      expect(sum).toBe(devices === undefined ? 480 : 240);
    }
  await world.die();
  expect(await world.windows()).toBe(48);
  await expectEqual(world, { from: 9 * day, to: now, stepMs: minute, columns: ['version'] });
  await world.end();
});

test('nothing goes that is not put together yet, and too many windows go though they are young', async () => {
  const world = await openWorld({ now: () => 10 * day, keep: { ...keepAll, windowsBytes: 100_000 } });
  await world.take(Array.from({ length: 1000 }, (_, i) => daily('a', 9 * day + i * 1000)));
  await world.expire();
  expect(await world.windows()).toBe(1000);
  await world.flush();
  await world.expire();
  const left = await world.windows();
  expect(left).toBeGreaterThan(50);
  expect(left).toBeLessThan(250);
  let sum = 0;
  await world.history().sums({ from: 0, to: 10 * day, stepMs: undefined, columns: [] }, ({ windows }) => {
    sum += windows;
  });
  expect(sum).toBe(1000);
  await world.end();
});

test('what comes after all that there was has gone counts, too', async () => {
  const world = await openWorld({ now: () => 10 * day, keep: { ...keepAll, windowsMs: day } });
  await world.take(Array.from({ length: 20 }, (_, i) => daily('a', i * hour)));
  await world.flush();
  await world.expire();
  expect(await world.windows()).toBe(1);
  await world.take(Array.from({ length: 5 }, (_, i) => daily('a', 9.5 * day + i * hour)));
  await world.flush();
  await world.die();
  for (const devices of [undefined, ['a']]) {
    let sum = 0;
    await world.history().sums({ devices, from: 0, to: 10 * day, stepMs: undefined, columns: [] }, ({ windows }) => {
      sum += windows;
    });
    expect(sum).toBe(25);
  }
  await world.end();
});
