// The steps of a rollout on this device: fetching, verifying, proving and tuning, loading, and watching a version in its
// probation. What comes next is decided in `transitions.ts`.
import { performance } from 'node:perf_hooks';
import { messageOf } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { ModelFiles } from '../../process/ipc.ts';
import type { ServingProcesses } from '../../process/serving-processes.ts';
import { DamagedFile, type Failure, failureOf, isModelsDoing } from '../failure.ts';
import { isAboutModel } from '../held-versions.ts';
import type { ModelStore } from '../store.ts';
import { type FetchSource, fetchModel, NotEnrolled, verifyModel } from './fetch.ts';
import { type ModelEvent, type ModelState, releasesToKeep, type Step } from './model-state.ts';
import { isFailing, type Tally } from './tally.ts';

export interface StepOptions {
  store: ModelStore;
  serving: Pick<ServingProcesses, 'up'>;
  /** Loads a version beside what answers, then lets it answer unless `signal` aborted meanwhile. */
  admit(target: DesiredModel, signal: AbortSignal): Promise<void>;
  tally: Tally;
  /** Where releases come from. */
  source(): Omit<FetchSource, 'store'>;
  /** What is on disk, checked. @throws DamagedFile */
  filesOf(target: DesiredModel): Promise<ModelFiles>;
  /** @throws AppError for what is not the model's doing */
  prove(model: ModelFiles, signal: AbortSignal): Promise<Failure | undefined>;
  /** Measures how a model file runs best here, once per file. */
  tune(model: ModelFiles, signal: AbortSignal): Promise<void>;
  probationMs: number;
  log: Logger;
}

export interface StepContext {
  state: ModelState;
  /** Tries of this step that have failed in a row. */
  failures: number;
  signal: AbortSignal;
}

const watchEveryMs = 100;
const triesForMissing = 5;

export class Steps {
  readonly #options: StepOptions;
  /** A proof takes the memory of a whole model. */
  readonly #proving = createTurn();

  constructor(options: StepOptions) {
    this.#options = options;
  }

  /** The outcome of a step; undefined asks for another try. */
  async perform(step: Step, context: StepContext): Promise<ModelEvent | undefined> {
    const target = context.state.candidate?.target;
    if (target === undefined) return undefined;
    try {
      return await this.#perform(step, target, context);
    } catch (error) {
      if (context.signal.aborted) return undefined;
      const outcome = outcomeOf(error, { step, target, failures: context.failures });
      if (outcome?.kind !== 'failed')
        this.#options.log.warn({ model: target.name, step, reason: messageOf(error) }, 'a step is tried again');
      return outcome;
    }
  }

  async #perform(step: Step, target: DesiredModel, { state, signal }: StepContext): Promise<ModelEvent | undefined> {
    switch (step) {
      case 'fetch':
        return this.#fetch(target, state, signal);
      case 'verify':
        await verifyModel(this.#source(), target, signal);
        return { kind: 'verified' };
      case 'prove':
        return this.#prove(target, signal);
      case 'load':
        await this.#options.serving.up(signal);
        await this.#options.admit(target, signal);
        return { kind: 'activated' };
      case 'watch':
        return this.#watch(target, signal);
      case 'rest':
        return undefined;
    }
  }

  async #fetch(target: DesiredModel, state: ModelState, signal: AbortSignal): Promise<ModelEvent> {
    const kept = releasesToKeep(state);
    const keep = kept.map(({ release }) => release);
    try {
      await fetchModel(this.#source(), target, { keep, signal });
    } catch (error) {
      if (failureOf(error).code !== 'insufficient_storage') throw error;
      const removed = await this.#options.store.collect(target.name, kept, 0);
      if (removed.length === 0) throw error;
      await fetchModel(this.#source(), target, { keep, signal });
    }
    return { kind: 'fetched' };
  }

  #source(): FetchSource {
    return { ...this.#options.source(), store: this.#options.store };
  }

  async #prove(target: DesiredModel, signal: AbortSignal): Promise<ModelEvent> {
    const { prove, tune, filesOf } = this.#options;
    const failure = await this.#proving.run(async () => {
      const files = await filesOf(target);
      const found = await prove(files, signal);
      if (found === undefined) await tune(files, signal);
      return found;
    });
    return failure === undefined ? { kind: 'proved' } : { kind: 'failed', error: failure };
  }

  async #watch({ name, version, release }: DesiredModel, signal: AbortSignal): Promise<ModelEvent | undefined> {
    const { tally, serving, probationMs } = this.#options;
    const until = performance.now() + probationMs;
    while (await pause(watchEveryMs, signal)) {
      const counts = tally.of({ name, version, release });
      const total = counts.succeeded + counts.failed;
      if (isFailing(counts))
        return { kind: 'failed', error: { code: 'model_rejected', message: failingMessage(counts.failed, total) } };
      if (performance.now() < until) continue;
      await serving.up(signal);
      return { kind: 'endured' };
    }
    return undefined;
  }
}

/** What a step that ended with an error means for the candidate. Only what the model or its release did is held against it. */
function outcomeOf(
  error: unknown,
  { step, target, failures }: { step: Step; target: DesiredModel; failures: number },
): ModelEvent | undefined {
  const failure = failureOf(error);
  if (error instanceof DamagedFile && step !== 'fetch')
    return { kind: 'damaged', release: target.release, error: failure };
  if (step === 'fetch') {
    const isFinal = failure.code === 'integrity' || (failure.code === 'not_found' && failures >= triesForMissing);
    return isFinal && !(error instanceof DamagedFile)
      ? { kind: 'failed', error: failure }
      : { kind: 'delayed', error: failure };
  }
  // A death while loading is judged by `servingDied`.
  if (step === 'load' && !isAboutModel(error)) return undefined;
  if (isModelsDoing(error)) return { kind: 'failed', error: failure };
  // Nobody has begun to try it while there is no fleet or no room; that may take days.
  const counts = !(error instanceof NotEnrolled) && failure.code !== 'insufficient_storage';
  return { kind: 'setback', error: failure, counts };
}

function failingMessage(failed: number, total: number): string {
  return `${failed} of ${total} requests failed in its probation`;
}
