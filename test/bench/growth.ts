// pnpm bench growth [--only month|year]: what a fleet leaves behind. The rooms of telemetry and monitoring of one control plane
// live through a month, or a year, of windows in virtual time: how large each table becomes and where it levels off, and
// whether the process keeps growing.
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Database } from '../../control-plane/src/database/open.ts';
import { deviceShare, tableBytes } from '../../control-plane/src/database/sizes-fixture.ts';
import { deviceOf, openMonitoring } from '../../control-plane/src/monitoring/monitoring-fixture.ts';
import { ownManifest } from '../../control-plane/src/simulate/model.ts';
import { noFaults } from '../../control-plane/src/simulate/settings.ts';
import { type Traits, traitsOf } from '../../control-plane/src/simulate/traits.ts';
import { createWindows } from '../../control-plane/src/simulate/windows.ts';
import { openTelemetry } from '../../control-plane/src/telemetry/telemetry-fixture.ts';
import { benchSettings } from './bench-fleet.ts';
import { machine, megabytes, printTable, writeResult } from './report.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const begin = Date.UTC(2026, 0, 5);
const features = 20;
const rowsAtOnce = 500;
const defaults = { windowsMs: 7 * day, windowsBytes: 8192 * 2 ** 20, historyMs: 400 * day };

interface Span {
  name: string;
  days: number;
  devices: number;
  /** Between two windows of a device. */
  windowMs: number;
  /** The defaults are for a fleet of this size: what is bounded by bytes gets the devices' share. */
  fleet: number;
  /** Between two rows of figures. */
  showDays: number;
}
const spans: Span[] = [
  { name: 'month', days: 31, devices: 50, windowMs: 5 * minute, fleet: 10_000, showDays: 5 },
  { name: 'year', days: 365, devices: 10, windowMs: 15 * minute, fleet: 10_000, showDays: 30 },
];

interface Figures {
  day: number;
  /** By table, with its indexes. */
  bytes: Record<string, number>;
  /** Of the rollups, the part of single devices: it grows with the fleet, the rest does not. */
  deviceShare: number;
  residentBytes: number;
  heapBytes: number;
  windows: number;
  cpuMsPerDay: number;
}

export async function benchGrowth({ quick, only }: { quick: boolean; only?: string | undefined }): Promise<void> {
  const chosen = spans.filter(({ name }) => only === undefined || name === only);
  if (chosen.length === 0) throw new Error(`--only: must be ${spans.map(({ name }) => name).join(' or ')}`);
  const results = [];
  for (const span of chosen) {
    const days = quick ? Math.min(span.days, span.showDays) : span.days;
    const figures = await live({ ...span, days });
    print(span, figures);
    results.push({ span: { ...span, days }, figures });
  }
  console.log(writeResult('growth', { machine: machine(), results }));
}

async function live(span: Span): Promise<Figures[]> {
  const { telemetry, monitoring, database, clock, close } = openRooms(span);
  const fleet = createFleet(span);
  const all: Figures[] = [];
  let cpu = process.cpuUsage();
  for (let days = 1; days <= span.days; days += 1) {
    for (const end = clock.at + day; clock.at < end; ) {
      clock.at += hour;
      await Promise.all(fleet.batches(clock.at).map((batch) => telemetry.ingest(batch.deviceId, batch)));
      await monitoring.tick();
      await telemetry.flush();
    }
    for (const keeper of telemetry.keepers) while ((await keeper.expire(rowsAtOnce)) >= rowsAtOnce);
    if (days % span.showDays !== 0 && days !== span.days) continue;
    const { user, system } = process.cpuUsage(cpu);
    const figures = { ...(await look(database)), day: days, cpuMsPerDay: (user + system) / 1000 / span.showDays };
    console.log(`day ${days}: ${megabytes(sumOf(figures))} in tables, ${megabytes(figures.residentBytes)} resident`);
    all.push(figures);
    cpu = process.cpuUsage();
  }
  await close();
  return all;
}

function openRooms({ devices, fleet }: Span) {
  const watched = Array.from({ length: devices }, (_, i) => deviceOf(idOf(i), { labels: labelsOf(i) }));
  const known = new Map(
    watched.map(({ id, labels }) => [id, { id, labels, status: 'online', reported: null } as const]),
  );
  const room = openTelemetry({
    keep: { ...defaults, windowsBytes: (defaults.windowsBytes * devices) / fleet },
    knownDevices: async () => known,
    rollupLabels: ['site'],
  });
  room.clock.at = begin;
  const { reference } = model();
  const watching = openMonitoring(room, {
    reference: async () => reference,
    deviceLabels: async () => new Map(watched.map(({ id, labels }) => [id, labels])),
  });
  watching.fleet.devices = watched;
  watching.fleet.diskFreeShare = 0.5;
  room.telemetry.start();
  return {
    ...room,
    monitoring: watching.monitoring,
    async close(): Promise<void> {
      await watching.monitoring.close();
      await room.close();
    },
  };
}

function createFleet({ devices, windowMs }: Span) {
  const settings = benchSettings({ run: 'growth', joinToken: '', model: model() });
  const windows = createWindows({ ...settings, faults: { ...noFaults, errorRate: 0.001 } });
  const traits = Array.from({ length: devices }, (_, i): Traits => traitsOf(settings, i));
  let made = 0;
  return {
    /** What the devices have to say of the hour that ends now. */
    batches: (now: number) =>
      traits.map((each, i) => {
        const offset = (i * 7919 * 1000) % windowMs;
        const items = Array.from({ length: Math.floor(hour / windowMs) }, (_, n) => {
          const to = now - hour + (n + 1) * windowMs - offset;
          const of = { traits: each, version: 1, release: undefined, from: to - windowMs, to, elapsedMs: 0 };
          return { sequence: made + n + 1, item: windows.window(of) };
        });
        if (i === devices - 1) made += items.length;
        return { deviceId: idOf(i), epoch: 1, items };
      }),
  };
}

const idOf = (device: number) => `device-${device}`;
const labelsOf = (device: number) => ({ site: `site-${device % 5}` });

/** A model with as many features as the documented sizes are for. */
function model(): { name: string; classes: string[]; reference: ReferenceProfile } {
  const { reference } = ownManifest().monitoring;
  const profiles = Object.values(reference.features);
  const named: ReferenceProfile['features'] = {};
  for (let i = 0; i < features; i += 1) {
    const profile = profiles[i % profiles.length];
    if (profile !== undefined) named[`feature${i}`] = profile;
  }
  const classes = Object.keys(reference.classes?.counts ?? {});
  return { name: 'm', classes, reference: { ...reference, features: named } };
}

async function look(database: Database): Promise<Omit<Figures, 'day' | 'cpuMsPerDay'>> {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    ...{ bytes: await tableBytes(database), deviceShare: await deviceShare(database) },
    ...{ residentBytes: rss, heapBytes: heapUsed, windows: await database.read.$count(database.tables.windows) },
  };
}

function sumOf(figures: Figures | undefined): number {
  return Object.values(figures?.bytes ?? {}).reduce((sum, bytes) => sum + bytes, 0);
}

function print({ name, devices, fleet }: Span, all: readonly Figures[]): void {
  const last = all.at(-1);
  const largest = Object.entries(last?.bytes ?? {})
    .sort(([, a], [, b]) => b - a)
    .slice(0, 10)
    .map(([table]) => table);
  console.log(`\na ${name} of ${devices} devices\n`);
  printTable(
    ['day', ...largest, 'all', 'windows', 'resident', 'heap', 'processor s/day'],
    all.map((each) => [
      ...[String(each.day), ...largest.map((table) => tenths(each.bytes[table] ?? 0)), tenths(sumOf(each))],
      ...[String(each.windows), megabytes(each.residentBytes), megabytes(each.heapBytes)],
      (each.cpuMsPerDay / 1000).toFixed(2),
    ]),
  );
  if (last === undefined) return;
  const rollups = last.bytes.rollups ?? 0;
  const ofFleet = (last.bytes.label_rollups ?? 0) + rollups * (1 - last.deviceShare) + (last.bytes.evaluations ?? 0);
  const ofDevices = sumOf(last) - ofFleet;
  const whole = ofFleet + (ofDevices * fleet) / devices;
  console.log(
    `of ${fleet} devices, after as long: ${(whole / 2 ** 30).toFixed(1)} GB, of which ${megabytes(ofFleet)} do not grow with the fleet\n`,
  );
}

const tenths = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MB`;
