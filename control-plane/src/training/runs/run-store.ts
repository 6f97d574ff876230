// All SQL of runs, their measurements and logs.
import { Evaluation, PipelineSpec, RunCause, RunStatus, type RunStep } from '@edgeloop/shared/api/training';
import { AppError, parse } from '@edgeloop/shared/errors';
import { and, asc, count, desc, eq, inArray, like, lt, max, type SQL } from 'drizzle-orm';
import { z } from 'zod';
import type { Reader, Transaction } from '../../database/open.ts';
import type { Schema } from '../../database/schema.ts';
import { type RunState, stages } from './run-state.ts';

/** A cause with what the run must know of it later. */
export const StoredCause = z.discriminatedUnion('kind', [
  RunCause.options[0],
  /** `since`: when what the alert says began. */
  RunCause.options[1].extend({ since: z.number() }),
]);
export type StoredCause = z.infer<typeof StoredCause>;

const RunDataset = z.object({ name: z.string(), version: z.number().int(), digest: z.string() });
const Metrics = z.record(z.string(), z.number());

type RunRow = Schema['runs']['$inferSelect'];
export type StoredRun = ReturnType<typeof toRun>;
/** What a stage finds out. */
export type RunChange = Partial<
  Pick<StoredRun, 'dataset' | 'metrics' | 'evaluation' | 'registeredVersion' | 'rolloutId' | 'error'>
>;
export type RunStore = ReturnType<typeof createRunStore>;

export interface RunList {
  pipeline?: string | undefined;
  model?: string | undefined;
  beforeId?: string | undefined;
  limit: number;
}

export interface LogLine {
  line: number;
  at: number;
  text: string;
}

export function createRunStore(tables: Schema) {
  return { ...runQueries(tables), ...outputQueries(tables) };
}

function runQueries({ runs }: Schema) {
  async function run(reader: Reader, id: string): Promise<StoredRun | undefined> {
    const [row] = await reader.select().from(runs).where(eq(runs.id, id));
    return row === undefined ? undefined : toRun(row);
  }

  return {
    run,

    /** @throws AppError `not_found` */
    async known(reader: Reader, id: string): Promise<StoredRun> {
      const found = await run(reader, id);
      if (found === undefined) throw new AppError('not_found', `there is no run ${id}`);
      return found;
    },

    /** False when this cause has started a run of the pipeline already. */
    async insert(tx: Transaction, row: RunRow): Promise<boolean> {
      return (await tx.insert(runs).values(row).onConflictDoNothing().returning()).length > 0;
    },

    async ofCause(reader: Reader, pipeline: string, causeKey: string): Promise<StoredRun | undefined> {
      const [row] = await reader
        .select()
        .from(runs)
        .where(and(eq(runs.pipeline, pipeline), eq(runs.causeKey, causeKey)));
      return row === undefined ? undefined : toRun(row);
    },

    /** The newest run of the pipeline that an alert started. */
    async newestTriggered(reader: Reader, pipeline: string): Promise<StoredRun | undefined> {
      const [row] = await reader
        .select()
        .from(runs)
        .where(and(eq(runs.pipeline, pipeline), like(runs.causeKey, 'alert:%')))
        .orderBy(desc(runs.id))
        .limit(1);
      return row === undefined ? undefined : toRun(row);
    },

    /** Newest first; ids are version 7 UUIDs, so they sort by time. */
    async list(reader: Reader, query: RunList): Promise<StoredRun[]> {
      const conditions: SQL[] = [];
      if (query.pipeline !== undefined) conditions.push(eq(runs.pipeline, query.pipeline));
      if (query.model !== undefined) conditions.push(eq(runs.model, query.model));
      if (query.beforeId !== undefined) conditions.push(lt(runs.id, query.beforeId));
      const rows = await reader
        .select()
        .from(runs)
        .where(and(...conditions))
        .orderBy(desc(runs.id))
        .limit(query.limit);
      return rows.map(toRun);
    },

    /** Runs that have not ended, oldest first. */
    async open(reader: Reader): Promise<StoredRun[]> {
      const rows = await reader
        .select()
        .from(runs)
        .where(inArray(runs.status, ['queued', 'waiting_for_labels', 'running']))
        .orderBy(asc(runs.id));
      return rows.map(toRun);
    },

    async update(tx: Transaction, id: string, change: Partial<Omit<RunRow, 'id'>>): Promise<void> {
      await tx.update(runs).set(change).where(eq(runs.id, id));
    },
  };
}

function outputQueries({ runSteps, runLogs }: Schema) {
  return {
    /** In the order of the steps. */
    async steps(reader: Reader, runId: string): Promise<RunStep[]> {
      return reader
        .select({ step: runSteps.step, name: runSteps.name, value: runSteps.value })
        .from(runSteps)
        .where(eq(runSteps.runId, runId))
        .orderBy(asc(runSteps.step), asc(runSteps.name));
    },

    async countSteps(reader: Reader, runId: string): Promise<number> {
      return reader.$count(runSteps, eq(runSteps.runId, runId));
    },

    /** A step that is measured again replaces the earlier value. */
    async insertSteps(tx: Transaction, runId: string, steps: readonly RunStep[]): Promise<void> {
      for (const { step, name, value } of steps) {
        await tx
          .insert(runSteps)
          .values({ runId, step, name, value })
          .onConflictDoUpdate({ target: [runSteps.runId, runSteps.name, runSteps.step], set: { value } });
      }
    },

    async deleteSteps(tx: Transaction, runId: string): Promise<void> {
      await tx.delete(runSteps).where(eq(runSteps.runId, runId));
    },

    async logs(reader: Reader, runId: string): Promise<{ at: number; text: string }[]> {
      return reader
        .select({ at: runLogs.at, text: runLogs.text })
        .from(runLogs)
        .where(eq(runLogs.runId, runId))
        .orderBy(asc(runLogs.line));
    },

    /** Number of the newest line and how many there are; 0 when there is none. */
    async logEnd(reader: Reader, runId: string): Promise<{ line: number; lines: number }> {
      const [row] = await reader
        .select({ line: max(runLogs.line), lines: count() })
        .from(runLogs)
        .where(eq(runLogs.runId, runId));
      return { line: row?.line ?? 0, lines: row?.lines ?? 0 };
    },

    async insertLines(tx: Transaction, runId: string, lines: readonly LogLine[]): Promise<void> {
      for (let i = 0; i < lines.length; i += 200)
        await tx.insert(runLogs).values(lines.slice(i, i + 200).map((line) => ({ runId, ...line })));
    },
  };
}

function toRun(row: RunRow) {
  const what = `run ${row.id}`;
  return {
    id: row.id,
    pipeline: row.pipeline,
    model: row.model,
    state: toState(row),
    cause: parse(StoredCause, row.cause, `${what}: cause`, 'internal'),
    seed: row.seed,
    spec: parse(PipelineSpec, row.spec, `${what}: spec`, 'internal'),
    dataset: parse(RunDataset.nullable(), row.dataset, `${what}: dataset`, 'internal'),
    metrics: parse(Metrics, row.metrics, `${what}: metrics`, 'internal'),
    evaluation: parse(Evaluation.nullable(), row.evaluation, `${what}: evaluation`, 'internal'),
    registeredVersion: row.registeredVersion,
    rolloutId: row.rolloutId,
    error: row.error,
    cancelRequested: row.cancelRequested,
    createdAt: row.createdAt,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
  };
}

function toState({ id, status, stage }: RunRow): RunState {
  const known = parse(RunStatus, status, `run ${id}: status`, 'internal');
  if (known === 'queued' || known === 'waiting_for_labels') return { status: known, stage: 'queued' };
  if (known !== 'running') return { status: known, stage: 'done' };
  const running = stages.find((each) => each === stage);
  if (running === undefined) throw new AppError('internal', `run ${id} is in the unknown stage "${stage}"`);
  return { status: known, stage: running };
}
