// The last period of the old version before a rollout: its newest windows, so many that it costs the same after years. It also
// says how long each device takes by itself.
import { QuantileSketchBuilder, quantile as quantileOf } from '@edgeloop/shared/sketches/ddsketch';
import type { Window } from '@edgeloop/shared/telemetry';
import type { Counts } from '../gates/counts.ts';
import type { FieldStore } from './field-store.ts';

export interface LastPeriod {
  windows: { deviceId: string; window: Window }[];
  labels: ReadonlyMap<string, Counts>;
  /** The quantile of a device's latency, of all when its own is not known; 1 when none is. */
  latencyOf: (deviceId: string) => number;
  /** Hours since the first of these predictions. */
  labelHours: number;
  /** Labels an hour that came within the patience. */
  labelsPerHour: number;
}

export interface LastPeriodQuery {
  model: string;
  version: number;
  /** Devices whose answers count. */
  matching: ReadonlySet<string>;
  /** When the rollout's first device was given the new version. */
  startedAt: number;
  quantile: number;
  /** Labels that come later than this after the prediction are not waited for. */
  patienceMs: number;
}

const longestMs = 7 * 24 * 3_600_000;
const hourMs = 3_600_000;
/** Windows that are read: so many, and so many a device. */
const windowsRead = { least: 2000, perDevice: 5, most: 50_000 };
/** Of devices that do not count, so many more are passed over. */
const passedOver = 4;
/** Latencies below which a device's own quantile is not known. */
const enoughLatencies = 20;

export async function readLastPeriod(store: FieldStore, query: LastPeriodQuery): Promise<LastPeriod> {
  const { model, version, matching, startedAt, quantile } = query;
  const from = startedAt - longestMs;
  const wanted = Math.min(windowsRead.most, Math.max(windowsRead.least, windowsRead.perDevice * matching.size));
  const windows: LastPeriod['windows'] = [];
  const newest = new Map<string, number>();
  let read = 0;
  for await (const row of store.newest({ model, not: version, from, to: startedAt })) {
    if (++read > wanted * passedOver) break;
    if (!matching.has(row.deviceId) || row.window.shadow !== undefined) continue;
    const last = newest.get(row.deviceId) ?? row.version;
    newest.set(row.deviceId, last);
    // What it ran before its last version says nothing of that.
    if (row.version === last) windows.push({ deviceId: row.deviceId, window: row.window });
    if (windows.length >= wanted) break;
  }
  return { windows, latencyOf: latenciesOf(windows, quantile), ...(await labelsOf(store, query, from)) };
}

function latenciesOf(windows: LastPeriod['windows'], quantile: number): LastPeriod['latencyOf'] {
  const builders = new Map<string, QuantileSketchBuilder>();
  const all = new QuantileSketchBuilder();
  for (const { deviceId, window } of windows) {
    const own = builders.get(deviceId) ?? new QuantileSketchBuilder();
    builders.set(deviceId, own);
    own.merge(window.latencyMs);
    all.merge(window.latencyMs);
  }
  const known = new Map<string, number>();
  for (const [deviceId, builder] of builders) {
    const sketch = builder.toJSON();
    const value = quantileOf(sketch, quantile);
    if (value !== undefined && value > 0 && sketch.count >= enoughLatencies) known.set(deviceId, value);
  }
  const usual = quantileOf(all.toJSON(), quantile) || 1;
  return (deviceId) => known.get(deviceId) ?? usual;
}

async function labelsOf(
  store: FieldStore,
  { model, version, matching, startedAt, patienceMs }: LastPeriodQuery,
  from: number,
): Promise<Pick<LastPeriod, 'labels' | 'labelHours' | 'labelsPerHour'>> {
  const sums = await store.labelSums({ model, version, from, to: startedAt, waveFrom: startedAt, patienceMs });
  const former = sums.filter(({ fresh, deviceId }) => !fresh && matching.has(deviceId));
  const timely = former.reduce((sum, each) => sum + each.timely, 0);
  const firstAt = former.reduce((first, each) => Math.min(first, each.firstAt), startedAt);
  const hours = Math.max(startedAt - firstAt, hourMs / 60) / hourMs;
  return {
    labels: new Map(former.map(({ deviceId, all }) => [deviceId, all])),
    labelHours: hours,
    labelsPerHour: timely / hours,
  };
}
