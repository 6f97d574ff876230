// All SQL of telemetry that writes, and what others count and read window by window.
import type { LabelledPrediction, Window } from '@edgeloop/shared/telemetry';
import { type AnyColumn, and, asc, eq, gt, gte, inArray, isNull, lt, type SQL, sql } from 'drizzle-orm';
import type { z } from 'zod';
import type { Database, Transaction } from '../database/open.ts';

export interface ItemKey {
  deviceId: string;
  epoch: number;
  sequence: number;
}
/** `foreignRelease`: the device ran other bytes under the number than are registered; it is kept, and counts nowhere. */
interface Foreign {
  foreignRelease: string | null;
}
export type WindowRow = ItemKey & Foreign & { receivedAt: number; window: Window };
export type LabelRow = { deviceId: string } & Foreign & LabelledPrediction;
export type LossRow = ItemKey & { receivedAt: number; windows: number; requests: number; labels: number };

/** What was new in a group of batches; windows and labels that count nowhere are not among them. */
export interface Stored {
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

/** Rows of one insert: the widest table has 14 columns, and SQLite takes 32,766 parameters. */
const chunkRows = 500;
/** Bodies read at once; between pages other work gets its turn. */
const pageRows = 100;

export type TelemetryStore = ReturnType<typeof createTelemetryStore>;

export function createTelemetryStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  return { claim, addWindows, upsertLabels, addLosses, countEvidence, bodies, countLabels };

  /** Takes the numbers of items; returns the keys of those that nobody had taken before. */
  async function claim(tx: Transaction, items: readonly ItemKey[]): Promise<Set<string>> {
    const fresh = new Set<string>();
    for (const chunk of chunksOf(items)) {
      const values = chunk.map(({ deviceId, epoch, sequence }) => ({ deviceId, epoch, sequence }));
      const taken = await tx.insert(tables.telemetryItems).values(values).onConflictDoNothing().returning();
      for (const item of taken) fresh.add(itemKey(item));
    }
    return fresh;
  }

  async function addWindows(tx: Transaction, rows: readonly WindowRow[]): Promise<void> {
    for (const chunk of chunksOf(rows)) await tx.insert(tables.windows).values(chunk.map(columnsOf));
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
      after = sql`(${startedAt}, ${deviceId}, ${epoch}, ${sequence}) > (${last.startedAt}, ${last.deviceId}, ${last.epoch}, ${last.sequence})`;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async function countLabels(span: Span): Promise<{ labels: number; correct: number }> {
    const { labels } = tables;
    const [row] = await read
      .select({ labels: sql<number>`count(*)`.mapWith(Number), correct: correctLabels() })
      .from(labels)
      .where(and(...labelConditions(span)));
    return row ?? { labels: 0, correct: 0 };
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

/** A sum as a number: PostgreSQL answers sums of integers as text. */
export function total(column: AnyColumn) {
  return sql<number>`coalesce(sum(${column}), 0)`.mapWith(Number);
}

export function itemKey({ deviceId, epoch, sequence }: ItemKey): string {
  return `${deviceId} ${epoch} ${sequence}`;
}

function columnsOf({ deviceId, epoch, sequence, receivedAt, foreignRelease, window }: WindowRow) {
  const { model, version, startedAt, endedAt, succeeded, invalid, rows } = window;
  const failed = Object.values(window.failed).reduce((sum, count) => sum + count, 0);
  return {
    ...{ deviceId, epoch, sequence, receivedAt, model, version, startedAt, endedAt },
    ...{ succeeded, failed, invalid, rows, foreignRelease, body: window },
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

function* chunksOf<T>(items: readonly T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += chunkRows) yield items.slice(at, at + chunkRows);
}
