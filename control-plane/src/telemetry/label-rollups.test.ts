import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, expect, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { openSqlite } from '../database/open.ts';
import type { KnownDevice } from './device-groups.ts';
import { createHistory, type HistoryQuery } from './history.ts';
import { createLabelRollupStore } from './label-rollup-store.ts';
import { LabelRollups } from './label-rollups.ts';
import { createRetention } from './retention.ts';
import { createRollupStore } from './rollup-store.ts';
import { createRollups } from './rollups.ts';
import { createSeriesStore } from './series-store.ts';
import { keepAll, windowOf } from './telemetry-fixture.ts';
import { createTelemetryStore } from './telemetry-store.ts';
import { sentWindow, WindowRow } from './window-row.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const log = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'label-rollups-'));
const database = openSqlite(join(folder, 'test.db'));
afterAll(async () => {
  await database.close();
  rmSync(folder, { recursive: true });
});

const sites: Record<string, string> = { a: 'paris', b: 'paris', c: 'oslo' };
const fleet = () =>
  ['a', 'b', 'c', 'd'].map((id): [string, KnownDevice] => {
    const site = sites[id];
    return [id, { id, labels: site === undefined ? {} : { site }, status: 'online', reported: null }];
  });

/** Telemetry whose process can die, with rollups by `labels`. */
async function openWorld({ labels = ['site'], since = 0 } = {}) {
  const { windows, rollups, labelRollups, telemetryMarks } = database.tables;
  await database.transact(async (tx) => {
    for (const table of [windows, rollups, labelRollups, telemetryMarks]) await tx.delete(table);
  });
  const store = createTelemetryStore(database);
  const rollupStore = createRollupStore(database);
  const all: { deviceId: string; window: Window }[] = [];
  const known = new Map(fleet());
  let sequence = 0;
  let process = await start(labels);
  return {
    all,
    known,
    process: () => process,
    async take(rows: readonly { deviceId: string; window: Window }[]): Promise<void> {
      all.push(...rows);
      const stored = rows.map(({ deviceId, window }) => {
        const key = { deviceId, epoch: 1, sequence: ++sequence };
        return new WindowRow({ ...key, receivedAt: 0 }, sentWindow(window));
      });
      await database.transact((tx) => store.addWindows(tx, stored));
      process.rollups.onStored(stored);
      process.own.onStored(stored);
    },
    flush: () => process.own.flush(),
    async die(chosen = labels): Promise<void> {
      await process.own.stop();
      await process.rollups.stop();
      process = await start(chosen);
    },
    async end(): Promise<void> {
      await process.own.stop();
      await process.rollups.stop();
    },
  };

  async function start(chosen: readonly string[]) {
    const own = new LabelRollups({
      ...{ database, rollupStore, labels: chosen, log, now: () => since },
      store: createLabelRollupStore(database),
      knownDevices: async () => known,
    });
    const rolledUp = createRollups({ database, store: rollupStore, now: Date.now, log });
    rolledUp.start();
    own.start();
    const settings = { database, store, rollupStore, keep: keepAll, rolledUpTo: () => 0, now: () => 3 * day };
    const history = createHistory({
      ...{ ...createRetention(settings), store, rollups: rolledUp, labelRollups: own },
      seriesStore: createSeriesStore(database),
    });
    await until('the rollups say all', async () => rolledUp.isLive() || undefined, { everyMs: 1 });
    const first = chosen[0];
    if (first !== undefined)
      await until('those by label, too', async () => own.completeFrom(first) !== undefined || undefined, {
        everyMs: 1,
      });
    return { own, rollups: rolledUp, history };
  }
}

const rows = fc.array(
  fc
    .record({
      deviceId: fc.constantFrom('a', 'b', 'c', 'd'),
      version: fc.constantFrom(1, 2),
      startedAt: fc.integer({ min: 0, max: 3 * day }),
      succeeded: fc.nat(50),
      failed: fc.nat(5),
    })
    .map(({ deviceId, failed, ...parts }) => ({
      deviceId,
      window: windowOf({ ...parts, failed: { timeout: failed } }),
    })),
  { minLength: 1, maxLength: 8 },
);
const step = fc.oneof(rows, fc.constantFrom('flush' as const, 'die' as const));
const query = fc
  .record({
    version: fc.constantFrom(undefined, 2),
    bounds: fc.tuple(fc.integer({ min: 0, max: 3 * day }), fc.integer({ min: 0, max: 3 * day })),
    stepMs: fc.constantFrom(undefined, minute, hour, 6 * hour, day),
  })
  .map(({ bounds: [a, b], ...rest }): HistoryQuery => {
    return { ...rest, from: Math.min(a, b), to: Math.max(a, b) + 1, columns: ['device'], label: 'site' };
  });

type World = Awaited<ReturnType<typeof openWorld>>;
type Sums = Record<string, number>;

async function bySite(world: World, asked: HistoryQuery): Promise<Sums> {
  const sums: Sums = {};
  const add = (key: string, count: number) => {
    if (count !== 0) sums[key] = (sums[key] ?? 0) + count;
  };
  const stepOf = (at: number) => (asked.stepMs === undefined ? asked.from : at - (at % asked.stepMs));
  const { history } = world.process();
  await history.sums(asked, ({ label, device, at, succeeded }) => {
    const site = label ?? world.known.get(device)?.labels.site;
    if (site !== undefined) add(`${site} ${stepOf(at)} succeeded`, succeeded);
  });
  await history.failures(asked, ({ label, device, at, failures }) => {
    const site = label ?? world.known.get(device)?.labels.site;
    if (site !== undefined) add(`${site} ${stepOf(at)} timeout`, failures.timeout ?? 0);
  });
  return sums;
}

function expected({ all }: World, { from, to, version, stepMs }: HistoryQuery): Sums {
  const sums: Sums = {};
  for (const { deviceId, window } of all) {
    const { startedAt, succeeded, failed } = window;
    const site = sites[deviceId];
    if (site === undefined || startedAt < from || startedAt >= to) continue;
    if (version !== undefined && window.version !== version) continue;
    const at = stepMs === undefined ? from : startedAt - (startedAt % stepMs);
    for (const [name, count] of [
      ['succeeded', succeeded],
      ['timeout', failed.timeout ?? 0],
    ] as const)
      if (count !== 0) sums[`${site} ${at} ${name}`] = (sums[`${site} ${at} ${name}`] ?? 0) + count;
  }
  return sums;
}

test('what is read by label equals what single windows say, after flushes and deaths at any time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 10 }),
      fc.array(query, { minLength: 1, maxLength: 4 }),
      async (steps, queries) => {
        const world = await openWorld();
        for (const each of steps) {
          if (typeof each === 'string') await world[each]();
          else await world.take(each);
        }
        for (const each of queries) expect(await bySite(world, each)).toEqual(expected(world, each));
        await world.end();
      },
    ),
    { numRuns: 40 },
  );
});

const wholeDays: HistoryQuery = { from: 0, to: 2 * day, stepMs: day, columns: ['device'], label: 'site' };

test('whole steps are read without a window or a rollup of a device, and a device that moved stays where it was', async () => {
  const world = await openWorld();
  await world.take([
    { deviceId: 'a', window: windowOf({ startedAt: hour, succeeded: 5 }) },
    { deviceId: 'c', window: windowOf({ startedAt: day + hour, succeeded: 7 }) },
  ]);
  await world.flush();
  await database.transact(async (tx) => {
    await tx.delete(database.tables.windows);
    await tx.delete(database.tables.rollups);
  });
  world.known.set('a', { id: 'a', labels: { site: 'rome' }, status: 'online', reported: null });
  expect(await bySite(world, wholeDays)).toEqual({ 'paris 0 succeeded': 5, [`oslo ${day} succeeded`]: 7 });
  await world.end();
});

test('what came before a label was chosen is told by what devices are now', async () => {
  const world = await openWorld({ labels: [], since: day });
  await world.take([{ deviceId: 'a', window: windowOf({ startedAt: hour, succeeded: 5 }) }]);
  await world.die(['site']);
  await world.take([{ deviceId: 'a', window: windowOf({ startedAt: day + hour, succeeded: 7 }) }]);
  await world.flush();
  world.known.set('a', { id: 'a', labels: { site: 'rome' }, status: 'online', reported: null });
  expect(await bySite(world, wholeDays)).toEqual({ 'rome 0 succeeded': 5, [`paris ${day} succeeded`]: 7 });
  await world.end();
});
