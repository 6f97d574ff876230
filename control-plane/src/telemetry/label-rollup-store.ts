// SQL of rollups by label.
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { and, eq, getTableColumns, gte, inArray, lt, type SQL, sql } from 'drizzle-orm';
import { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';
import { packSketch, unpackSketch } from './packed-sketch.ts';
import { RollupSum, type RollupSums } from './rollup.ts';
import type { Needs } from './rollup-store.ts';

export interface LabelRollupKey {
  /** Seconds. */
  level: number;
  label: string;
  value: string;
  model: string;
  version: number;
  startedAt: number;
}
/** Without the merged window: drift is judged over the fleet. */
export type LabelRollup = LabelRollupKey & Omit<RollupSums, 'body'>;

export interface LabelRollupQuery {
  label: string;
  model: string | undefined;
  version: number | undefined;
  from: number;
  to: number;
  needs: Needs;
}

const Counts = z.record(z.string(), z.number());

/** Rows of one statement: 16 columns each, of 32,766 parameters. */
const chunkRows = 500;
/** Rollups read at once; between pages other work gets its turn. */
const pageRollups = 500;
const marked = 'label:';

export type LabelRollupStore = ReturnType<typeof createLabelRollupStore>;

export function createLabelRollupStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const { labelRollups, telemetryMarks, windows } = tables;
  const { level, label, value, model, version, startedAt, ...sums } = getTableColumns(labelRollups);
  const key = [level, label, startedAt, value, model, version];
  const replaced = Object.fromEntries(
    Object.keys(sums).map((name) => [
      name,
      sql.raw(`excluded.${name.replace(/[A-Z]/g, (each) => `_${each.toLowerCase()}`)}`),
    ]),
  );
  return { add, page, choose, newestArrival };

  /** Adds to what there is. */
  async function add(tx: Transaction, added: readonly LabelRollup[]): Promise<void> {
    for (let at = 0; at < added.length; at += chunkRows) {
      const chunk = added.slice(at, at + chunkRows);
      const former = await present(tx, chunk);
      const values = chunk.map((rollup) => columnsOf(sumOf(rollup, former.get(labelRollupId(rollup)))));
      await tx.insert(labelRollups).values(values).onConflictDoUpdate({ target: key, set: replaced });
    }
  }

  async function present(tx: Transaction, keys: readonly LabelRollupKey[]): Promise<Map<string, LabelRollup>> {
    const of = <K extends keyof LabelRollupKey>(name: K) => [...new Set(keys.map((each) => each[name]))];
    const conditions = and(
      inArray(level, of('level')),
      inArray(label, of('label')),
      inArray(startedAt, of('startedAt')),
      inArray(value, of('value')),
    );
    const rows = await tx.select().from(labelRollups).where(conditions);
    return new Map(rows.map(rollupOf).map((rollup) => [labelRollupId(rollup), rollup]));
  }

  /** Rollups of a level that began in this time, in the order of their keys, after `last`; fewer than asked for at the end. */
  async function page(of: number, query: LabelRollupQuery, last: LabelRollupKey | undefined) {
    const conditions: SQL[] = [eq(level, of), eq(label, query.label), lt(startedAt, query.to)];
    conditions.push(gte(startedAt, last?.startedAt ?? query.from));
    if (query.model !== undefined) conditions.push(eq(model, query.model));
    if (query.version !== undefined) conditions.push(eq(version, query.version));
    if (last !== undefined)
      conditions.push(
        sql`(${startedAt}, ${value}, ${model}, ${version}) > (${last.startedAt}, ${last.value}, ${last.model}, ${last.version})`,
      );
    const rows = await read
      .select({ level, label, value, model, version, startedAt, ...columnsFor(query.needs) })
      .from(labelRollups)
      .where(and(...conditions))
      .orderBy(startedAt, value, model, version)
      .limit(pageRollups);
    return { rollups: rows.map(rollupOf), isLast: rows.length < pageRollups };
  }

  function columnsFor(needs: Needs) {
    const nothing = sql<null>`null`;
    const { latency, classes, failures, ...counts } = sums;
    return {
      ...counts,
      latency: needs === 'latency' ? latency : nothing,
      classes: needs === 'counts' ? classes : nothing,
      failures: needs === 'counts' ? failures : nothing,
    };
  }

  /**
   * Remembers since when each of the chosen labels has rollups, and forgets the others; gives those instants.
   * What one had before it was left out has a gap.
   */
  async function choose(tx: Transaction, chosen: readonly string[], now: number): Promise<Map<string, number>> {
    const rows = await tx.select().from(telemetryMarks);
    const known = new Map(
      rows
        .filter(({ name }) => name.startsWith(marked))
        .map(({ name, value: since }) => [name.slice(marked.length), since]),
    );
    for (const name of known.keys())
      if (!chosen.includes(name)) await tx.delete(telemetryMarks).where(eq(telemetryMarks.name, marked + name));
    for (const name of chosen)
      if (!known.has(name)) await tx.insert(telemetryMarks).values({ name: marked + name, value: now });
    return new Map(chosen.map((name) => [name, known.get(name) ?? now]));
  }

  async function newestArrival(): Promise<number> {
    const newest = sql<number>`coalesce(max(${windows.arrival}), 0)`.mapWith(Number);
    const [row] = await read.select({ newest }).from(windows);
    return row?.newest ?? 0;
  }
}

export function labelRollupId({ level, label, value, model, version, startedAt }: LabelRollupKey): string {
  return `${level} ${startedAt} ${version} ${model} ${label} ${value}`;
}

function sumOf(added: LabelRollup, known: LabelRollup | undefined): LabelRollup {
  if (known === undefined) return added;
  const sum = new RollupSum(false);
  sum.add({ ...known, body: null });
  sum.add({ ...added, body: null });
  const { body: _, ...sums } = sum.result();
  return { ...added, ...sums };
}

function columnsOf({ latency, ...rollup }: LabelRollup) {
  return { ...rollup, latency: packSketch(latency) };
}

const noLatencies = new QuantileSketchBuilder().toJSON();

type Row = { latency: Buffer | null; classes: unknown; failures: unknown } & Omit<
  LabelRollup,
  'latency' | 'classes' | 'failures'
>;

function rollupOf({ latency, classes, failures, ...row }: Row): LabelRollup {
  return {
    ...row,
    latency: latency === null ? noLatencies : unpackSketch(latency),
    classes: countsOf(classes),
    failures: countsOf(failures),
  };
}

/** Null: not read. */
function countsOf(value: unknown): Record<string, number> {
  return value === null ? {} : Counts.parse(value);
}
