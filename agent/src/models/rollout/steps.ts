// The steps of a rollout on this device: fetching, verifying, proving and tuning, loading, and watching a version in its
// probation. What comes next is decided in `model-state.ts`.
import { performance } from 'node:perf_hooks';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { ModelFiles } from '../../process/ipc.ts';
import type { ServingProcess } from '../../process/serving-process.ts';
import { type Failure, failureOf } from '../failure.ts';
import { isAboutModel } from '../held-versions.ts';
import type { ModelStore } from '../store.ts';
import { type FetchSource, fetchModel, verifyModel } from './fetch.ts';
import { type ModelEvent, type ModelState, type Step, versionsToKeep } from './model-state.ts';
import { isFailing, type Tally } from './tally.ts';

export interface StepOptions {
  store: ModelStore;
  serving: Pick<ServingProcess, 'up'>;
  /** Loads a version beside what answers, then lets it answer unless `signal` aborted meanwhile. */
  admit(name: string, version: number, signal: AbortSignal): Promise<void>;
  tally: Tally;
  /** Where releases come from; undefined before the device is enrolled. */
  source(): FetchSource | undefined;
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
/** What no later try can change; everything else may be mended by the control plane or the network. */
const finalInFetching: readonly ErrorCode[] = ['integrity', 'insufficient_storage'];
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
      const outcome = outcomeOf(error, step, context.failures);
      if (outcome?.kind === 'delayed') this.#options.log.warn({ reason: messageOf(error) }, 'fetching is delayed');
      return outcome;
    }
  }

  async #perform(step: Step, target: DesiredModel, { state, signal }: StepContext): Promise<ModelEvent | undefined> {
    switch (step) {
      case 'fetch':
        return this.#fetch(target, state, signal);
      case 'verify':
        await verifyModel(this.#source(), target);
        return { kind: 'verified' };
      case 'prove':
        return this.#prove(target, signal);
      case 'load':
        await this.#options.serving.up(signal);
        await this.#options.admit(target.name, target.version, signal);
        return { kind: 'activated' };
      case 'watch':
        return this.#watch(target, signal);
      case 'rest':
        return undefined;
    }
  }

  async #fetch(target: DesiredModel, state: ModelState, signal: AbortSignal): Promise<ModelEvent> {
    try {
      await fetchModel(this.#source(), target, signal);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'insufficient_storage') throw error;
      const removed = await this.#options.store.collect(target.name, versionsToKeep(state), 0);
      if (removed.length === 0) throw error;
      await fetchModel(this.#source(), target, signal);
    }
    return { kind: 'fetched' };
  }

  #source(): FetchSource {
    const source = this.#options.source();
    if (source === undefined) throw new AppError('unavailable', 'the device is not enrolled yet');
    return source;
  }

  async #prove({ name, version }: DesiredModel, signal: AbortSignal): Promise<ModelEvent> {
    const { store, prove, tune } = this.#options;
    const files = await store.modelFiles(name, version);
    const failure = await this.#proving.run(async () => {
      const found = await prove(files, signal);
      if (found === undefined) await tune(files, signal);
      return found;
    });
    return failure === undefined ? { kind: 'proved' } : { kind: 'failed', error: failure };
  }

  async #watch({ name, version }: DesiredModel, signal: AbortSignal): Promise<ModelEvent | undefined> {
    const { tally, serving, probationMs } = this.#options;
    const until = performance.now() + probationMs;
    while (await pause(watchEveryMs, signal)) {
      const counts = tally.of(name, version);
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

/** What a failed step means for the candidate. */
function outcomeOf(error: unknown, step: Step, failures: number): ModelEvent | undefined {
  const code = error instanceof AppError ? error.code : 'internal';
  const final = finalInFetching.includes(code) || (code === 'not_found' && failures >= triesForMissing);
  if (step === 'fetch' && !final) return { kind: 'delayed', error: failureOf(error) };
  // A death while loading is judged by `servingDied`.
  if (step === 'load' && !isAboutModel(error)) return undefined;
  return { kind: 'failed', error: failureOf(error) };
}

function failingMessage(failed: number, total: number): string {
  return `${failed} of ${total} requests failed in its probation`;
}
