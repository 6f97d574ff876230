// Keeps the rollups: windows are put together in memory as they come in, and written down now and then, each once. What a dead
// process had not written down is read again from the windows by the next.
import { createHash } from 'node:crypto';
import { pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import { type PartKind, PendingRollups, type Rollup, type RollupKey } from './rollup.ts';
import type { RollupQuery, RollupStore } from './rollup-store.ts';
import type { WindowRow } from './window-row.ts';

interface RollupsDeps {
  database: Pick<Database, 'transact' | 'writable'>;
  store: RollupStore;
  now: () => number;
  log: Logger;
}

/** One that is written down by itself: the fleet often, of the devices a share at a time. */
interface Part {
  name: string;
  kind: PartKind;
  pending: PendingRollups;
  /** The highest arrival that is in `pending` or written down. */
  arrival: number;
  written: number;
}

const deviceParts = 16;
const fleetEveryMs = 15_000;
/** All devices once in a quarter of an hour. */
const devicesEveryMs = 900_000 / deviceParts;
/** Minutes before it were written down by a version that left their merged windows out. */
const fullMinutesMark = 'full-minutes';
const minuteMs = 60_000;
/** More spans than this are not held: they are written down at once. */
const mostPending = 20_000;

export type Rollups = ReturnType<typeof createRollups>;

export function createRollups({ database, store, now, log }: RollupsDeps) {
  const fleet = partOf('fleet', 'fleet');
  const devices = Array.from({ length: deviceParts }, (_, i) => partOf(`devices-${i}`, 'devices'));
  const parts = [fleet, ...devices];
  /** Reading and writing down take turns: what is read is either in memory or in the database, never both nor neither. */
  const turn = createTurn();
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  /** Until then only the windows themselves say all. */
  let live = false;
  /** The highest arrival that was stored. */
  let stored = 0;
  let fullMinutesFrom = Number.POSITIVE_INFINITY;

  return {
    start(): void {
      running = run(stopping.signal);
    },

    /** `together`: the same windows put together at the finest level of the fleet. */
    onStored(windows: readonly WindowRow[], together?: readonly Rollup[]): void {
      const newest = windows.reduce((most, { arrival }) => Math.max(most, arrival), stored);
      stored = newest;
      if (!live) return;
      for (const row of windows) takeOfDevice(row);
      if (together !== undefined) for (const rollup of together) fleet.pending.addRollup(rollup);
      else for (const row of windows) takeOfFleet(row);
      for (const part of parts) part.arrival = Math.max(part.arrival, newest);
    },

    /** Whether the rollups are all that was stored. */
    isLive: (): boolean => live,

    /** From when on rollups of a minute hold the merged window, too. */
    fullMinutesFrom: (): number => fullMinutesFrom,

    /** The highest arrival that every part has written down: windows up to it may be let go of. */
    writtenUpTo: (): number => Math.min(...parts.map(({ written }) => written)),

    /** Runs `work` while nothing is written down. */
    reading: <T>(work: () => Promise<T>): Promise<T> => turn.run(work),

    /** Rollups of a level that began in this time, in pieces that are to be added. Within `reading` only. */
    async *bodies(level: number, query: RollupQuery): AsyncGenerator<Rollup> {
      yield* store.bodies(level, query);
      for (const part of query.perDevice ? sharesOf(query.devices) : [fleet])
        yield* part.pending.of(level, (key) => isAsked(key, query));
    },

    flush: (): Promise<void> => flush(parts),

    stop,

    /** Writes down what is in memory; the next process would read it from the windows. */
    async close(): Promise<void> {
      await stop();
      if (live) await attempt(parts);
    },
  };

  async function stop(): Promise<void> {
    stopping.abort();
    await running;
  }

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !live) {
      await database.writable(signal);
      try {
        await catchUp(signal);
      } catch (error) {
        log.error({ err: error }, 'the rollups could not catch up with what was stored; trying again');
        await pause(5000, signal);
      }
    }
    for (let turns = 0; !signal.aborted; turns++) {
      await pause(fleetEveryMs, signal);
      if (signal.aborted) return;
      const share = devices[Math.floor((turns * fleetEveryMs) / devicesEveryMs) % deviceParts];
      const due = new Set([fleet, share, ...parts.filter(({ pending }) => pending.size > mostPending)]);
      await attempt(parts.filter((part) => due.has(part)));
    }
  }

  async function attempt(due: readonly Part[]): Promise<void> {
    try {
      await flush(due);
    } catch (error) {
      log.warn({ err: error }, 'rollups could not be written down; trying again');
    }
  }

  /** Takes in what was stored before this process, or while it was busy with that. */
  async function catchUp(signal: AbortSignal): Promise<void> {
    const marks = await store.marks();
    for (const part of parts) {
      part.pending = new PendingRollups(part.kind);
      part.written = marks.get(part.name) ?? 0;
      part.arrival = part.written;
    }
    fullMinutesFrom = marks.get(fullMinutesMark) ?? (await beginFullMinutes());
    let at = Math.min(...parts.map(({ written }) => written));
    while (!signal.aborted) {
      const page = await store.windowsAfter(at);
      const last = page.at(-1);
      if (last === undefined && stored <= at) {
        live = true;
        return;
      }
      for (const row of page) if (row.foreignRelease === null) takeStored(row);
      at = last?.arrival ?? at;
      for (const part of parts) part.arrival = Math.max(part.arrival, at);
      if (parts.some(({ pending }) => pending.size > mostPending)) await flush(parts);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The present minute may stand there without its merged window. */
  async function beginFullMinutes(): Promise<number> {
    const from = fleet.written === 0 ? 0 : (Math.floor(now() / minuteMs) + 1) * minuteMs;
    await database.transact((tx) => store.setMark(tx, fullMinutesMark, from));
    return from;
  }

  function takeStored({ deviceId, window, arrival }: Pick<WindowRow, 'deviceId' | 'window' | 'arrival'>): void {
    for (const part of [fleet, devices[shareOf(deviceId)]]) {
      if (part === undefined || arrival <= part.arrival) continue;
      part.pending.addWindow(deviceId, window);
    }
  }

  /** What has just been stored came after all that a part has. */
  function takeOfFleet({ deviceId, window }: WindowRow): void {
    fleet.pending.addWindow(deviceId, window);
  }

  function takeOfDevice(row: WindowRow): void {
    devices[shareOf(row.deviceId)]?.pending.addRow(row);
  }

  function sharesOf(ids: readonly string[] | undefined): Part[] {
    if (ids === undefined) return devices;
    const shares = new Set(ids.map((id) => shareOf(id)));
    return devices.filter((_, i) => shares.has(i));
  }

  /** In one transaction. */
  function flush(due: readonly Part[]): Promise<void> {
    return turn.run(async () => {
      const taken = due.filter(isDue).map((part) => ({ part, arrival: part.arrival, pending: part.pending }));
      if (taken.length === 0) return;
      for (const { part } of taken) part.pending = new PendingRollups(part.kind);
      try {
        await database.transact(async (tx) => {
          for (const { part, arrival, pending } of taken)
            await store.add(tx, pending.all(), { part: part.name, arrival });
        });
        for (const { part, arrival } of taken) part.written = arrival;
      } catch (error) {
        // What came in meanwhile is beside it.
        for (const { part, pending } of taken) part.pending.absorb(pending);
        throw error;
      }
    });
  }
}

function isDue({ arrival, written, pending }: Part): boolean {
  return arrival > written || pending.size > 0;
}

function partOf(name: string, kind: PartKind): Part {
  return { name, kind, pending: new PendingRollups(kind), arrival: 0, written: 0 };
}

const shares = new Map<string, number>();
const mostShares = 50_000;

/** What was written down with the share of a device is read with it again: it never changes. */
function shareOf(deviceId: string): number {
  const known = shares.get(deviceId);
  if (known !== undefined) return known;
  const share = createHash('sha256').update(deviceId).digest().readUInt8() % deviceParts;
  if (shares.size >= mostShares) shares.clear();
  shares.set(deviceId, share);
  return share;
}

function isAsked({ startedAt, model, version, deviceId }: RollupKey, query: RollupQuery): boolean {
  return (
    startedAt >= query.from &&
    startedAt < query.to &&
    (query.model === undefined || model === query.model) &&
    (query.version === undefined || version === query.version) &&
    (query.devices === undefined || query.devices.includes(deviceId))
  );
}
