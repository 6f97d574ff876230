// SQL of `metrics/query`: sums by time bucket and by what the series are grouped by.
import { and, gte, inArray, isNull, lt, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../database/open.ts';
import { type Span, spanConditions, total } from './telemetry-store.ts';

export type GroupColumn = 'model' | 'version' | 'device' | 'class' | 'predicted';

/** How rows are put together. Without `stepMs` there is one bucket, 0. */
export interface Grouping {
  stepMs: number | undefined;
  columns: readonly GroupColumn[];
}

/** What a row belongs to; columns that are not grouped by are ''. `bucket`: its beginning, a multiple of the step. */
export interface Key {
  bucket: number;
  model: string;
  version: string;
  device: string;
  class: string;
  predicted: string;
}

type Expression = SQL<string>;

export type SeriesStore = ReturnType<typeof createSeriesStore>;

export function createSeriesStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  return { windowSums, labelSums, lossSums, versionsSince };

  function versionsSince(from: number) {
    const { model, version, startedAt, foreignRelease } = tables.windows;
    return read
      .selectDistinct({ model, version })
      .from(tables.windows)
      .where(and(gte(startedAt, from), isNull(foreignRelease)));
  }

  function windowSums(span: Span, grouping: Grouping) {
    const { windows } = tables;
    const columns = {
      model: sql`${windows.model}`,
      version: sql`${windows.version}`,
      device: sql`${windows.deviceId}`,
    };
    const { keys, by } = groupingOf(grouping, sql`${windows.startedAt}`, columns);
    return read
      .select({
        ...keys,
        windows: sql<number>`count(*)`.mapWith(Number),
        succeeded: total(windows.succeeded),
        failed: total(windows.failed),
        invalid: total(windows.invalid),
        rows: total(windows.rows),
      })
      .from(windows)
      .where(and(...spanConditions(span, { ...windows, at: windows.startedAt })))
      .groupBy(...by)
      .having(sql`count(*) > 0`);
  }

  /** By the true label when grouped by class, and by what was answered. */
  function labelSums(span: Span, grouping: Grouping) {
    const { labels } = tables;
    const { keys, by } = groupingOf(grouping, sql`${labels.predictedAt}`, {
      model: sql`${labels.model}`,
      version: sql`${labels.version}`,
      device: sql`${labels.deviceId}`,
      class: sql`${labels.label}`,
      predicted: sql`${labels.predicted}`,
    });
    return read
      .select({
        ...keys,
        labels: sql<number>`count(*)`.mapWith(Number),
        correct: sql<number>`sum(case when ${labels.predicted} = ${labels.label} then 1 else 0 end)`.mapWith(Number),
      })
      .from(labels)
      .where(and(...spanConditions(span, { ...labels, at: labels.predictedAt })))
      .groupBy(...by)
      .having(sql`count(*) > 0`);
  }

  /** By the time they were reported: what was dropped has no other. */
  function lossSums(span: Pick<Span, 'devices' | 'from' | 'to'>, grouping: Grouping) {
    const { losses } = tables;
    const { keys, by } = groupingOf(grouping, sql`${losses.receivedAt}`, { device: sql`${losses.deviceId}` });
    const conditions = [gte(losses.receivedAt, span.from), lt(losses.receivedAt, span.to)];
    if (span.devices !== undefined) conditions.push(inArray(losses.deviceId, [...span.devices]));
    return read
      .select({ ...keys, requests: sql<number>`sum(${losses.requests})`.mapWith(Number) })
      .from(losses)
      .where(and(...conditions))
      .groupBy(...by)
      .having(sql`count(*) > 0`);
  }
}

function groupingOf({ stepMs, columns }: Grouping, at: SQL, known: Partial<Record<GroupColumn, SQL>>) {
  // The step is spelled out, since the engines must see the same expression in the selection and in the grouping.
  const bucket = stepMs === undefined ? undefined : sql`${at} - (${at} % ${sql.raw(String(Math.trunc(stepMs)))})`;
  const chosen = (column: GroupColumn): SQL | undefined => (columns.includes(column) ? known[column] : undefined);
  const by = [bucket, ...columns.map(chosen)].filter((each): each is SQL => each !== undefined);
  const asText = (column: GroupColumn): Expression => sql<string>`${chosen(column) ?? sql`''`}`.mapWith(String);
  const keys = {
    bucket: sql<number>`${bucket ?? sql`0`}`.mapWith(Number),
    model: asText('model'),
    version: asText('version'),
    device: asText('device'),
    class: asText('class'),
    predicted: asText('predicted'),
  };
  return { keys, by };
}
