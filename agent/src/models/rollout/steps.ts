// The steps of an activation: fetching, verifying, proving and tuning, loading, and watching a version in its probation. What
// comes next is decided in `model-state.ts`.

import { performance } from 'node:perf_hooks';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import { pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { ModelFiles } from '../../process/ipc.ts';
import { type HeldVersions, isAboutModel, type Serving } from '../held-versions.ts';
import type { ModelStore } from '../store.ts';
import { type FetchSource, fetchModel, verifyModel } from './fetch.ts';
import { type Failure, type ModelEvent, type ModelState, type Step, versionsToKeep } from './model-state.ts';
import { isFailing, type Tally } from './tally.ts';

export interface StepOptions {
  store: ModelStore;
  serving: Serving;
  held: HeldVersions;
  tally: Tally;
  /** Where releases come from; undefined before the device is enrolled. */
  source(): FetchSource | undefined;
  prove(model: ModelFiles, signal: AbortSignal): Promise<Failure | undefined>;
  /** Measures how a model file runs best here, once per file. */
  tune(model: ModelFiles, signal: AbortSignal): Promise<void>;
  probationMs: number;
  log: Logger;
}

/** Performs a step. Its outcome; undefined asks for another try, of which `failures` have failed in a row. */
export type PerformStep = (
  step: Step,
  state: ModelState,
  failures: number,
  signal: AbortSignal,
) => Promise<ModelEvent | undefined>;

const watchEveryMs = 100;
/** What no later try can change; everything else may be mended by the control plane or the network. */
const finalInFetching: readonly ErrorCode[] = ['integrity', 'insufficient_storage'];
const triesForMissing = 5;

export function createSteps(options: StepOptions): PerformStep {
  const { store, serving, held, tally, log } = options;
  const proving = createTurn();

  async function perform(
    step: Step,
    state: ModelState,
    failures: number,
    signal: AbortSignal,
  ): Promise<ModelEvent | undefined> {
    const target = state.candidate?.target;
    if (target === undefined) return undefined;
    try {
      switch (step) {
        case 'fetch':
          return await fetchStep(state, signal);
        case 'verify':
          await verifyModel(requireSource(), target);
          return { kind: 'verified' };
        case 'prove':
          return await proveStep(target.name, target.version, signal);
        case 'load':
          await serving.up(signal);
          await held.admit(target.name, target.version, signal);
          return { kind: 'activated' };
        case 'watch':
          return await watchStep(target.name, target.version, signal);
        case 'rest':
          return undefined;
      }
    } catch (error) {
      if (signal.aborted) return undefined;
      return outcomeOf(error, step, failures);
    }
  }

  function outcomeOf(error: unknown, step: Step, failures: number): ModelEvent | undefined {
    const code = error instanceof AppError ? error.code : 'internal';
    const final = finalInFetching.includes(code) || (code === 'not_found' && failures >= triesForMissing);
    if (step === 'fetch' && !final) {
      log.warn({ reason: messageOf(error) }, 'fetching is delayed');
      return { kind: 'delayed', error: failureOf(error) };
    }
    // A death while loading is judged by `servingDied`.
    if (step === 'load' && !isAboutModel(error)) return undefined;
    return { kind: 'failed', error: failureOf(error) };
  }

  async function fetchStep(state: ModelState, signal: AbortSignal): Promise<ModelEvent> {
    const target = state.candidate?.target;
    if (target === undefined) return { kind: 'fetched' };
    try {
      await fetchModel(requireSource(), target, signal);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'insufficient_storage') throw error;
      const removed = await store.collect(target.name, versionsToKeep(state), 0);
      if (removed.length === 0) throw error;
      await fetchModel(requireSource(), target, signal);
    }
    return { kind: 'fetched' };
  }

  function requireSource(): FetchSource {
    const source = options.source();
    if (source === undefined) throw new AppError('unavailable', 'the device is not enrolled yet');
    return source;
  }

  async function proveStep(name: string, version: number, signal: AbortSignal): Promise<ModelEvent> {
    const files = await store.modelFiles(name, version);
    const failure = await proving.run(async () => {
      const found = await options.prove(files, signal);
      if (found === undefined) await options.tune(files, signal);
      return found;
    });
    return failure === undefined ? { kind: 'proved' } : { kind: 'failed', error: failure };
  }

  async function watchStep(name: string, version: number, signal: AbortSignal): Promise<ModelEvent | undefined> {
    const until = performance.now() + options.probationMs;
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

  return perform;
}

function failingMessage(failed: number, total: number): string {
  return `${failed} of ${total} requests failed in its probation`;
}

export function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}
