// The training room: pipelines, and runs that turn data into released versions.
import { join } from 'node:path';
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import type { Pipeline, PipelineSpec, Run, RunDetail, RunLog, RunStart } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { TrainingDeps } from './dependencies.ts';
import { createAllJobs } from './jobs/all-jobs.ts';
import { createPipelineStore, type PipelineStore } from './pipeline-store.ts';
import { newRun, resolveTrainer } from './runs/new-run.ts';
import { createRunDriver } from './runs/run-driver.ts';
import { hasEnded, next, wordFor } from './runs/run-state.ts';
import { createRunStore, type RunList, type RunStore, type StoredRun } from './runs/run-store.ts';
import { createStages } from './runs/stages.ts';
import { createTriggers } from './runs/triggers.ts';

export type Training = ReturnType<typeof createTraining>;

export function createTraining(deps: TrainingDeps) {
  const { database, notify, log } = deps;
  const pipelines = createPipelineStore(database.tables);
  const runs = createRunStore(database.tables);
  const stored: Stored = { ...deps, pipelines, runs };
  const jobs = createAllJobs(join(deps.dataDir, 'training'), log);
  const driver = createRunDriver({ ...deps, store: runs, jobs, stages: createStages({ ...deps, jobs }) });
  const trigger = createTriggers(stored);

  function queued(id: string): void {
    notify({ type: 'run', id, state: 'queued' });
    driver.wake();
  }

  return {
    /** Sorted by name. */
    async pipelines({ limit, cursor }: PageQuery): Promise<Page<Pipeline>> {
      const afterName = decodeCursor(ModelName, cursor);
      const rows = await pipelines.list(database.read, { afterName, limit: limit + 1 });
      return toPage(rows, limit, ({ spec }) => spec.name);
    },

    /**
     * Makes a pipeline, or replaces the one of that name; runs that are queued keep what they were started with. Model
     * and dataset need not exist before it runs.
     * @throws AppError `invalid_request` naming the trainer's parameter
     */
    apply: (actor: string, spec: PipelineSpec): Promise<Pipeline> => applyPipeline(stored, actor, spec),

    /** Queues a run. @throws AppError `not_found` */
    async startRun(actor: string, pipeline: string, { seed }: z.infer<typeof RunStart>): Promise<Run> {
      const id = await insertRun(stored, actor, { pipeline, seed });
      queued(id);
      return toView(await runs.known(database.read, id));
    },

    /** Newest first. */
    async runs({ limit, cursor, ...query }: PageQuery & Omit<RunList, 'limit' | 'beforeId'>): Promise<Page<Run>> {
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await runs.list(database.read, { ...query, beforeId, limit: limit + 1 });
      const page = toPage(rows, limit, ({ id }) => id);
      return { ...page, items: page.items.map(toView) };
    },

    /** @throws AppError `not_found` */
    async run(id: string): Promise<RunDetail> {
      const run = await runs.known(database.read, id);
      return { ...toView(run), steps: await runs.steps(database.read, id) };
    },

    /** @throws AppError `not_found` */
    async logs(id: string): Promise<z.infer<typeof RunLog>> {
      await runs.known(database.read, id);
      return { lines: await runs.logs(database.read, id) };
    },

    /** Ends a run; one that works is asked to stop. @throws AppError `not_found`; `conflict` when it has ended otherwise */
    async cancel(actor: string, id: string): Promise<Run> {
      const run = await writeCancellation(stored, actor, id);
      driver.interrupt(id);
      notify({ type: 'run', id, state: wordFor(run.state) });
      return toView(run);
    },

    /** Starts the runs that a firing alert causes, and gives their ids; safe to be told of the same alert again. */
    async onAlert(alert: Alert): Promise<{ runs: string[] }> {
      const { started, runs: caused } = await trigger(alert);
      for (const id of started) queued(id);
      return { runs: caused };
    },

    start: driver.start,
    wake: driver.wake,
    close: driver.close,
  };
}

interface Stored extends Pick<TrainingDeps, 'database' | 'now' | 'log'> {
  pipelines: PipelineStore;
  runs: RunStore;
}

async function applyPipeline({ database, now, pipelines }: Stored, actor: string, spec: PipelineSpec) {
  resolveTrainer(spec);
  return database.transact(async (tx): Promise<Pipeline> => {
    const before = await pipelines.pipeline(tx, spec.name);
    const at = now();
    await pipelines.upsert(tx, spec, at);
    const about = { actor, action: 'pipeline.apply', subject: `pipeline/${spec.name}` };
    await recordAudit(database.tables, tx, { at, ...about, before: before?.spec, after: spec });
    return { spec, createdAt: before?.createdAt ?? at, updatedAt: at };
  });
}

async function insertRun(
  { database, now, pipelines, runs }: Stored,
  actor: string,
  { pipeline, seed }: { pipeline: string; seed: number | undefined },
): Promise<string> {
  return database.transact(async (tx) => {
    const found = await pipelines.pipeline(tx, pipeline);
    if (found === undefined) throw new AppError('not_found', `there is no pipeline "${pipeline}"`);
    const cause = { kind: 'manual', by: actor } as const;
    const run = newRun(found.spec, { cause, seed: seed ?? found.spec.seed, at: now() });
    await runs.insert(tx, run);
    const about = { actor, action: 'run.start', subject: `run/${run.id}` };
    await recordAudit(database.tables, tx, { at: run.createdAt, ...about, after: { pipeline, seed: run.seed } });
    return run.id;
  });
}

/** A run that works ends when its driver has seen it; another one has ended by this. */
async function writeCancellation({ database, now, runs }: Stored, actor: string, id: string): Promise<StoredRun> {
  return database.transact(async (tx) => {
    const before = await runs.known(tx, id);
    const { status } = before.state;
    if (status === 'cancelled') return before;
    if (hasEnded(before.state)) throw new AppError('conflict', `run ${id} has ended already: ${status}`);
    const at = now();
    const state = status === 'running' ? before.state : next(before.state, { kind: 'cancelled' });
    await runs.update(tx, id, { ...state, cancelRequested: true, endedAt: hasEnded(state) ? at : null });
    const about = { actor, action: 'run.cancel', subject: `run/${id}` };
    await recordAudit(database.tables, tx, { at, ...about, before: before.state });
    return runs.known(tx, id);
  });
}

function toView({ state, cause, spec, cancelRequested: _asked, ...run }: StoredRun): Run {
  return {
    ...run,
    ...state,
    trainer: spec.trainer,
    cause: cause.kind === 'manual' ? cause : { kind: cause.kind, alertId: cause.alertId },
  };
}
