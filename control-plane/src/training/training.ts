// The training room: pipelines, and runs that turn data into released versions.
import { join } from 'node:path';
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import type { Pipeline, PipelineSpec, Run, RunDetail, RunLog, RunStart } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Reader } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { TrainingDeps } from './dependencies.ts';
import { createJobsFolder } from './jobs/all-jobs.ts';
import { newRun, resolveTrainer } from './runs/new-run.ts';
import { createRunner, wordFor } from './runs/run-driver.ts';
import { hasEnded, next } from './runs/run-state.ts';
import { createStages } from './runs/stages.ts';
import { createTriggers } from './runs/triggers.ts';
import type { Trial } from './schemas.ts';
import { createTrainingStore, type RunList, type StoredRun } from './training-store.ts';

export type Training = ReturnType<typeof createTraining>;

export function createTraining(deps: TrainingDeps) {
  const { database, now, notify, log } = deps;
  const store = createTrainingStore(database.tables);
  const jobs = createJobsFolder(join(deps.dataDir, 'training'), log);
  const runner = createRunner({ ...deps, store, jobs, stages: createStages({ ...deps, jobs }) });
  const trigger = createTriggers({ database, now, log, store });

  async function known(reader: Reader, id: string): Promise<StoredRun> {
    const run = await store.run(reader, id);
    if (run === undefined) throw new AppError('not_found', `there is no run ${id}`);
    return run;
  }

  function queued(id: string): void {
    notify({ type: 'run', id, state: 'queued' });
    runner.wake();
  }

  return {
    /** Sorted by name. */
    async pipelines({ limit, cursor }: PageQuery): Promise<Page<Pipeline>> {
      const afterName = decodeCursor(ModelName, cursor);
      const rows = await store.pipelines(database.read, { afterName, limit: limit + 1 });
      return toPage(rows, limit, ({ spec }) => spec.name);
    },

    /**
     * Makes a pipeline, or replaces the one of that name; runs that are queued keep what they were started with. Model
     * and dataset need not exist before it runs.
     * @throws AppError `invalid_request` naming the trainer's parameter
     */
    async apply(actor: string, spec: PipelineSpec): Promise<Pipeline> {
      resolveTrainer(spec);
      return database.transact(async (tx) => {
        const before = await store.pipeline(tx, spec.name);
        const at = now();
        await store.upsertPipeline(tx, spec, at);
        const subject = `pipeline/${spec.name}`;
        await recordAudit(database.tables, tx, {
          at,
          actor,
          action: 'pipeline.apply',
          subject,
          before: before?.spec,
          after: spec,
        });
        return { spec, createdAt: before?.createdAt ?? at, updatedAt: at };
      });
    },

    /** Queues a run. @throws AppError `not_found` */
    async startRun(actor: string, pipeline: string, { seed }: z.infer<typeof RunStart>): Promise<Run> {
      const id = await database.transact(async (tx) => {
        const found = await store.pipeline(tx, pipeline);
        if (found === undefined) throw new AppError('not_found', `there is no pipeline "${pipeline}"`);
        const cause = { kind: 'manual', by: actor } as const;
        const run = newRun(found.spec, { cause, seed: seed ?? found.spec.seed, at: now() });
        await store.insertRun(tx, run);
        const after = { pipeline, seed: run.seed };
        await recordAudit(database.tables, tx, {
          at: run.createdAt,
          actor,
          action: 'run.start',
          subject: `run/${run.id}`,
          after,
        });
        return run.id;
      });
      queued(id);
      return toView(await known(database.read, id));
    },

    /** Newest first. */
    async runs({ limit, cursor, ...query }: PageQuery & Omit<RunList, 'limit' | 'beforeId'>): Promise<Page<Run>> {
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await store.runs(database.read, { ...query, beforeId, limit: limit + 1 });
      const page = toPage(rows, limit, ({ id }) => id);
      return { ...page, items: page.items.map(toView) };
    },

    /** @throws AppError `not_found` */
    async run(id: string): Promise<RunDetail> {
      const run = await known(database.read, id);
      return { ...toView(run), steps: await store.steps(database.read, id) };
    },

    /** @throws AppError `not_found` */
    async logs(id: string): Promise<z.infer<typeof RunLog>> {
      await known(database.read, id);
      return { lines: await store.logs(database.read, id) };
    },

    /** The attempts of the run at parameters: the one of its pipeline. @throws AppError `not_found` */
    async trials(id: string): Promise<Page<Trial>> {
      const { state, spec, seed, metrics } = await known(database.read, id);
      return { items: [{ number: 1, status: state.status, trainer: spec.trainer, seed, metrics }] };
    },

    /** Ends a run; one that works is asked to stop. @throws AppError `not_found`; `conflict` when it has ended otherwise */
    async cancel(actor: string, id: string): Promise<Run> {
      const run = await database.transact(async (tx) => {
        const before = await known(tx, id);
        const { status } = before.state;
        if (status === 'cancelled') return before;
        if (hasEnded(before.state)) throw new AppError('conflict', `run ${id} has ended already: ${status}`);
        const at = now();
        const state = status === 'running' ? before.state : next(before.state, { kind: 'cancelled' });
        const endedAt = hasEnded(state) ? at : null;
        await store.updateRun(tx, id, { ...state, cancelRequested: true, endedAt });
        await recordAudit(database.tables, tx, {
          at,
          actor,
          action: 'run.cancel',
          subject: `run/${id}`,
          before: before.state,
        });
        return known(tx, id);
      });
      runner.interrupt(id);
      notify({ type: 'run', id, state: wordFor(run.state) });
      return toView(run);
    },

    /** Starts the runs that a firing alert causes; safe to be told of the same alert again. */
    async onAlert(alert: Alert): Promise<void> {
      for (const id of await trigger(alert)) queued(id);
    },

    start: (signal: AbortSignal): void => runner.start(signal),
    wake: (): void => runner.wake(),
    close: (): Promise<void> => runner.close(),
  };
}

function toView({ state, cause, spec, cancelRequested: _asked, ...run }: StoredRun): Run {
  return {
    ...run,
    ...state,
    trainer: spec.trainer,
    cause: cause.kind === 'manual' ? cause : { kind: cause.kind, alertId: cause.alertId },
  };
}
