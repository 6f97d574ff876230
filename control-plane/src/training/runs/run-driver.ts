// Carries runs through their stages, one at a time. What is decided is in the database before the next thing begins,
// so a runner that starts anew goes on where the earlier one was ended.
import { setTimeout as delay } from 'node:timers/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { recordAudit } from '../../access/audit.ts';
import type { TrainingDeps } from '../dependencies.ts';
import type { JobsFolder } from '../jobs/all-jobs.ts';
import type { RunChange, StoredRun, TrainingStore } from '../training-store.ts';
import { createRunRecorder, type RunRecorder } from './run-recorder.ts';
import { hasEnded, next, type RunEvent, type RunState, type Stage } from './run-state.ts';
import type { StageResult, StageWork } from './stages.ts';

export interface RunnerDeps extends Pick<TrainingDeps, 'database' | 'data' | 'now' | 'notify' | 'log'> {
  store: TrainingStore;
  stages: Record<Stage, StageWork>;
  jobs: JobsFolder;
  /** Pause between two looks for runs, which is when labels are counted. */
  pollMs?: number;
}

export type Runner = ReturnType<typeof createRunner>;

export function createRunner(deps: RunnerDeps) {
  const { database, store, stages, jobs, now, notify, log, pollMs = 2000 } = deps;
  const stopping = new AbortController();
  let waking = new AbortController();
  let active: { id: string; cancelling: AbortController } | undefined;
  let running: Promise<void> = Promise.resolve();

  /** Writes down what an event makes of a run, with what was found out, and gives the run as it is then. */
  async function advance(id: string, event: RunEvent, change: RunChange = {}): Promise<StoredRun> {
    const after = await database.transact(async (tx) => {
      const run = await known(store, tx, id);
      const state = settle(run, next(run.state, event));
      if (state === run.state) return run;
      const at = now();
      await store.updateRun(tx, id, {
        ...change,
        status: state.status,
        stage: state.stage,
        startedAt: run.startedAt ?? (state.status === 'running' ? at : null),
        endedAt: hasEnded(state) ? at : null,
      });
      if (hasEnded(state)) {
        const end = { status: state.status, error: change.error ?? null };
        await recordAudit(database.tables, tx, {
          at,
          actor: 'system',
          action: 'run.end',
          subject: `run/${id}`,
          after: end,
        });
      }
      return known(store, tx, id);
    });
    notify({ type: 'run', id, state: wordFor(after.state) });
    return after;
  }

  /** A run whose turn it is: one that was begun, else the oldest that has the labels it waits for. */
  async function nextRun(): Promise<StoredRun | undefined> {
    const open = await store.openRuns(database.read);
    const begun = open.find((run) => run.state.status === 'running');
    if (begun !== undefined) return begun;
    for (const run of open) {
      if (await hasLabels(deps, run)) return run;
      if (run.state.status === 'queued') await advance(run.id, { kind: 'turn', enoughLabels: false });
    }
    return undefined;
  }

  async function carry(id: string): Promise<void> {
    const cancelling = new AbortController();
    active = { id, cancelling };
    const onWritten = () => notify({ type: 'run', id, state: 'progress' });
    const recorder = await createRunRecorder({ database, store, now, onWritten }, id);
    try {
      let run = await advance(id, { kind: 'turn', enoughLabels: true });
      while (!hasEnded(run.state) && !stopping.signal.aborted) run = await step(run, { recorder, cancelling });
      if (!hasEnded(run.state)) return;
      recorder.line(`the run has ended: ${run.state.status}${run.error === null ? '' : `: ${run.error}`}`);
      log.info({ run: id, status: run.state.status, error: run.error }, 'a training run has ended');
      await jobs.discard(id);
    } finally {
      active = undefined;
      await recorder.close();
    }
  }

  async function step(
    run: StoredRun,
    { recorder, cancelling }: { recorder: RunRecorder; cancelling: AbortController },
  ): Promise<StoredRun> {
    const { stage } = run.state;
    if (run.cancelRequested || stage === 'queued' || stage === 'done') return advance(run.id, { kind: 'cancelled' });
    const signal = AbortSignal.any([stopping.signal, cancelling.signal]);
    let result: StageResult;
    try {
      result = await stages[stage]({ run, recorder, signal });
      await recorder.flush();
    } catch (error) {
      if (stopping.signal.aborted) return run; // The next runner does the stage again.
      await recorder.flush();
      if (cancelling.signal.aborted) return advance(run.id, { kind: 'cancelled' });
      if (!(error instanceof AppError)) log.error({ err: error, run: run.id, stage }, 'a training run failed');
      return advance(run.id, { kind: 'failed' }, { error: `${stage}: ${messageOf(error)}` });
    }
    return advance(run.id, result.event, result.change);
  }

  async function loop(): Promise<void> {
    let recovered = false;
    while (!stopping.signal.aborted) {
      try {
        if (!recovered) await jobs.recover((await store.openRuns(database.read)).map((run) => run.id));
        recovered = true;
        const run = await nextRun();
        if (run !== undefined) {
          await carry(run.id);
          continue;
        }
      } catch (error) {
        log.error({ err: error }, 'the training runner failed and tries again');
      }
      await rest();
    }
  }

  async function rest(): Promise<void> {
    const signal = AbortSignal.any([stopping.signal, waking.signal]);
    await delay(pollMs, undefined, { signal }).catch(() => undefined); // Woken before its time.
    waking = new AbortController();
  }

  return {
    start(signal: AbortSignal): void {
      signal.addEventListener('abort', () => stopping.abort(), { once: true });
      if (signal.aborted) stopping.abort();
      running = loop();
    },

    /** Looks for runs at once. */
    wake: () => waking.abort(),

    /** Ends what the run is doing, after its cancellation was written down. */
    interrupt(id: string): void {
      if (active?.id === id) active.cancelling.abort();
    },

    /** Stops a trainer that is running and resolves when it is gone; its run goes on after the next start. */
    async close(): Promise<void> {
      stopping.abort();
      await running;
    },
  };
}

/** A run that should be cancelled begins nothing any more. */
function settle(run: StoredRun, state: RunState): RunState {
  return run.cancelRequested && state.status === 'running' ? next(state, { kind: 'cancelled' }) : state;
}

async function hasLabels({ data }: RunnerDeps, { cause, model, spec }: StoredRun): Promise<boolean> {
  if (cause.kind === 'manual') return true;
  return (await data.labelledSince(model, cause.since)) >= spec.trigger.minLabels;
}

async function known(store: TrainingStore, reader: Parameters<TrainingStore['run']>[0], id: string) {
  const run = await store.run(reader, id);
  if (run === undefined) throw new AppError('not_found', `there is no run ${id}`);
  return run;
}

/** For change events: the stage while it runs, else the status. */
export function wordFor(state: RunState): string {
  return state.status === 'running' ? state.stage : state.status;
}
