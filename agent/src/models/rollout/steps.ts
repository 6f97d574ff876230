// The steps of a rollout on this device: fetching, verifying, proving and tuning, loading, and watching a version in its
// probation. What comes next is decided in `transitions.ts`.
import { performance } from 'node:perf_hooks';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { DesiredModel } from '@edgeloop/shared/messages';
import { pause } from '@edgeloop/shared/node/backoff';
import { withDeadline } from '@edgeloop/shared/node/deadline';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import { Unreached } from '../../identity/device-port.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import type { ServingProcesses } from '../../process/serving-processes.ts';
import { DamagedFile, failureOf, isModelsDoing } from '../failure.ts';
import { isAboutModel } from '../held-versions.ts';
import type { ModelStore } from '../store.ts';
import type { Proof } from '../trying/prove.ts';
import { type FetchSource, fetchModel, NotEnrolled, variantsHere, verifyModel } from './fetch.ts';
import { type Found, type ModelEvent, type ModelState, releasesToKeep, type Step } from './model-state.ts';
import { quickest, type Tried } from './quickest.ts';
import { type Counts, isFailing, isFailingWithFew, type Tally } from './tally.ts';
import { NoVariantFits } from './variant-choice.ts';

export interface StepOptions {
  store: ModelStore;
  serving: Pick<ServingProcesses, 'up'>;
  /** Loads a version beside what answers, then lets it answer unless `signal` aborted meanwhile. */
  admit(target: DesiredModel, signal: AbortSignal): Promise<void>;
  tally: Tally;
  /** Where releases come from. */
  source(): Omit<FetchSource, 'store'>;
  /** What is on disk, checked. @throws DamagedFile */
  filesOf(target: DesiredModel, variant?: string): Promise<ModelFiles>;
  /**
   * What is wrong with it, if anything, and what was measured; `measure` asks for that whether it has bounds or not.
   * @throws AppError for what is not the model's doing
   */
  prove(model: ModelFiles, signal: AbortSignal, measure: boolean): Promise<Proof | undefined>;
  /** Measures how a model file runs best here, once per file. */
  tune(model: ModelFiles, signal: AbortSignal): Promise<void>;
  probationMs: number;
  /** Bound on steps that have none of their own; a quarter of an hour when unset. */
  deadlineMs?: number;
  /**
   * Runs its golden samples again where it answers. Unset: nothing is run again.
   * @throws AppError `model_rejected` when one does not reproduce
   */
  rerunGolden?(target: DesiredModel): Promise<void>;
  log: Logger;
}

export interface StepContext {
  state: ModelState;
  /** Tries of this step that have failed in a row. */
  failures: number;
  signal: AbortSignal;
  /** Whose files stay on disk, where that is not the state's own model. */
  keeping?: ModelState;
  /** Loads it in another way. */
  admit?: () => Promise<void>;
}

/** Of verifying, of loading and beginning to answer, and of looking again at the end of a probation. */
const stepMs = 15 * 60_000;
const watchEveryMs = 100;
const triesForMissing = 5;

export class Steps {
  readonly #options: StepOptions;
  /** A proof takes the memory of a whole model. */
  readonly #proving = createTurn();
  /** By release: since when it is fetched, or the last try ended. */
  readonly #fetching = new Map<string, number>();
  /** Releases of which something came in the present try. */
  readonly #came = new Set<string>();

  constructor(options: StepOptions) {
    this.#options = options;
  }

  /** The outcome of a step; undefined asks for another try. */
  async perform(step: Step, context: StepContext): Promise<ModelEvent | undefined> {
    const target = context.state.candidate?.target;
    if (target === undefined) return undefined;
    const deadlineMs = this.#deadlineOf(step);
    let bounded = context.signal;
    try {
      if (deadlineMs === undefined) return await this.#perform(step, target, context);
      return await withDeadline(deadlineMs, context.signal, (signal) => {
        bounded = signal;
        return this.#perform(step, target, { ...context, signal });
      });
    } catch (thrown) {
      if (context.signal.aborted) return undefined;
      const late = `the step "${step}" did not end within ${(deadlineMs ?? 0) / 1000} s`;
      const error = bounded.aborted ? new AppError('unavailable', late, { cause: thrown }) : thrown;
      const stalledMs = step === 'fetch' ? this.#stalledMs(target, error) : undefined;
      const outcome = outcomeOf(error, { step, target, failures: context.failures, stalledMs });
      if (outcome?.kind !== 'failed')
        this.#options.log.warn({ model: target.name, step, reason: messageOf(error) }, 'a step is tried again');
      return outcome;
    }
  }

  /** Fetching has a bound on the time without progress instead, and proving the bounds of its process. */
  #deadlineOf(step: Step): number | undefined {
    const { probationMs, deadlineMs = stepMs } = this.#options;
    if (step === 'fetch' || step === 'prove' || step === 'rest') return undefined;
    return deadlineMs + (step === 'watch' ? probationMs : 0);
  }

  /** Time without anything new; 0 when something came in this try, undefined when nobody was there to ask. */
  #stalledMs({ release }: DesiredModel, error: unknown): number | undefined {
    const now = performance.now();
    const sinceMs = this.#fetching.get(release) ?? now;
    const came = this.#came.delete(release);
    this.#fetching.set(release, now);
    if (error instanceof Unreached || error instanceof NotEnrolled) return undefined;
    return came ? 0 : Math.max(1, now - sinceMs);
  }

  async #perform(
    step: Step,
    target: DesiredModel,
    { state, signal, keeping = state, admit = () => this.#options.admit(target, signal) }: StepContext,
  ): Promise<ModelEvent | undefined> {
    switch (step) {
      case 'fetch':
        return this.#fetch(target, keeping, signal);
      case 'verify':
        await verifyModel(this.#source(), target, signal);
        return { kind: 'verified' };
      case 'prove':
        return this.#prove(target, signal);
      case 'load':
        await this.#options.serving.up(signal);
        await admit();
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
    const { release } = target;
    if (!this.#fetching.has(release)) this.#fetching.set(release, performance.now());
    const onProgress = () => void this.#came.add(release);
    try {
      await fetchModel(this.#source(), target, { keep, signal, onProgress });
    } catch (error) {
      if (failureOf(error).code !== 'insufficient_storage') throw error;
      const removed = await this.#options.store.collect(target.name, kept, 0);
      if (removed.length === 0) throw error;
      await fetchModel(this.#source(), target, { keep, signal, onProgress });
    }
    this.#fetching.delete(release);
    this.#came.delete(release);
    return { kind: 'fetched', ...this.#chosen(target) };
  }

  #chosen(target: DesiredModel): { found?: Found } {
    const choice = this.#options.store.choiceOf(target);
    return choice === undefined ? {} : { found: { variant: choice.variant, variantWhy: choice.why } };
  }

  #source(): FetchSource {
    return { ...this.#options.source(), store: this.#options.store };
  }

  async #prove(target: DesiredModel, signal: AbortSignal): Promise<ModelEvent> {
    const { tune, filesOf } = this.#options;
    return this.#proving.run(async () => {
      const { failure, measured } = await this.#proveVariants(target, signal);
      if (failure !== undefined) return { kind: 'failed', error: failure };
      await tune(await filesOf(target), signal);
      const found = { ...this.#chosen(target).found, ...(measured === undefined ? {} : { measured }) };
      return { kind: 'proved', ...(Object.keys(found).length === 0 ? {} : { found }) };
    });
  }

  /** Of several that may run here, each is measured and the quickest is kept. */
  async #proveVariants(target: DesiredModel, signal: AbortSignal): Promise<Proof> {
    const { prove, filesOf, store, log } = this.#options;
    const wanted = await variantsHere(this.#source(), target);
    const isMeasured = wanted.length > 1;
    const tried: Tried[] = [];
    for (const name of wanted) {
      const files = await filesOf(target, isMeasured ? name : undefined);
      tried.push({ name, proof: (await prove(files, signal, isMeasured)) ?? {} });
    }
    if (!isMeasured) return tried[0]?.proof ?? {};
    const { proof, choice } = quickest(tried);
    log.info({ model: target.name, version: target.version, ...choice }, 'measured the variants here');
    if (choice !== undefined) await store.choose(target, choice);
    return proof;
  }

  async #watch(target: DesiredModel, signal: AbortSignal): Promise<ModelEvent | undefined> {
    const { name, version, release } = target;
    const { tally, serving, probationMs } = this.#options;
    const until = performance.now() + probationMs;
    while (await pause(watchEveryMs, signal)) {
      const counts = tally.of({ name, version, release });
      const total = counts.succeeded + counts.failed;
      if (isFailing(counts))
        return { kind: 'failed', error: { code: 'model_rejected', message: failingMessage(counts.failed, total) } };
      if (performance.now() < until) continue;
      await serving.up(signal);
      return this.#lastLook(target, counts);
    }
    return undefined;
  }

  /** Few requests say little of a version: the ones that there were, and its golden samples once more where it answers. */
  async #lastLook(target: DesiredModel, counts: Counts): Promise<ModelEvent> {
    const { failed, succeeded } = counts;
    if (isFailingWithFew(counts))
      return { kind: 'failed', error: { code: 'model_rejected', message: failingMessage(failed, succeeded + failed) } };
    try {
      await this.#options.rerunGolden?.(target);
    } catch (error) {
      if (!isModelsDoing(error)) throw error;
      const message = `at the end of its probation, ${messageOf(error)}`;
      return { kind: 'failed', error: { code: 'model_rejected', message, kind: 'golden' } };
    }
    return { kind: 'endured' };
  }
}

/** What a step that ended with an error means for the candidate. Only what the model or its release did is held against it. */
function outcomeOf(
  error: unknown,
  {
    step,
    target,
    failures,
    stalledMs,
  }: { step: Step; target: DesiredModel; failures: number; stalledMs?: number | undefined },
): ModelEvent | undefined {
  const failure = failureOf(error);
  if (error instanceof DamagedFile && step !== 'fetch')
    return { kind: 'damaged', release: target.release, error: failure };
  if (step === 'fetch') {
    const isMissing = failure.code === 'not_found' && failures >= triesForMissing;
    const isFinal = failure.code === 'integrity' || error instanceof NoVariantFits || isMissing;
    return isFinal && !(error instanceof DamagedFile)
      ? { kind: 'failed', error: failure }
      : { kind: 'delayed', error: failure, ...(stalledMs === undefined ? {} : { stalledMs }) };
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
