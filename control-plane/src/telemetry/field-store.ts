// SQL of what gates compare: newest windows first, and labels by device.
import { Window } from '@edgeloop/shared/telemetry';
import { and, desc, eq, gte, isNull, lt, ne, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../database/open.ts';
import type { Counts } from '../gates/counts.ts';

export interface LabelSums {
  deviceId: string;
  /** Whether they are of the new version. */
  fresh: boolean;
  all: Counts;
  /** Of predictions since the wave began. */
  wave: Counts;
  /** Of all, those that came within the patience. */
  timely: number;
  firstAt: number;
}

/** Rows read at once; between pages other work gets its turn. */
const pageRows = 200;

export type FieldStore = ReturnType<typeof createFieldStore>;

export function createFieldStore({ tables, read }: Pick<Database, 'tables' | 'read'>) {
  return { newest, labelSums };

  /** Windows that began in this time, newest first. */
  async function* newest(span: { model: string; not?: number; from: number; to: number }) {
    const { windows } = tables;
    const { deviceId, version, startedAt, receivedAt, epoch, sequence, body } = windows;
    let after: SQL | undefined;
    for (;;) {
      const page = await read
        .select({ deviceId, version, startedAt, receivedAt, epoch, sequence, body })
        .from(windows)
        .where(
          and(
            eq(windows.model, span.model),
            span.not === undefined ? undefined : ne(version, span.not),
            gte(startedAt, span.from),
            lt(startedAt, span.to),
            isNull(windows.foreignRelease),
            after,
          ),
        )
        .orderBy(desc(startedAt), desc(deviceId), desc(epoch), desc(sequence))
        .limit(pageRows);
      for (const row of page) yield { ...row, window: Window.parse(row.body) };
      const last = page.at(-1);
      if (last === undefined || page.length < pageRows) return;
      after = sql`(${startedAt}, ${deviceId}, ${epoch}, ${sequence}) < (${last.startedAt}, ${last.deviceId}, ${last.epoch}, ${last.sequence})`;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Of predictions made in this time, by device. */
  async function labelSums(asked: {
    model: string;
    version: number;
    from: number;
    to?: number;
    waveFrom: number;
    patienceMs: number;
  }): Promise<LabelSums[]> {
    const { labels } = tables;
    const { predictedAt, predicted, label, version, labelledAt } = labels;
    const right = sql`case when ${predicted} = ${label} then 1 else 0 end`;
    const inWave = sql`case when ${predictedAt} >= ${asked.waveFrom} then 1 else 0 end`;
    const isTimely = sql`case when ${labelledAt} - ${predictedAt} <= ${asked.patienceMs} then 1 else 0 end`;
    const isFresh = sql`case when ${version} = ${sql.raw(String(Math.trunc(asked.version)))} then 1 else 0 end`;
    const sum = (of: ReturnType<typeof sql>) => sql<number>`coalesce(sum(${of}), 0)`.mapWith(Number);
    const rows = await read
      .select({
        deviceId: labels.deviceId,
        fresh: sql<number>`${isFresh}`.mapWith(Number),
        trials: sql<number>`count(*)`.mapWith(Number),
        hits: sum(right),
        waveTrials: sum(inWave),
        waveHits: sum(sql`(${right}) * (${inWave})`),
        timely: sum(isTimely),
        firstAt: sql<number>`min(${predictedAt})`.mapWith(Number),
      })
      .from(labels)
      .where(
        and(
          eq(labels.model, asked.model),
          gte(predictedAt, asked.from),
          asked.to === undefined ? undefined : lt(predictedAt, asked.to),
          isNull(labels.foreignRelease),
        ),
      )
      .groupBy(labels.deviceId, isFresh);
    return rows.map(({ deviceId, fresh, trials, hits, waveTrials, waveHits, timely, firstAt }) => ({
      ...{ deviceId, timely, firstAt, fresh: fresh === 1 },
      all: { hits, trials },
      wave: { hits: waveHits, trials: waveTrials },
    }));
  }
}
