// A telemetry room on a real database in a temporary folder, and windows to feed it, for tests.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import type { LabelledPrediction, TelemetryItem, Window } from '@edgeloop/shared/telemetry';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { openSqlite } from '../database/open.ts';
import type { KeepTelemetry } from './retention.ts';
import { createTelemetry, type TelemetryDeps } from './telemetry.ts';

/** Nothing is let go of. */
export const keepAll: KeepTelemetry = { windowsMs: 1e15, windowsBytes: 1e15, historyMs: 1e15 };

/** A clock that stands until it is set. */
interface Clock {
  now: () => number;
  at: number;
}

export function openTelemetry(overrides: Partial<TelemetryDeps> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'telemetry-'));
  const database = openSqlite(join(folder, 'test.db'));
  const clock: Clock = { now: () => clock.at, at: 1_000_000 };
  const metrics = new Registry();
  const events: string[] = [];
  const telemetry = createTelemetry({
    ...{ database, metrics, now: clock.now, keep: keepAll, log: pino({ level: 'silent' }) },
    notify: ({ type, id, state }) => events.push(`${type} ${id} ${state}`),
    claims: { judge: async () => () => 'counted', disregard: async () => undefined },
    devicesMatching: async () => new Set(),
    knownDevices: async () => new Map(),
    rollupLabels: [],
    driftSeries: async () => [],
    ...overrides,
  });
  return {
    ...{ telemetry, database, metrics, clock, events },
    async close(): Promise<void> {
      await telemetry.close();
      await database.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A window of ten seconds with these parts set. */
export function windowOf({ latencies = [], ...parts }: Partial<Window> & { latencies?: number[] } = {}): Window {
  const latency = new QuantileSketchBuilder();
  for (const value of latencies) latency.add(value);
  const startedAt = parts.startedAt ?? 0;
  return {
    ...{ kind: 'window', model: 'm', version: 1, startedAt, endedAt: startedAt + 10_000 },
    ...{ succeeded: 0, failed: {}, invalid: 0, rows: 0, latencyMs: latency.toJSON(), features: {}, classes: {} },
    ...parts,
  };
}

export function labelOf(parts: Partial<LabelledPrediction> = {}): LabelledPrediction {
  return {
    ...{ inferenceId: 'i', model: 'm', version: 1, predictedAt: 0, predicted: 'a', label: 'a', labelledAt: 0 },
    ...parts,
  };
}

/** Numbers items from `first` on. */
export function batchOf(items: readonly TelemetryItem[], { epoch = 1, first = 1 } = {}) {
  return { epoch, items: items.map((item, i) => ({ sequence: first + i, item })) };
}
