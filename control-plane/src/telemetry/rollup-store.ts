// SQL of rollups: what is added to them, how far they have come, and what is read of them.
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { Window } from '@edgeloop/shared/telemetry';
import { and, asc, eq, getTableColumns, gt, gte, inArray, lt, type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';
import { MergedWindow } from './merge.ts';
import { packSketch, unpackSketch } from './packed-sketch.ts';
import { isFull, type Rollup, type RollupKey, RollupSum, rollupId } from './rollup.ts';
import type { Span } from './telemetry-store.ts';

/** By name. */
const Counts = z.record(z.string(), z.number());

/** Rows of one statement: 16 columns each, of 32,766 parameters. */
const chunkRows = 500;
/** Windows read at once when the rollups have to catch up. */
const pageWindows = 200;
/** Rollups read at once; between pages other work gets its turn. */
const pageRollups = 500;

/** What is read beside the sums, which is by far the most of a row and of the work; what is not read is empty. */
export type Needs = 'sums' | 'latency' | 'counts' | 'window';

/** `perDevice`: of each device by itself, of those named or of all; otherwise of all together. */
export interface RollupQuery extends Span {
  perDevice: boolean;
  needs: Needs;
}

export type RollupStore = ReturnType<typeof createRollupStore>;

export function createRollupStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { rollups, telemetryMarks, windows } = tables;
  const { level, deviceId, model, version, startedAt, ...sums } = getTableColumns(rollups);
  const key = { level, deviceId, model, version, startedAt };
  const replaced = Object.fromEntries(
    Object.keys(sums).map((name) => [
      name,
      sql.raw(`excluded.${name.replace(/[A-Z]/g, (each) => `_${each.toLowerCase()}`)}`),
    ]),
  );
  return { add, marks, setMark, windowsAfter, bodies };

  /** Adds to what there is, and says how far the part has come. */
  async function add(
    tx: Transaction,
    added: readonly Rollup[],
    { part, arrival }: { part: string; arrival: number },
  ): Promise<void> {
    for (let at = 0; at < added.length; at += chunkRows) await addChunk(tx, added.slice(at, at + chunkRows));
    await setMark(tx, part, arrival);
  }

  async function addChunk(tx: Transaction, added: readonly Rollup[]): Promise<void> {
    const former = await present(tx, added);
    const values = added.map((rollup) => columnsOf(sumOf(rollup, former.get(rollupId(rollup)))));
    await tx
      .insert(rollups)
      .values(values)
      .onConflictDoUpdate({ target: Object.values(key), set: replaced });
  }

  async function present(tx: Transaction, keys: readonly RollupKey[]): Promise<Map<string, Rollup>> {
    const levels = [...new Set(keys.map((each) => each.level))];
    const devices = [...new Set(keys.map((each) => each.deviceId))];
    const starts = [...new Set(keys.map((each) => each.startedAt))];
    const rows = await tx
      .select()
      .from(rollups)
      .where(and(inArray(level, levels), inArray(deviceId, devices), inArray(startedAt, starts)));
    return new Map(rows.map(rollupOf).map((rollup) => [rollupId(rollup), rollup]));
  }

  /** How far each part has come, and whatever else has a mark. */
  async function marks(): Promise<Map<string, number>> {
    const rows = await read.select().from(telemetryMarks);
    return new Map(rows.map(({ name, value }) => [name, value]));
  }

  async function setMark(tx: Transaction, name: string, value: number): Promise<void> {
    const { name: target } = telemetryMarks;
    await tx.insert(telemetryMarks).values({ name, value }).onConflictDoUpdate({ target, set: { value } });
  }

  /** The next windows after this arrival, in the order in which they came. */
  async function windowsAfter(arrival: number) {
    const rows = await read
      .select({
        arrival: windows.arrival,
        deviceId: windows.deviceId,
        foreignRelease: windows.foreignRelease,
        body: windows.body,
      })
      .from(windows)
      .where(gt(windows.arrival, arrival))
      .orderBy(asc(windows.arrival))
      .limit(pageWindows);
    return rows.map(({ body, ...row }) => ({ ...row, window: Window.parse(body) }));
  }

  function columnsFor(needs: Needs) {
    const nothing = sql<null>`null`;
    const { latency, classes, failures, body, ...counts } = sums;
    return {
      ...counts,
      latency: needs === 'latency' || needs === 'window' ? latency : nothing,
      classes: needs === 'counts' ? classes : nothing,
      failures: needs === 'counts' ? failures : nothing,
      body: needs === 'window' ? body : nothing,
    };
  }

  /** Rollups of a level that began in this time, page by page. */
  async function* bodies(of: number, query: RollupQuery): AsyncGenerator<Rollup> {
    const conditions: SQL[] = [eq(level, of)];
    if (query.model !== undefined) conditions.push(eq(model, query.model));
    if (query.version !== undefined) conditions.push(eq(version, query.version));
    const { perDevice, devices, needs } = query;
    // Spelled out, since the index over the fleet's rollups is one over these rows only.
    if (!perDevice) conditions.push(gte(startedAt, query.from), lt(startedAt, query.to), sql`${deviceId} = ''`);
    // The sign keeps the index by time away, which would read the rollups of all devices.
    else conditions.push(sql`+${startedAt} >= ${query.from}`, sql`+${startedAt} < ${query.to}`);
    if (perDevice) conditions.push(devices === undefined ? gt(deviceId, '') : inArray(deviceId, [...devices]));
    const order = perDevice ? [deviceId, model, version, startedAt] : [startedAt, model, version];
    let after: SQL | undefined;
    for (;;) {
      const page = await read
        .select({ ...key, ...columnsFor(needs) })
        .from(rollups)
        .where(and(...conditions, after))
        .orderBy(...order)
        .limit(pageRollups);
      yield* page.map(rollupOf);
      const last = page.at(-1);
      if (last === undefined || page.length < pageRollups) return;
      after = perDevice
        ? sql`(${deviceId}, ${model}, ${version}, ${startedAt}) > (${last.deviceId}, ${last.model}, ${last.version}, ${last.startedAt})`
        : sql`(${startedAt}, ${model}, ${version}) > (${last.startedAt}, ${last.model}, ${last.version})`;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function sumOf(added: Rollup, known: Rollup | undefined): Rollup {
  if (known === undefined) return added;
  const sum = new RollupSum(isFull(added));
  sum.add(known);
  sum.add(added);
  return { ...added, ...sum.result() };
}

function columnsOf({ latency, ...rollup }: Rollup) {
  return { ...rollup, latency: packSketch(latency) };
}

/** Null: not read, or of before. */
function countsOf(value: unknown): Record<string, number> {
  return value === null ? {} : Counts.parse(value);
}

const noLatencies = new QuantileSketchBuilder().toJSON();

type Row = { latency: Buffer | null; classes: unknown; failures: unknown; body: unknown } & Omit<
  Rollup,
  'latency' | 'classes' | 'failures' | 'body'
>;

function rollupOf({ latency, classes, failures, body, ...row }: Row): Rollup {
  return {
    ...row,
    latency: latency === null ? noLatencies : unpackSketch(latency),
    classes: countsOf(classes),
    failures: countsOf(failures),
    body: body === null ? null : MergedWindow.parse(body),
  };
}
