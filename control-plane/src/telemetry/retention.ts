// How long telemetry is kept: single windows for days and within so many bytes, what is put together of them for longer, the
// longer the coarser it is.
import { and, asc, eq, gt, lt, sql } from 'drizzle-orm';
import { deleteBefore, type Keeper, keeperFor } from '../database/expire.ts';
import type { Database } from '../database/open.ts';
import { deviceLevels, fleetLevels } from './rollup.ts';
import type { RollupStore } from './rollup-store.ts';
import type { TelemetryStore } from './telemetry-store.ts';

export interface KeepTelemetry {
  /** Single windows: for so long, and so many bytes of them. */
  windowsMs: number;
  windowsBytes: number;
  /** Rollups of hours and days, labels, losses, messages that were not understood. */
  historyMs: number;
}

interface RetentionDeps {
  database: Database;
  store: Pick<TelemetryStore, 'oldestWindow'>;
  rollupStore: Pick<RollupStore, 'marks' | 'setMark'>;
  keep: KeepTelemetry;
  /** Windows up to this arrival stand in the rollups. */
  rolledUpTo: () => number;
  now: () => number;
}

const dayMs = 86_400_000;
const expiredMark = 'windows-expired';
/** Rollups of a level are kept for at most so many days; those that are not named as long as history. */
const fleetDays: Readonly<Record<number, number>> = { 60: 7, 900: 60 };
const deviceDays: Readonly<Record<number, number>> = { 3600: 30 };
/** Of so many windows the size of one is estimated. */
const sampledWindows = 200;
/** Beside its body: columns, key, indexes, and what stays empty of a page. */
const rowBytes = 900;
/** By bytes, windows are let go of in steps of so many. */
const stepWindows = 5000;

export function createRetention({ database, store, rollupStore, keep, rolledUpTo, now }: RetentionDeps) {
  const { windows, rollups, labelRollups, labels, losses, malformed } = database.tables;
  /** What began before it was let go of, or is about to be; undefined until it is read. */
  let expiredTo: number | undefined;

  const windowsKeeper: Keeper = {
    table: 'windows',
    async expire(limit) {
      const before = Math.max(now() - keep.windowsMs, await fullFrom());
      if (((await store.oldestWindow()) ?? before) >= before) return 0;
      expiredTo = Math.max(await keptFrom(), before);
      return database.transact(async (tx) => {
        await rollupStore.setMark(tx, expiredMark, before);
        const key = [windows.deviceId, windows.epoch, windows.sequence] as const;
        // The newest stays, whose arrival those to come are counted on from.
        const only = lt(windows.arrival, rolledUpTo());
        return deleteBefore(tx, { table: windows, key, at: windows.startedAt, only }, { before, limit });
      });
    },
  };

  async function keptFrom(): Promise<number> {
    expiredTo ??= (await rollupStore.marks()).get(expiredMark) ?? 0;
    return expiredTo;
  }

  return {
    keepers: [
      windowsKeeper,
      ...fleetLevels.map((level) => rollupKeeper(level, false)),
      ...deviceLevels.map((level) => rollupKeeper(level, true)),
      ...fleetLevels.map(labelKeeper),
      keeperFor(database, {
        ...{ name: 'labels', table: labels, key: [labels.deviceId, labels.inferenceId], at: labels.predictedAt },
        ...{ keepMs: keep.historyMs, now },
      }),
      keeperFor(database, {
        ...{
          name: 'losses',
          table: losses,
          key: [losses.deviceId, losses.epoch, losses.sequence],
          at: losses.receivedAt,
        },
        ...{ keepMs: keep.historyMs, now },
      }),
      keeperFor(database, {
        ...{ name: 'malformed', table: malformed, key: [malformed.deviceId, malformed.slot], at: malformed.at },
        ...{ keepMs: keep.historyMs, now },
      }),
    ] satisfies Keeper[],

    windowsKeptFrom: keptFrom,

    rollupsKeptFrom: (level: number, perDevice: boolean): number => now() - keepMsOf(level, perDevice),
  };

  function keepMsOf(level: number, perDevice: boolean): number {
    const days = (perDevice ? deviceDays : fleetDays)[level];
    return days === undefined ? keep.historyMs : Math.min(days * dayMs, keep.historyMs);
  }

  function rollupKeeper(level: number, perDevice: boolean): Keeper {
    return keeperFor(database, {
      name: 'rollups',
      table: rollups,
      key: [rollups.level, rollups.deviceId, rollups.model, rollups.version, rollups.startedAt],
      at: rollups.startedAt,
      only: and(eq(rollups.level, level), perDevice ? gt(rollups.deviceId, '') : eq(rollups.deviceId, '')),
      keepMs: keepMsOf(level, perDevice),
      now,
    });
  }

  function labelKeeper(level: number): Keeper {
    const { level: own, label, startedAt, value, model, version } = labelRollups;
    return keeperFor(database, {
      ...{ name: 'label_rollups', table: labelRollups, at: startedAt, only: eq(own, level), now },
      key: [own, label, startedAt, value, model, version],
      keepMs: keepMsOf(level, false),
    });
  }

  /** The start of the window from which on as many as may be kept are kept; 0 while all may. */
  async function fullFrom(): Promise<number> {
    const { read } = database;
    const size = sql<number>`coalesce(avg(length(${windows.body})), 0)`.mapWith(Number);
    const bounds = {
      least: sql<number>`min(${windows.arrival})`.mapWith(Number),
      most: sql<number>`max(${windows.arrival})`.mapWith(Number),
    };
    const [range] = await read.select(bounds).from(windows);
    if (range === undefined || range.most === null) return 0;
    const { least, most } = range;
    const [sample] = await read
      .select({ size })
      .from(windows)
      .where(gt(windows.arrival, most - sampledWindows));
    const allowed = Math.floor(keep.windowsBytes / (rowBytes + (sample?.size ?? 0)));
    const surplus = most - least + 1 - allowed;
    if (surplus <= 0) return 0;
    const [border] = await read
      .select({ startedAt: windows.startedAt })
      .from(windows)
      .where(lt(windows.startedAt, now()))
      .orderBy(asc(windows.startedAt))
      .limit(1)
      .offset(Math.min(surplus, stepWindows));
    return border?.startedAt ?? 0;
  }
}
