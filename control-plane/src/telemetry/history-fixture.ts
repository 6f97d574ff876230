// Days of a fleet as the control plane keeps them: rollups of every level, by device and by site, and single windows of the
// last hours, since older ones are not read by a chart. For benches.
import { type QuantileSketch, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { getTableColumns, sql } from 'drizzle-orm';
import type { Database } from '../database/open.ts';
import { createRandom } from '../training/trainers/random.ts';
import { packSketch } from './packed-sketch.ts';

const minute = 60_000;
const day = 24 * 60 * minute;
const sites = 20;
const windowHours = 2;

export function siteOf(device: number): string {
  return `site-${device % sites}`;
}

export async function fillHistory(
  database: Database,
  { devices, days, now }: { devices: number; days: number; now: number },
): Promise<void> {
  const { rollups, labelRollups, windows, telemetryMarks } = database.tables;
  const random = createRandom(7);
  const wide = Array.from({ length: 50 }, () => packSketch(sketchOf(random, 200)));
  const narrow = Array.from({ length: 50 }, () => packSketch(sketchOf(random, 12)));
  const sums = (of: number, latency: Buffer | undefined) => ({
    ...{
      windows: of,
      succeeded: 100 * of,
      failed: of,
      invalid: 0,
      rows: 100 * of,
      latency: latency ?? Buffer.alloc(0),
    },
    ...{ confidenceSum: 80 * of, confidenceCount: 100 * of },
    ...{ classes: { cat: 60 * of, dog: 40 * of }, failures: { timeout: of } },
  });
  for (const level of [60, 900, 3600, 86_400]) {
    const stepMs = level * 1000;
    const first = now - days * day;
    const startedAt = first - (first % stepMs);
    const steps = Math.ceil((now - startedAt) / stepMs);
    const of = { level, model: 'm', startedAt };
    const fleet = [1, 2].map((version) => ({
      ...of,
      deviceId: '',
      version,
      body: null,
      ...sums(devices / 2, wide[version]),
    }));
    const perDevice = Array.from({ length: level < 3600 ? 0 : devices }, (_, i) => {
      return { ...of, deviceId: `device-${i}`, version: 1 + (i % 2), body: null, ...sums(60, wide[i % 50]) };
    });
    const bySite = Array.from({ length: sites * 2 }, (_, i) => {
      return {
        ...of,
        label: 'site',
        value: siteOf(i),
        version: i < sites ? 1 : 2,
        ...sums(devices / sites / 2, wide[i % 50]),
      };
    });
    await repeat(database, { table: rollups, rows: [...fleet, ...perDevice], stepMs, steps });
    await repeat(database, { table: labelRollups, rows: bySite, stepMs, steps });
  }
  const of = { model: 'm', epoch: 1, foreignRelease: null, succeeded: 100, failed: 1, invalid: 0, rows: 100 };
  const body = { classes: { cat: 60, dog: 40 }, failed: { timeout: 1 } };
  const minutes = windowHours * 60;
  const firstWindows = Array.from({ length: devices }, (_, i) => {
    const startedAt = now - minutes * minute + ((i * 37) % 60) * 1000;
    const own = { deviceId: `device-${i}`, sequence: startedAt, arrival: i + 1, version: 1 + (i % 2), startedAt };
    const figures = { latency: narrow[i % 50] ?? null, confidenceSum: 80, confidenceCount: 100 };
    return { ...of, ...own, ...figures, endedAt: startedAt + minute, receivedAt: startedAt + minute, body };
  });
  await repeat(database, { table: windows, rows: firstWindows, stepMs: minute, steps: minutes });
  const parts = ['fleet', 'labels', ...Array.from({ length: 16 }, (_, i) => `devices-${i}`)];
  await database.transact(async (tx) => {
    await tx.insert(telemetryMarks).values(parts.map((name) => ({ name, value: devices + 1 })));
    await tx.insert(telemetryMarks).values({ name: 'label:site', value: 0 });
  });
}

type Filled = Database['tables']['rollups' | 'labelRollups' | 'windows'];

/** Writes rows once for each of so many steps: the first by themselves, then all there are again, so much later. */
async function repeat<T extends Filled>(
  database: Database,
  { table, rows, stepMs, steps }: { table: T; rows: T['$inferInsert'][]; stepMs: number; steps: number },
): Promise<void> {
  for (let at = 0; at < rows.length; at += 500)
    await database.transact(async (tx) => void (await tx.insert(table).values(rows.slice(at, at + 500))));
  const from = rows[0]?.startedAt ?? 0;
  const level = 'level' in table ? sql`level = ${stepMs / 1000} and` : sql``;
  for (let done = 1; done < steps; done *= 2) {
    const more = Math.min(done, steps - done);
    const columns = Object.values(getTableColumns<Filled>(table)).map(({ name }) =>
      name.replace(/[A-Z]/g, (each: string) => `_${each.toLowerCase()}`),
    );
    const later = columns.map((name) =>
      ['started_at', 'ended_at', 'received_at', 'sequence'].includes(name) ? `${name} + ${done * stepMs}` : name,
    );
    await database.transact(async (tx) => {
      const selected = sql`select ${sql.raw(later.join(', '))} from ${table} where ${level} started_at < ${from + more * stepMs}`;
      await tx.insert(table).select(selected);
    });
  }
}

/** Latencies that spread as answers of small models do. */
function sketchOf(random: () => number, values: number): QuantileSketch {
  const builder = new QuantileSketchBuilder();
  for (let i = 0; i < values; i++)
    builder.add(10 * Math.exp(0.4 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())));
  return builder.toJSON();
}
