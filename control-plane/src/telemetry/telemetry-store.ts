// All SQL of telemetry that writes, and what others count and read window by window.
import type { LabelledPrediction } from '@edgeloop/shared/telemetry';
import { type AnyColumn, and, asc, desc, eq, gt, gte, inArray, isNull, lt, type SQL, sql } from 'drizzle-orm';
import type { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';
import { createRowsInsert } from '../database/rows-insert.ts';
import { chunksOf, createNumberStore, type ItemKey } from './number-store.ts';
import type { Rollup } from './rollup.ts';
import type { WindowRow } from './window-row.ts';

/** `foreignRelease`: the device ran other bytes under the number than are registered; it is kept, and counts nowhere. */
interface Foreign {
  foreignRelease: string | null;
}
export type LabelRow = { deviceId: string } & Foreign & LabelledPrediction;
export type LossRow = ItemKey & { receivedAt: number; windows: number; requests: number; labels: number };

/**
 * What was new in a group of batches; windows and labels that count nowhere are not among them. `fleet`: all of the windows put
 * together, at the finest level of rollups, where that was done already.
 */
export interface Stored {
  fleet?: readonly Rollup[] | undefined;
  items: number;
  windows: WindowRow[];
  labels: LabelRow[];
  losses: LossRow[];
}

/** Which windows or labels; `devices` limits to those ids. Times are of the window's start or the prediction. */
export interface Span {
  model?: string | undefined;
  version?: number | undefined;
  devices?: readonly string[] | undefined;
  from: number;
  to: number;
}
export interface BodyOf<T> extends ItemKey {
  model: string;
  version: number;
  startedAt: number;
  body: T;
}

/** Bodies read at once; between pages other work gets its turn. */
const pageRows = 100;
const pageFigures = 500;
const pageLabels = 1000;

export type TelemetryStore = ReturnType<typeof createTelemetryStore>;

export function createTelemetryStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  const insertWindows = createRowsInsert(tables.windows);
  return {
    ...createNumberStore(tables),
    addWindows,
    upsertLabels,
    addLosses,
    countEvidence,
    bodies,
    figures,
    oldestWindow,
    countLabels,
    sumErrors,
  };

  /** Numbers them by their arrival. */
  async function addWindows(tx: Transaction, rows: readonly WindowRow[]): Promise<void> {
    if (rows.length === 0) return;
    const { windows } = tables;
    const [newest] = await tx
      .select({ arrival: windows.arrival })
      .from(windows)
      .orderBy(desc(windows.arrival))
      .limit(1);
    let arrival = newest?.arrival ?? 0;
    for (const row of rows) row.arrival = ++arrival;
    await insertWindows(tx, rows.map(columnsOf));
  }

  /** One label for each prediction: the newest by `labelledAt`, and of two at the same instant the greater by text. */
  async function upsertLabels(tx: Transaction, rows: readonly LabelRow[]): Promise<void> {
    const { labels } = tables;
    for (const chunk of chunksOf(newestLabels(rows))) {
      await tx
        .insert(labels)
        .values(chunk)
        .onConflictDoUpdate({
          target: [labels.deviceId, labels.inferenceId],
          set: { label: sql`excluded.label`, labelledAt: sql`excluded.labelled_at` },
          setWhere: sql`excluded.labelled_at > ${labels.labelledAt} or (excluded.labelled_at = ${labels.labelledAt} and excluded.label > ${labels.label})`,
        });
    }
  }

  async function addLosses(tx: Transaction, rows: readonly LossRow[]): Promise<void> {
    for (const chunk of chunksOf(rows)) await tx.insert(tables.losses).values(chunk);
  }

  /** Requests answered and failed in windows of these devices that ended after `since`. */
  async function countEvidence(of: { model: string; version: number; devices: readonly string[]; since: number }) {
    const { windows } = tables;
    const sums = { succeeded: 0, failed: 0 };
    for (const chunk of chunksOf(of.devices)) {
      const [row] = await read
        .select({ succeeded: total(windows.succeeded), failed: total(windows.failed) })
        .from(windows)
        .where(
          and(
            eq(windows.model, of.model),
            eq(windows.version, of.version),
            isNull(windows.foreignRelease),
            gt(windows.endedAt, of.since),
            inArray(windows.deviceId, chunk),
          ),
        );
      sums.succeeded += row?.succeeded ?? 0;
      sums.failed += row?.failed ?? 0;
    }
    return sums;
  }

  /** The bodies of windows as `schema` sees them, page by page in the order of their start. */
  async function* bodies<S extends z.ZodType>(span: Span, schema: S): AsyncGenerator<BodyOf<z.output<S>>> {
    const { windows } = tables;
    const { deviceId, epoch, sequence, model, version, startedAt, body } = windows;
    let after: SQL | undefined;
    for (;;) {
      const page = await read
        .select({ deviceId, epoch, sequence, model, version, startedAt, body })
        .from(windows)
        .where(and(...windowConditions(span), after))
        .orderBy(asc(startedAt), asc(deviceId), asc(epoch), asc(sequence))
        .limit(pageRows);
      for (const row of page) yield { ...row, body: schema.parse(row.body) };
      const last = page.at(-1);
      if (last === undefined || page.length < pageRows) return;
      after = afterRow(last);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What charts ask of windows, page by page; the body only of those that were stored before it had columns of its own. */
  async function* figures(span: Span) {
    const { windows } = tables;
    const { deviceId, epoch, sequence, model, version, startedAt, latency, confidenceSum, confidenceCount } = windows;
    const body = sql<unknown>`case when ${latency} is null then ${windows.body} end`.mapWith(windows.body);
    let after: SQL | undefined;
    for (;;) {
      const page = await read
        .select({ deviceId, epoch, sequence, model, version, startedAt, latency, confidenceSum, confidenceCount, body })
        .from(windows)
        .where(and(...windowConditions(span), after))
        .orderBy(asc(startedAt), asc(deviceId), asc(epoch), asc(sequence))
        .limit(pageFigures);
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < pageFigures) return;
      after = afterRow(last);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  function afterRow(last: ItemKey & { startedAt: number }): SQL {
    const { startedAt, deviceId, epoch, sequence } = tables.windows;
    return sql`(${startedAt}, ${deviceId}, ${epoch}, ${sequence}) > (${last.startedAt}, ${last.deviceId}, ${last.epoch}, ${last.sequence})`;
  }

  /** When the oldest window that is kept began. */
  async function oldestWindow(): Promise<number | undefined> {
    const { startedAt } = tables.windows;
    const [row] = await read.select({ startedAt }).from(tables.windows).orderBy(asc(startedAt)).limit(1);
    return row?.startedAt;
  }

  async function countLabels(span: Span): Promise<{ labels: number; correct: number }> {
    const { labels } = tables;
    const [row] = await read
      .select({ labels: sql<number>`count(*)`.mapWith(Number), correct: correctLabels() })
      .from(labels)
      .where(and(...labelConditions(span)));
    return row ?? { labels: 0, correct: 0 };
  }

  /** Absolute and squared errors of numbers, page by page. */
  async function sumErrors(span: Span): Promise<{ count: number; absolute: number; squared: number } | null> {
    const { labels } = tables;
    const sums = { count: 0, absolute: 0, squared: 0 };
    let after: SQL | undefined;
    for (;;) {
      const page = await read
        .select({ device: labels.deviceId, id: labels.inferenceId, predicted: labels.predicted, label: labels.label })
        .from(labels)
        .where(and(...labelConditions(span), after))
        .orderBy(asc(labels.deviceId), asc(labels.inferenceId))
        .limit(pageLabels);
      for (const row of page) addError(sums, row);
      const last = page.at(-1);
      // Names of classes among the first say that all are.
      if (last === undefined || page.length < pageLabels || sums.count === 0) break;
      after = sql`(${labels.deviceId}, ${labels.inferenceId}) > (${last.device}, ${last.id})`;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return sums.count === 0 ? null : sums;
  }

  function correctLabels() {
    const { labels } = tables;
    return sql<number>`coalesce(sum(case when ${labels.predicted} = ${labels.label} then 1 else 0 end), 0)`.mapWith(
      Number,
    );
  }

  function windowConditions(span: Span): SQL[] {
    const { windows } = tables;
    return spanConditions(span, { ...windows, at: windows.startedAt });
  }

  function labelConditions(span: Span): SQL[] {
    const { labels } = tables;
    return spanConditions(span, { ...labels, at: labels.predictedAt });
  }
}

/** Every reader of windows and labels goes through here, so that none counts what ran under a false number. */
export function spanConditions(
  span: Span,
  columns: { model: AnyColumn; version: AnyColumn; deviceId: AnyColumn; foreignRelease: AnyColumn; at: AnyColumn },
): SQL[] {
  const conditions = [gte(columns.at, span.from), lt(columns.at, span.to), isNull(columns.foreignRelease)];
  if (span.model !== undefined) conditions.push(eq(columns.model, span.model));
  if (span.version !== undefined) conditions.push(eq(columns.version, span.version));
  if (span.devices !== undefined) conditions.push(inArray(columns.deviceId, [...span.devices]));
  return conditions;
}

function addError(
  sums: { count: number; absolute: number; squared: number },
  { predicted, label }: { predicted: string; label: string },
): void {
  const error = numberIn(predicted) - numberIn(label);
  if (!Number.isFinite(error)) return;
  sums.count += 1;
  sums.absolute += Math.abs(error);
  sums.squared += error ** 2;
}

function numberIn(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** A sum as a number: PostgreSQL answers sums of integers as text. */
export function total(column: AnyColumn) {
  return sql<number>`coalesce(sum(${column}), 0)`.mapWith(Number);
}

function columnsOf({ deviceId, epoch, sequence, receivedAt, arrival, foreignRelease, head, cells }: WindowRow) {
  const { model, version, startedAt, endedAt, succeeded, invalid, rows } = head;
  const { latency, confidenceSum, confidenceCount, body } = cells;
  const failed = Object.values(head.failed).reduce((sum, count) => sum + count, 0);
  return {
    ...{ deviceId, epoch, sequence, receivedAt, arrival, model, version, startedAt, endedAt },
    ...{ succeeded, failed, invalid, rows, foreignRelease, body, latency, confidenceSum, confidenceCount },
  };
}

/** PostgreSQL refuses to update a row twice in one statement. */
function newestLabels(rows: readonly LabelRow[]): LabelRow[] {
  const newest = new Map<string, LabelRow>();
  for (const row of rows) {
    const key = `${row.deviceId} ${row.inferenceId}`;
    const known = newest.get(key);
    const newer =
      known === undefined ||
      row.labelledAt > known.labelledAt ||
      (row.labelledAt === known.labelledAt && row.label > known.label);
    if (newer) newest.set(key, row);
  }
  return [...newest.values()];
}
