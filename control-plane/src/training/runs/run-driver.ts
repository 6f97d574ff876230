// Carries runs through their stages, one at a time. What is decided is in the database before the next thing begins,
// so a driver that starts anew goes on where the earlier one was ended.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createBell } from '@edgeloop/shared/node/bell';
import { recordAudit } from '../../access/audit.ts';
import { isStorageFailure } from '../../database/storage-failure.ts';
import type { TrainingDeps } from '../dependencies.ts';
import type { AllJobs } from '../jobs/all-jobs.ts';
import { createRunRecorder, type RunRecorder } from './run-recorder.ts';
import { hasEnded, next, type RunEvent, type RunState, type Stage, wordFor } from './run-state.ts';
import type { RunChange, RunStore, StoredRun } from './run-store.ts';
import type { StageResult, StageWork } from './stages.ts';

export interface RunDriverDeps extends Pick<TrainingDeps, 'database' | 'data' | 'now' | 'notify' | 'log'> {
  store: RunStore;
  stages: Record<Stage, StageWork>;
  jobs: AllJobs;
  /** Pause between two looks for runs, which is when labels are counted. */
  pollMs?: number;
}

export function createRunDriver(deps: RunDriverDeps) {
  const { database, store, stages, jobs, now, notify, log, pollMs = 2000 } = deps;
  const stopping = new AbortController();
  const bell = createBell();
  /** The run that is carried on; `ending` is aborted when it is cancelled and when this driver stops. */
  let active: { id: string; ending: AbortController } | undefined;
  let running: Promise<void> = Promise.resolve();

  function stop(): void {
    stopping.abort();
    active?.ending.abort();
  }

  async function carry(id: string): Promise<void> {
    const ending = new AbortController();
    active = { id, ending };
    const onWritten = () => notify({ type: 'run', id, state: 'progress' });
    const recorder = await createRunRecorder({ database, store, now, onWritten }, id);
    try {
      let run = await advance(deps, id, { event: { kind: 'turn', enoughLabels: true } });
      while (!hasEnded(run.state) && !stopping.signal.aborted) run = await step(run, recorder, ending.signal);
      if (!hasEnded(run.state)) return;
      recorder.line(`the run has ended: ${run.state.status}${run.error === null ? '' : `: ${run.error}`}`);
      log.info({ run: id, status: run.state.status, error: run.error }, 'a training run has ended');
      await jobs.discard(id);
    } finally {
      active = undefined;
      await recorder.close();
    }
  }

  async function step(run: StoredRun, recorder: RunRecorder, signal: AbortSignal): Promise<StoredRun> {
    const { id, state } = run;
    const { stage } = state;
    if (run.cancelRequested || stage === 'queued' || stage === 'done')
      return advance(deps, id, { event: { kind: 'cancelled' } });
    let result: StageResult;
    try {
      result = await stages[stage]({ run, recorder, signal });
      await recorder.flush();
    } catch (error) {
      if (stopping.signal.aborted) return run; // The next driver does the stage again.
      await recorder.flush();
      if (signal.aborted) return advance(deps, id, { event: { kind: 'cancelled' } });
      // Not the run's fault: the stage is done again when there is room.
      if (isStorageFailure(error)) throw error;
      if (!(error instanceof AppError)) log.error({ err: error, run: id, stage }, 'a training run failed');
      return advance(deps, id, { event: { kind: 'failed' }, change: { error: `${stage}: ${messageOf(error)}` } });
    }
    return advance(deps, id, result);
  }

  async function loop(): Promise<void> {
    let recovered = false;
    while (!stopping.signal.aborted) {
      await database.writable(stopping.signal);
      bell.answer();
      try {
        if (!recovered) await jobs.recover((await store.open(database.read)).map((run) => run.id));
        recovered = true;
        const run = await nextRun(deps);
        if (run !== undefined) {
          await carry(run.id);
          continue;
        }
      } catch (error) {
        log.error({ err: error }, 'the training runner failed and tries again');
      }
      await bell.rest(pollMs, stopping.signal);
    }
  }

  return {
    start(signal: AbortSignal): void {
      signal.addEventListener('abort', stop, { once: true });
      if (signal.aborted) stop();
      running = loop();
    },

    /** Looks for runs at once. */
    wake: bell.ring,

    /** Ends what the run is doing, after its cancellation was written down. */
    interrupt(id: string): void {
      if (active?.id === id) active.ending.abort();
    },

    /** Stops a trainer that is running and resolves when it is gone; its run goes on after the next start. */
    async close(): Promise<void> {
      stop();
      await running;
    },
  };
}

/** A run whose turn it is: one that was begun, else the oldest that has the labels it waits for. */
async function nextRun(deps: RunDriverDeps): Promise<StoredRun | undefined> {
  const open = await deps.store.open(deps.database.read);
  const begun = open.find((run) => run.state.status === 'running');
  if (begun !== undefined) return begun;
  for (const run of open) {
    if (await hasLabels(deps, run)) return run;
    const waits = { kind: 'turn', enoughLabels: false } as const;
    if (run.state.status === 'queued') await advance(deps, run.id, { event: waits });
  }
  return undefined;
}

/** Writes down what an event makes of a run, with what was found out, and gives the run as it is then. */
async function advance(
  { database, store, now, notify }: RunDriverDeps,
  id: string,
  { event, change = {} }: { event: RunEvent; change?: RunChange },
): Promise<StoredRun> {
  const after = await database.transact(async (tx) => {
    const run = await store.known(tx, id);
    const state = settle(run, next(run.state, event));
    if (state === run.state) return run;
    const at = now();
    const startedAt = run.startedAt ?? (state.status === 'running' ? at : null);
    await store.update(tx, id, { ...change, ...state, startedAt, endedAt: hasEnded(state) ? at : null });
    if (hasEnded(state)) {
      const end = { status: state.status, error: change.error ?? null };
      const about = { actor: 'system', action: 'run.end', subject: `run/${id}` };
      await recordAudit(database.tables, tx, { at, ...about, after: end });
    }
    return store.known(tx, id);
  });
  notify({ type: 'run', id, state: wordFor(after.state) });
  return after;
}

/** A run that should be cancelled begins nothing any more. */
function settle(run: StoredRun, state: RunState): RunState {
  return run.cancelRequested && state.status === 'running' ? next(state, { kind: 'cancelled' }) : state;
}

async function hasLabels({ data }: RunDriverDeps, { cause, model, spec }: StoredRun): Promise<boolean> {
  if (cause.kind === 'manual') return true;
  return (await data.labelledSince(model, cause.since)) >= spec.trigger.minLabels;
}
