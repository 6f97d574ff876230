// Reads what was measured in a range of time from what tells it at least cost: rollups where they fit, single windows at the
// ends of the range and where steps are short.
import { createBreath } from '@edgeloop/shared/node/breath';
import type { QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { Window } from '@edgeloop/shared/telemetry';
import { z } from 'zod';
import { coverOf, type Piece, type Source } from './cover.ts';
import type { LabelRollups } from './label-rollups.ts';
import type { MergedWindow } from './merge.ts';
import { unpackSketch } from './packed-sketch.ts';
import { alwaysFullLevels, confidenceOf, deviceLevels, fleetLevels, type Rollup, type RollupKey } from './rollup.ts';
import type { Needs } from './rollup-store.ts';
import type { Rollups } from './rollups.ts';
import type { Grouping, SeriesStore } from './series-store.ts';
import type { Span, TelemetryStore } from './telemetry-store.ts';

interface HistoryDeps {
  store: TelemetryStore;
  seriesStore: SeriesStore;
  rollups: Rollups;
  labelRollups: Pick<LabelRollups, 'completeFrom' | 'reading' | 'bodies'>;
  /** What began before is not kept: single windows, and rollups of a level. */
  windowsKeptFrom: () => Promise<number>;
  rollupsKeptFrom: (level: number, perDevice: boolean) => number;
}

/** To what a figure belongs. Columns that sums were not grouped by are ''. */
export interface Origin {
  model: string;
  version: string;
  device: string;
  /** When it began. */
  at: number;
  /** Of all devices with this value of the label that was asked for; undefined: of `device`. */
  label?: string;
}
export interface SumsShare extends Origin {
  windows: number;
  succeeded: number;
  failed: number;
  invalid: number;
  rows: number;
}
export interface FiguresShare extends Origin {
  latency: QuantileSketch;
  confidence: { sum: number; count: number };
}
export interface ClassesShare extends Origin {
  classes: Readonly<Record<string, number>>;
}

export interface FailuresShare extends Origin {
  failures: Readonly<Record<string, number>>;
}

/** What of a window is wanted: a part of its schema. */
export interface PartsShare<T> extends Origin {
  parts: T;
  /** The same of each variant by itself, where there are several. */
  variants: Readonly<Record<string, T>>;
}

export interface HistoryQuery extends Span, Grouping {
  /** Grouped by this label of devices, and by nothing else of them. */
  label?: string | undefined;
}

const FiguresOf = Window.pick({ latencyMs: true, confidence: true, signals: true });
const ClassesOf = z.object({ classes: z.record(z.string(), z.number()) });
const FailuresOf = z.object({ failed: z.record(z.string(), z.number()) });
/** Of rollups that were written before they told failures by their kind. */
const unknownKind = 'unknown';

/** A rollup, of a device, of all, or of those with one value of a label. */
type Told = Rollup & { label?: string };

export type History = ReturnType<typeof createHistory>;

export function createHistory({
  store,
  seriesStore,
  rollups,
  labelRollups,
  windowsKeptFrom,
  rollupsKeptFrom,
}: HistoryDeps) {
  return {
    /** Sums, each of which lies in one step. */
    sums: (query: HistoryQuery, take: (share: SumsShare) => void): Promise<void> =>
      read(query, {
        needs: 'sums',
        rollup: (rollup) => take({ ...rollup, ...originOf(rollup) }),
        windows: (whole) =>
          inParts(whole, async (span) => {
            const { stepMs, columns } = query;
            for (const { bucket, ...row } of await seriesStore.windowSums(span, { stepMs, columns }))
              take({ ...row, at: stepMs === undefined ? span.from : bucket });
          }),
      }),

    /** Latencies and confidence. */
    figures: (query: HistoryQuery, take: (share: FiguresShare) => void): Promise<void> =>
      read(query, {
        needs: 'latency',
        rollup: (rollup) => {
          const { latency, confidenceSum, confidenceCount } = rollup;
          take({ ...originOf(rollup), latency, confidence: { sum: confidenceSum, count: confidenceCount } });
        },
        windows: async (span) => {
          for await (const row of store.figures(span)) {
            const origin = { ...row, version: String(row.version), device: row.deviceId, at: row.startedAt };
            if (row.latency === null) {
              const { latencyMs, ...rest } = FiguresOf.parse(row.body);
              take({ ...origin, latency: latencyMs, confidence: confidenceOf(rest) });
            } else {
              const confidence = { sum: row.confidenceSum ?? 0, count: row.confidenceCount ?? 0 };
              take({ ...origin, latency: unpackSketch(row.latency), confidence });
            }
          }
        },
      }),

    /** Rows by predicted class. */
    classes: (query: HistoryQuery, take: (share: ClassesShare) => void): Promise<void> =>
      read(query, {
        needs: 'counts',
        rollup: (rollup) => take({ ...originOf(rollup), classes: rollup.classes }),
        windows: async (span) => {
          for await (const { body, ...row } of store.bodies(span, ClassesOf))
            take({ ...row, version: String(row.version), device: row.deviceId, at: row.startedAt, ...body });
        },
      }),

    /** Failed requests by the code of their error. */
    failures: (query: HistoryQuery, take: (share: FailuresShare) => void): Promise<void> =>
      read(query, {
        needs: 'counts',
        rollup: ({ failures, failed, ...rollup }) => {
          const told = Object.values(failures).reduce((sum, count) => sum + count, 0);
          take({ ...originOf(rollup), failures: { ...failures, [unknownKind]: failed - told } });
        },
        windows: async (span) => {
          for await (const { body, ...row } of store.bodies(span, FailuresOf)) {
            const origin = { ...row, version: String(row.version), device: row.deviceId, at: row.startedAt };
            take({ ...origin, failures: body.failed });
          }
        },
      }),

    /**
     * What has no columns: parts of merged windows of the fleet from a minute on, of single windows where steps are shorter or
     * devices are asked for.
     */
    parts: <T>(query: HistoryQuery, schema: z.ZodType<T>, take: (share: PartsShare<T>) => void): Promise<void> => {
      const OfWindow = z.intersection(schema, Window.pick({ variant: true }));
      return read(
        { ...query, label: undefined },
        {
          needs: 'window',
          rollup: ({ body, ...rollup }) => {
            // Both schemas are of a window, and a rollup's was read by the whole one.
            if (body !== null)
              take({ ...originOf(rollup), parts: schema.parse(body), variants: partsOf(body, schema) });
          },
          windows: async (span) => {
            for await (const { body, ...row } of store.bodies(span, OfWindow)) {
              const origin = { ...row, version: String(row.version), device: row.deviceId, at: row.startedAt };
              take({ ...origin, parts: body, variants: body.variant === undefined ? {} : { [body.variant]: body } });
            }
          },
        },
        'windows',
      );
    },

    /** Whole windows, and of how many each was made. */
    full: (span: Span, take: (window: Window, windows: number) => void): Promise<void> =>
      read(
        { ...span, stepMs: undefined, columns: [] },
        {
          needs: 'window',
          rollup: ({ body, windows }) => {
            if (body === null) return;
            const { variants: _, ...window } = body;
            take(window, windows);
          },
          windows: async (within) => {
            for await (const { body } of store.bodies(within, Window)) take(body, 1);
          },
        },
        'windows',
      ),
  };

  async function read(
    query: HistoryQuery,
    on: { needs: Needs; rollup: (rollup: Told) => void; windows: (span: Span) => Promise<void> },
    kind: 'sums' | 'windows' = 'sums',
  ): Promise<void> {
    const perDevice = query.devices !== undefined || query.columns.includes('device');
    const byLabelFrom = query.label === undefined ? undefined : labelRollups.completeFrom(query.label);
    const border = Math.min(query.to, Math.max(query.from, byLabelFrom ?? query.to));
    const breathe = createBreath();
    if (query.from < border) await rollups.reading(() => readByDevice({ ...query, to: border }));
    if (border < query.to) await labelRollups.reading(() => readByLabel({ ...query, from: border }));

    async function readByDevice(part: HistoryQuery): Promise<void> {
      for (const { grain, from, to } of await (kind === 'windows'
        ? fullPiecesOf(part, perDevice)
        : piecesOf(part, perDevice))) {
        const span = { model: part.model, version: part.version, devices: part.devices, from, to };
        if (grain === 'windows') await on.windows(span);
        else
          for await (const rollup of rollups.bodies(grain / 1000, { ...span, perDevice, needs: on.needs })) {
            on.rollup(rollup);
            await breathe();
          }
      }
    }

    async function readByLabel(part: HistoryQuery): Promise<void> {
      const { label = '', model, version } = part;
      const sources = fleetLevels.map((level) => ({ grain: level * 1000, keptFrom: rollupsKeptFrom(level, false) }));
      for (const { grain, from, to } of coverOf(part, [
        ...sources,
        { grain: 'windows', keptFrom: await windowsKeptFrom() },
      ])) {
        if (grain === 'windows') await on.windows({ model, version, from, to });
        else
          for await (const rollup of labelRollups.bodies(grain / 1000, {
            label,
            model,
            version,
            from,
            to,
            needs: on.needs,
          })) {
            on.rollup(rollup);
            await breathe();
          }
      }
    }
  }

  /** Windows of each device are merged for drift; rollups of devices do not hold them. */
  async function fullPiecesOf(query: HistoryQuery, perDevice: boolean): Promise<Piece[]> {
    if (perDevice) return piecesOf(query, perDevice, []);
    const border = Math.min(query.to, Math.max(query.from, rollups.fullMinutesFrom()));
    return [
      ...(await piecesOf({ ...query, to: border }, perDevice, alwaysFullLevels)),
      ...(await piecesOf({ ...query, from: border }, perDevice)),
    ];
  }

  async function piecesOf(
    query: HistoryQuery,
    perDevice: boolean,
    levels: readonly number[] = perDevice ? deviceLevels : fleetLevels,
  ): Promise<Piece[]> {
    const sources: Source[] = rollups.isLive()
      ? levels.map((level) => ({ grain: level * 1000, keptFrom: rollupsKeptFrom(level, perDevice) }))
      : [];
    return coverOf(query, [...sources, { grain: 'windows', keptFrom: await windowsKeptFrom() }]);
  }
}

function partsOf<T>({ variants = {} }: MergedWindow, schema: z.ZodType<T>): Record<string, T> {
  return Object.fromEntries(Object.entries(variants).map(([name, window]) => [name, schema.parse(window)]));
}

function originOf({ model, version, deviceId, startedAt, label }: RollupKey & Pick<Told, 'label'>): Origin {
  return {
    model,
    version: String(version),
    device: deviceId,
    at: startedAt,
    ...(label === undefined ? {} : { label }),
  };
}

const firstPartMs = 60_000;
const leastPartMs = 1000;
/** Of a statement that keeps the event loop: longer than this is too long, and a quarter of it could be longer. */
const partBoundMs = 10;

/** Reads a range in parts of time, each so short that its statement keeps the event loop for a moment only. */
export async function inParts<S extends Pick<Span, 'from' | 'to'>>(
  span: S,
  read: (part: S) => Promise<void>,
): Promise<void> {
  let length = firstPartMs;
  for (let from = span.from; from < span.to; ) {
    const to = Math.min(span.to, from + length);
    const began = performance.now();
    await read({ ...span, from, to });
    const tookMs = performance.now() - began;
    if (tookMs > partBoundMs) length = Math.max(leastPartMs, length / 4);
    else if (tookMs < partBoundMs / 4) length *= 4;
    from = to;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
