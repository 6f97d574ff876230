// Keeps rollups by the labels of devices that were chosen for charts, beside those of the fleet: a chart by site reads as many
// rows as there are sites, however many devices there are.
import { pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Window } from '@edgeloop/shared/telemetry';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { KnownDevices } from './device-groups.ts';
import {
  type LabelRollup,
  type LabelRollupKey,
  type LabelRollupQuery,
  type LabelRollupStore,
  labelRollupId,
} from './label-rollup-store.ts';
import { fleetLevels, type Rollup, RollupSum } from './rollup.ts';
import type { RollupStore } from './rollup-store.ts';
import type { WindowRow } from './window-row.ts';

interface LabelRollupsDeps {
  database: Pick<Database, 'transact' | 'writable'>;
  store: LabelRollupStore;
  rollupStore: Pick<RollupStore, 'marks' | 'setMark' | 'windowsAfter'>;
  /** The chosen labels. */
  labels: readonly string[];
  knownDevices: () => Promise<KnownDevices>;
  now: () => number;
  log: Logger;
  flushEveryMs?: number;
}

const part = 'labels';
const finest = Math.min(...fleetLevels);
const hourMs = 3_600_000;
/** More spans than this are written down at once. */
const mostPending = 20_000;

type Pending = Map<string, { key: LabelRollupKey; sum: RollupSum }>;
type Taken = Pick<WindowRow, 'deviceId' | 'window' | 'arrival' | 'foreignRelease'>;

/**
 * INVARIANTS
 * - Each window is in the rollups once: what is pending and how far it has come change together, and are written down in one
 *   transaction.
 * - Whatever touches them takes turns, in the order in which windows were stored: who reads after a commit reads all of it.
 */
export class LabelRollups {
  readonly #deps: LabelRollupsDeps;
  readonly #turn = createTurn();
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #pending: Pending = new Map();
  #arrival = 0;
  #written = 0;
  /** Since when the rollups of a label are whole. */
  #since = new Map<string, number>();
  #live = false;

  constructor(deps: LabelRollupsDeps) {
    this.#deps = deps;
  }

  start(): void {
    if (this.#isOff) return;
    this.#running = this.#run(this.#stopping.signal);
  }

  /** Takes in what was stored. */
  onStored(windows: readonly Taken[]): void {
    if (!this.#live || windows.length === 0) return;
    void this.#turn
      .run(() => this.#take(windows))
      .catch((err: unknown) => {
        // What is missing is read again from the windows.
        this.#live = false;
        this.#deps.log.warn({ err }, 'windows could not be told by label; they are read again');
      });
  }

  /** From when on the rollups of this label say all; undefined while they do not, or when it was not chosen. */
  completeFrom(label: string): number | undefined {
    const since = this.#live ? this.#since.get(label) : undefined;
    return since === undefined ? undefined : Math.ceil(since / hourMs) * hourMs;
  }

  /** Runs `work` while nothing is taken in or written down. */
  reading<T>(work: () => Promise<T>): Promise<T> {
    return this.#turn.run(work);
  }

  /** Rollups of a level that began in this time, in pieces that are to be added. Within `reading` only. */
  async *bodies(level: number, query: LabelRollupQuery): AsyncGenerator<Rollup & { label: string }> {
    let last: LabelRollupKey | undefined;
    for (let isLast = false; !isLast; ) {
      const page = await this.#deps.store.page(level, query, last);
      for (const rollup of page.rollups) yield told(rollup);
      last = page.rollups.at(-1);
      isLast = page.isLast;
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { key, sum } of this.#pending.values()) {
      const own = { ...key, level, startedAt: startOf(key.startedAt, level) };
      if (isAsked(own, query)) yield told({ ...own, ...sum.result() });
    }
  }

  /** Windows up to this arrival may be let go of. */
  writtenUpTo(): number {
    return this.#isOff ? Number.POSITIVE_INFINITY : this.#written;
  }

  flush(): Promise<void> {
    return this.#turn.run(() => this.#write());
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async close(): Promise<void> {
    await this.stop();
    if (this.#live) await this.#attempt();
  }

  get #isOff(): boolean {
    return this.#deps.labels.length === 0;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { database, log, flushEveryMs = 15_000 } = this.#deps;
    while (!signal.aborted) {
      if (this.#live) {
        await pause(flushEveryMs, signal);
        if (!signal.aborted) await this.#attempt();
        continue;
      }
      await database.writable(signal);
      try {
        await this.#catchUp(signal);
      } catch (err) {
        log.error({ err }, 'the rollups by label could not catch up with what was stored; trying again');
        await pause(5000, signal);
      }
    }
  }

  /** Takes in what was stored before this process, since the labels were chosen. */
  async #catchUp(signal: AbortSignal): Promise<void> {
    const { database, store, rollupStore, labels, now } = this.#deps;
    this.#pending = new Map();
    const mark = (await rollupStore.marks()).get(part);
    this.#written = mark ?? (await store.newestArrival());
    this.#arrival = this.#written;
    this.#since = await database.transact(async (tx) => {
      if (mark === undefined) await rollupStore.setMark(tx, part, this.#written);
      return store.choose(tx, labels, now());
    });
    while (!signal.aborted && !this.#live) {
      await this.#turn.run(async () => {
        const page = await rollupStore.windowsAfter(this.#arrival);
        await this.#take(page);
        // Stored in this turn or later, windows come by themselves.
        if (page.length === 0) this.#live = true;
      });
      if (this.#pending.size > mostPending) await this.flush();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #take(windows: readonly Taken[]): Promise<void> {
    const known = await this.#deps.knownDevices();
    for (const { deviceId, window, arrival, foreignRelease } of windows) {
      if (arrival <= this.#arrival) continue;
      this.#arrival = arrival;
      if (foreignRelease !== null) continue;
      const labels = known.get(deviceId)?.labels ?? {};
      for (const label of this.#deps.labels) {
        const value = labels[label];
        if (value !== undefined) this.#add(label, value, window);
      }
    }
  }

  #add(label: string, value: string, window: Window): void {
    const { model, version } = window;
    const key = { level: finest, label, value, model, version, startedAt: startOf(window.startedAt, finest) };
    sumIn(this.#pending, key).addWindow(window);
  }

  async #attempt(): Promise<void> {
    try {
      await this.flush();
    } catch (err) {
      this.#deps.log.warn({ err }, 'rollups by label could not be written down; trying again');
    }
  }

  async #write(): Promise<void> {
    if (this.#arrival <= this.#written) return;
    const { database, store, rollupStore } = this.#deps;
    const arrival = this.#arrival;
    const rollups = ofAllLevels(this.#pending);
    await database.transact(async (tx) => {
      await store.add(tx, rollups);
      await rollupStore.setMark(tx, part, arrival);
    });
    this.#pending = new Map();
    this.#written = arrival;
  }
}

function ofAllLevels(pending: Pending): LabelRollup[] {
  const sums: Pending = new Map();
  for (const { key, sum } of pending.values()) {
    const result = sum.result();
    for (const level of fleetLevels)
      sumIn(sums, { ...key, level, startedAt: startOf(key.startedAt, level) }).add(result);
  }
  return [...sums.values()].map(({ key, sum }) => {
    const { body: _, ...rest } = sum.result();
    return { ...key, ...rest };
  });
}

function sumIn(sums: Pending, key: LabelRollupKey): RollupSum {
  const id = labelRollupId(key);
  const known = sums.get(id) ?? { key, sum: new RollupSum(false) };
  sums.set(id, known);
  return known.sum;
}

function startOf(at: number, level: number): number {
  return at - (at % (level * 1000));
}

/** As rollups are read: of no single device, with the value of the label. */
function told({ value, label: _, ...rollup }: LabelRollup): Rollup & { label: string } {
  return { ...rollup, deviceId: '', label: value, body: null };
}

function isAsked({ startedAt, label, model, version }: LabelRollupKey, query: LabelRollupQuery): boolean {
  return (
    label === query.label &&
    startedAt >= query.from &&
    startedAt < query.to &&
    (query.model === undefined || model === query.model) &&
    (query.version === undefined || version === query.version)
  );
}
