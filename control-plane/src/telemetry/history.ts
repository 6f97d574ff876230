// Reads what was measured in a range of time from what tells it at least cost: rollups where they fit, single windows at the
// ends of the range and where steps are short.
import { QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { Histogram } from '@edgeloop/shared/sketches/histogram';
import { Window } from '@edgeloop/shared/telemetry';
import { z } from 'zod';
import { coverOf, type Piece, type Source } from './cover.ts';
import { unpackSketch } from './packed-sketch.ts';
import { confidenceOf, deviceLevels, fleetLevels, fullLevels, type Rollup } from './rollup.ts';
import type { Rollups } from './rollups.ts';
import type { Grouping, SeriesStore } from './series-store.ts';
import type { Span, TelemetryStore } from './telemetry-store.ts';

interface HistoryDeps {
  store: TelemetryStore;
  seriesStore: SeriesStore;
  rollups: Rollups;
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

export interface HistoryQuery extends Span, Grouping {}

const FiguresOf = z.object({ latencyMs: QuantileSketch, confidence: Histogram.optional() });
const ClassesOf = z.object({ classes: z.record(z.string(), z.number()) });

export type History = ReturnType<typeof createHistory>;

export function createHistory({ store, seriesStore, rollups, windowsKeptFrom, rollupsKeptFrom }: HistoryDeps) {
  return {
    /** Sums, each of which lies in one step. */
    sums: (query: HistoryQuery, take: (share: SumsShare) => void): Promise<void> =>
      read(query, {
        rollup: (rollup) => take({ ...rollup, ...originOf(rollup) }),
        windows: async (span) => {
          const { stepMs, columns } = query;
          for (const { bucket, ...row } of await seriesStore.windowSums(span, { stepMs, columns }))
            take({ ...row, at: stepMs === undefined ? span.from : bucket });
        },
      }),

    /** Latencies and confidence. */
    figures: (query: HistoryQuery, take: (share: FiguresShare) => void): Promise<void> =>
      read(query, {
        rollup: (rollup) => {
          const { latency, confidenceSum, confidenceCount } = rollup;
          take({ ...originOf(rollup), latency, confidence: { sum: confidenceSum, count: confidenceCount } });
        },
        windows: async (span) => {
          for await (const row of store.figures(span)) {
            const origin = { ...row, version: String(row.version), device: row.deviceId, at: row.startedAt };
            if (row.latency === null) {
              const { latencyMs, confidence } = FiguresOf.parse(row.body);
              take({ ...origin, latency: latencyMs, confidence: confidenceOf({ confidence }) });
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
        rollup: (rollup) => take({ ...originOf(rollup), classes: rollup.classes }),
        windows: async (span) => {
          for await (const { body, ...row } of store.bodies(span, ClassesOf))
            take({ ...row, version: String(row.version), device: row.deviceId, at: row.startedAt, ...body });
        },
      }),

    /** Whole windows, and of how many each was made. */
    full: (span: Span, take: (window: Window, windows: number) => void): Promise<void> =>
      read(
        { ...span, stepMs: undefined, columns: [] },
        {
          rollup: ({ body, windows }) => {
            if (body !== null) take(body, windows);
          },
          windows: async (within) => {
            for await (const { body } of store.bodies(within, Window)) take(body, 1);
          },
        },
        fullLevels,
      ),
  };

  async function read(
    query: HistoryQuery,
    on: { rollup: (rollup: Rollup) => void; windows: (span: Span) => Promise<void> },
    levels?: readonly number[],
  ): Promise<void> {
    const perDevice = query.devices !== undefined || query.columns.includes('device');
    await rollups.reading(async () => {
      for (const { grain, from, to } of await piecesOf(query, perDevice, levels)) {
        const span = { model: query.model, version: query.version, devices: query.devices, from, to };
        if (grain === 'windows') await on.windows(span);
        else
          for await (const rollup of rollups.bodies(grain / 1000, { ...span, perDevice, full: levels !== undefined }))
            on.rollup(rollup);
      }
    });
  }

  async function piecesOf(query: HistoryQuery, perDevice: boolean, levels?: readonly number[]): Promise<Piece[]> {
    const usable = levels ?? (perDevice ? deviceLevels : fleetLevels);
    // Windows of each device are merged for drift; rollups of devices do not hold them.
    const isTold = rollups.isLive() && !(perDevice && levels !== undefined);
    const sources: Source[] = isTold
      ? usable.map((level) => ({ grain: level * 1000, keptFrom: rollupsKeptFrom(level, perDevice) }))
      : [];
    return coverOf(query, [...sources, { grain: 'windows', keptFrom: await windowsKeptFrom() }]);
  }
}

function originOf({ model, version, deviceId, startedAt }: Rollup): Origin {
  return { model, version: String(version), device: deviceId, at: startedAt };
}
