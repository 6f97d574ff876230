// Windows of one model version put together by the time they began: what charts of long ranges and old times are read from. Held
// in memory until they are written down; pure.
import { type QuantileSketch, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import type { Window } from '@edgeloop/shared/telemetry';
import { createVariantMerge, type MergedWindow } from './merge.ts';
import { unpackSketch } from './packed-sketch.ts';
import type { WindowRow } from './window-row.ts';

const minute = 60;
const quarter = 900;
const hour = 3600;
const day = 86_400;

/** Seconds that a rollup spans, from the coarsest; of each device by itself only the coarse ones. */
export const fleetLevels = [day, hour, quarter, minute] as const;
export const deviceLevels = [day, hour] as const;
/** Rollups of the fleet that hold the merged window from the first version that wrote any. */
export const alwaysFullLevels: readonly number[] = [day, hour, quarter];

/** Rollups of all devices together, or of each. */
export type PartKind = 'fleet' | 'devices';

export interface RollupKey {
  /** Seconds. */
  level: number;
  /** Empty: of all devices. */
  deviceId: string;
  model: string;
  version: number;
  /** A multiple of the level. */
  startedAt: number;
}

export interface RollupSums {
  windows: number;
  succeeded: number;
  failed: number;
  invalid: number;
  rows: number;
  latency: QuantileSketch;
  confidenceSum: number;
  confidenceCount: number;
  classes: Record<string, number>;
  /** Failed requests by the code of their error; of rollups of before, none. */
  failures: Record<string, number>;
  /** The merged window, of the fleet. */
  body: MergedWindow | null;
}
export type Rollup = RollupKey & RollupSums;

function startOf(at: number, level: number): number {
  return at - (at % (level * 1000));
}

/**
 * The sum of confidences and how many there were; missing ones, the last count of a histogram, are in neither. Without a
 * reference confidence is one of the signals.
 */
export function confidenceOf({ confidence, signals }: Pick<Window, 'confidence' | 'signals'>) {
  const signal = signals?.['output:confidence'];
  if (confidence === undefined)
    return signal === undefined ? { sum: 0, count: 0 } : { sum: signal.sum, count: valuesIn(signal) };
  return { sum: confidence.sum, count: confidence.counts.slice(0, -1).reduce((sum, count) => sum + count, 0) };
}

/** Sums that more is added to. */
export class RollupSum {
  readonly #latency = new QuantileSketchBuilder();
  readonly #classes: Record<string, number> = {};
  readonly #failures: Record<string, number> = {};
  readonly #merge: ReturnType<typeof createVariantMerge> | undefined;
  #sums = { windows: 0, succeeded: 0, failed: 0, invalid: 0, rows: 0, confidenceSum: 0, confidenceCount: 0 };

  /** `full`: with the merged window. */
  constructor(full: boolean) {
    this.#merge = full ? createVariantMerge() : undefined;
  }

  addWindow(window: Window): void {
    const { sum, count } = confidenceOf(window);
    this.#count(window, { latency: window.latencyMs, confidenceSum: sum, confidenceCount: count });
    this.#merge?.add(window);
  }

  /** The same by the columns of a window. Without the merged one. */
  addRow({ head, cells: { latency, ...confidence } }: Pick<WindowRow, 'head' | 'cells'>): void {
    this.#count(head, { latency: unpackSketch(latency), ...confidence });
  }

  #count(
    window: WindowRow['head'],
    { latency, confidenceSum, confidenceCount }: Pick<RollupSums, 'latency' | 'confidenceSum' | 'confidenceCount'>,
  ): void {
    const sums = this.#sums;
    sums.windows += 1;
    sums.succeeded += window.succeeded;
    for (const failures of Object.values(window.failed)) sums.failed += failures;
    sums.invalid += window.invalid;
    sums.rows += window.rows;
    sums.confidenceSum += confidenceSum;
    sums.confidenceCount += confidenceCount;
    this.#latency.merge(latency);
    addCounts(this.#classes, window.classes);
    addCounts(this.#failures, window.failed);
  }

  add(other: RollupSums): void {
    const sums = this.#sums;
    sums.windows += other.windows;
    sums.succeeded += other.succeeded;
    sums.failed += other.failed;
    sums.invalid += other.invalid;
    sums.rows += other.rows;
    sums.confidenceSum += other.confidenceSum;
    sums.confidenceCount += other.confidenceCount;
    this.#latency.merge(other.latency);
    addCounts(this.#classes, other.classes);
    addCounts(this.#failures, other.failures);
    if (other.body !== null) this.#merge?.add(other.body);
  }

  result(): RollupSums {
    const body = this.#merge?.result() ?? null;
    return { ...this.#sums, latency: this.#latency.toJSON(), classes: this.#classes, failures: this.#failures, body };
  }
}

function addCounts(target: Record<string, number>, other: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(other)) target[name] = (target[name] ?? 0) + count;
}

/** Windows that are not written down yet, by the finest level of their part; coarser ones are sums of these. */
export class PendingRollups {
  readonly #levels: readonly number[];
  readonly #finest: number;
  readonly #perDevice: boolean;
  readonly #sums = new Map<string, { key: RollupKey; sum: RollupSum }>();

  constructor(part: PartKind) {
    this.#perDevice = part === 'devices';
    this.#levels = part === 'fleet' ? fleetLevels : deviceLevels;
    this.#finest = Math.min(...this.#levels);
  }

  get size(): number {
    return this.#sums.size;
  }

  addWindow(device: string, window: Window): void {
    this.#sumFor(device, window).addWindow(window);
  }

  /** Of devices by themselves, which have no merged window. */
  addRow(row: Pick<WindowRow, 'deviceId' | 'head' | 'cells'>): void {
    this.#sumFor(row.deviceId, row.head).addRow(row);
  }

  /** One of the finest level. */
  addRollup(rollup: Rollup): void {
    this.#sumFor(rollup.deviceId, rollup).add(rollup);
  }

  #sumFor(device: string, { model, version, startedAt }: Pick<Window, 'model' | 'version' | 'startedAt'>): RollupSum {
    const deviceId = this.#perDevice ? device : '';
    const key = { level: this.#finest, deviceId, model, version, startedAt: startOf(startedAt, this.#finest) };
    const id = rollupId(key);
    const known = this.#sums.get(id);
    if (known !== undefined) return known.sum;
    const sum = new RollupSum(!this.#perDevice);
    this.#sums.set(id, { key, sum });
    return sum;
  }

  /** All of it at the finest level. */
  finest(): Generator<Rollup> {
    return this.of(this.#finest);
  }

  /** What is to be added to the rollups of this level, of those asked for. */
  *of(level: number, isAsked: (key: RollupKey) => boolean = () => true): Generator<Rollup> {
    for (const { key: finest, sum } of this.#sums.values()) {
      const key = { ...finest, level, startedAt: startOf(finest.startedAt, level) };
      if (isAsked(key)) yield { ...key, ...sum.result() };
    }
  }

  /** What is to be added to the rollups of every level, one for each. */
  all(): Rollup[] {
    return this.#levels.flatMap((level) => {
      const sums = new Map<string, { key: RollupKey; sum: RollupSum }>();
      for (const rollup of this.of(level)) {
        const { deviceId, model, version, startedAt } = rollup;
        const key = { level, deviceId, model, version, startedAt };
        const known = sums.get(rollupId(key)) ?? { key, sum: new RollupSum(isFull(key)) };
        sums.set(rollupId(key), known);
        known.sum.add(rollup);
      }
      return [...sums.values()].map(({ key, sum }) => ({ ...key, ...sum.result() }));
    });
  }

  /** Takes in those of another one of the same part. */
  absorb(other: PendingRollups): void {
    for (const [id, { key, sum }] of other.#sums) {
      const known = this.#sums.get(id);
      if (known === undefined) this.#sums.set(id, { key, sum });
      else known.sum.add(sum.result());
    }
  }
}

/** With the merged window: what drift is judged on, and what has no columns. */
export function isFull({ deviceId }: Pick<RollupKey, 'deviceId'>): boolean {
  return deviceId === '';
}

export function rollupId({ level, deviceId, model, version, startedAt }: RollupKey): string {
  return `${level} ${startedAt} ${version} ${model} ${deviceId}`;
}
