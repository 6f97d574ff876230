// Counts of what the rooms keep, for Prometheus: each by an index or over a small table.
import { count, isNotNull, ne, sql } from 'drizzle-orm';
import type { Database } from '../database/open.ts';

export type FiguresStore = ReturnType<typeof createFiguresStore>;

export function createFiguresStore({ tables, read, engine }: Pick<Database, 'tables' | 'read' | 'engine'>) {
  const { alerts, rollouts, devices } = tables;
  const told =
    engine === 'sqlite' ? sql`json_extract(${alerts.detail}, '$.severity')` : sql`${alerts.detail} ->> 'severity'`;
  // Alerts of before had none; their rules were warnings.
  const severity = sql<string>`coalesce(${told}, 'warning')`.mapWith(String);
  return {
    openAlerts: () =>
      read
        .select({ rule: alerts.ruleId, kind: alerts.kind, severity, status: alerts.status, count: count() })
        .from(alerts)
        .where(ne(alerts.status, 'resolved'))
        .groupBy(alerts.ruleId, alerts.kind, severity, alerts.status),

    rolloutsByPhase: () =>
      read.select({ phase: rollouts.phase, count: count() }).from(rollouts).groupBy(rollouts.phase),

    removedDevices: (): Promise<number> => read.$count(devices, isNotNull(devices.revokedAt)),

    /** Bytes of the database. */
    async bytes(): Promise<number> {
      const size =
        engine === 'sqlite'
          ? sql`(select page_count * page_size from pragma_page_count(), pragma_page_size())`
          : sql`pg_database_size(current_database())`;
      // A row is needed to read an expression from; there is always one.
      const [row] = await read.select({ size: sql<number>`${size}`.mapWith(Number) }).from(sql`(select 1) as one`);
      return row?.size ?? 0;
    },
  };
}
