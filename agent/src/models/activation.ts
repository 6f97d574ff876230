// Drives every model to what is desired: performs the step that its state asks for, writes the outcome to disk, looks
// again. All decisions are in `reconcile.ts`.
import { performance } from 'node:perf_hooks';
import { AppError, type ErrorCode, messageOf } from '@edgeloop/shared/errors';
import type { Desired, ModelReport } from '@edgeloop/shared/messages';
import type { Logger } from 'pino';
import { backoffMs, pause } from '../backoff.ts';
import type { KnownModel, ModelFiles, ServingCounts, Tuning } from '../ipc.ts';
import type { Death, Suspect } from '../serving-process.ts';
import { type FetchSource, fetchModel, verifyModel } from './fetch.ts';
import { createHeldVersions, isAboutModel, type Serving } from './held-versions.ts';
import type { Accused, Quarantine } from './quarantine.ts';
import {
  type Failure,
  type ModelEvent,
  type ModelState,
  newModelState,
  next,
  reportOf,
  type Step,
  stepOf,
  versionsToHold,
  versionsToKeep,
} from './reconcile.ts';
import type { StateStore } from './state-store.ts';
import type { ModelStore } from './store.ts';
import { createTally, isFailing } from './tally.ts';
import { unknownModels } from './unknown-models.ts';

export interface ActivationOptions {
  states: StateStore;
  store: ModelStore;
  serving: Serving;
  /** Where releases come from; undefined before the device is enrolled. */
  source(): FetchSource | undefined;
  prove(model: ModelFiles, signal: AbortSignal): Promise<Failure | undefined>;
  /** How a model file is known to run best here. */
  tuningOf(digest: string): Tuning | undefined;
  /** Measures that, once per file. */
  tune(model: ModelFiles, signal: AbortSignal): Promise<void>;
  quarantine: Quarantine;
  probationMs: number;
  log: Logger;
  /** Something that is reported has changed. */
  onChange(): void;
}

export interface Activation {
  /** Reads the states; `cleanStop` false counts unfinished attempts. */
  start(signal: AbortSignal, cleanStop: boolean): Promise<void>;
  setDesired(desired: Desired): void;
  /** Brings a fresh serving process to what was active. */
  restore(): Promise<void>;
  servingDied(death: Death): void;
  /** The own process of a model died; the serving process goes on. */
  modelDied(suspect: Suspect, detail: string): void;
  update(counts: readonly ServingCounts[]): void;
  report(): ModelReport[];
  close(): Promise<void>;
}

const retry = { firstMs: 500, mostMs: 60_000 };
const watchEveryMs = 100;
/** What no later try can change; everything else may be mended by the control plane or the network. */
const finalInFetching: readonly ErrorCode[] = ['integrity', 'insufficient_storage'];
const triesForMissing = 5;

export function createActivation(options: ActivationOptions): Activation {
  const { states: disk, store, serving, log } = options;
  const states = new Map<string, ModelState>();
  const attempts = new Map<string, AbortController>();
  const drivers = new Map<string, Promise<void>>();
  const held = createHeldVersions({ serving, filesOf, log });
  const tally = createTally();
  let stop = AbortSignal.abort();
  let proving: Promise<unknown> = Promise.resolve();
  /** Models that may have ended the last serving process: the next one gets them after all others. */
  let suspected = new Set<string>();

  const stateOf = (name: string) => states.get(name) ?? newModelState(name);

  function apply(name: string, event: ModelEvent): void {
    const before = stateOf(name);
    const after = next(before, event, Date.now());
    if (after === before) return;
    states.set(name, after);
    disk.save(after);
    const attempt = (state: ModelState) => JSON.stringify([state.candidate?.target, stepOf(state)]);
    if (attempt(before) !== attempt(after)) attempts.get(name)?.abort();
    if (JSON.stringify(reportOf(before)) !== JSON.stringify(reportOf(after))) {
      log.info({ event: event.kind, ...reportOf(after) }, 'model state');
      options.onChange();
      tellKnown();
    }
    if (versionsToHold(before).join() !== versionsToHold(after).join()) void align(name);
    if (event.kind === 'activated') tally.forget(name, after.active?.version ?? 0);
    if (after.candidate === null || after.candidate.state === 'failed') void tidy(name);
    drive(name);
  }

  function tellKnown(): void {
    serving.tell([...states.values()].flatMap(knownOf));
  }

  async function filesOf(name: string, version: number): Promise<ModelFiles> {
    const files = await store.modelFiles(name, version);
    const tuning = files.digest === undefined ? undefined : options.tuningOf(files.digest);
    return tuning === undefined ? files : { ...files, tuning };
  }

  function lost(name: string, error: unknown): void {
    if (stop.aborted) return; // The database is about to be closed, the next start looks again.
    log.error({ model: name, reason: messageOf(error) }, 'the active version cannot be loaded');
    apply(name, { kind: 'lost', error: failureOf(error) });
  }

  async function align(name: string): Promise<void> {
    try {
      await held.align(name, () => stateOf(name));
    } catch (error) {
      if (isAboutModel(error)) lost(name, error);
      // Otherwise the process is being started again, which aligns all.
    }
  }

  /** Quarantines what died too often. */
  function judge(accused: readonly Accused[], detail: string): void {
    const guilty = options.quarantine.blame(accused, detail);
    if (guilty === undefined) return;
    const { name, version, error } = guilty;
    log.error({ model: name, version, reason: error.message }, 'a model version is quarantined');
    suspected.delete(name);
    apply(name, { kind: 'quarantined', version, error });
  }

  function accusedOf({ name, version }: Suspect): Accused[] {
    const digest = held.digestOf(name, version);
    if (digest === undefined) return [];
    const { candidate, desired } = stateOf(name);
    const target = [candidate?.target, desired].find((each) => each?.version === version);
    return [{ name, version, digest, word: target?.rolloutId ?? '', succeeded: tally.of(name, version).succeeded }];
  }

  async function tidy(name: string): Promise<void> {
    const state = stateOf(name);
    try {
      if (state.desired === null) {
        await held.align(name, () => stateOf(name)).catch(() => undefined);
        if (stateOf(name).desired !== null) return;
        states.delete(name);
        disk.remove(name);
        await store.removeModel(name);
        return;
      }
      const keep = versionsToKeep(state);
      const { candidate } = state;
      const failed = candidate?.state === 'failed' && !keep.includes(candidate.target.version);
      if (failed) await store.remove(name, candidate.target.version);
      await store.collect(name, keep, 1);
    } catch (error) {
      log.warn({ model: name, reason: messageOf(error) }, 'old versions could not be removed');
    }
  }

  function drive(name: string): void {
    if (drivers.has(name) || stop.aborted || stepOf(stateOf(name)) === 'rest') return;
    const driver = driveOn(name)
      .catch((error: unknown) => log.error({ err: error, model: name }, 'a step ended unexpectedly'))
      .finally(() => {
        drivers.delete(name);
        drive(name);
      });
    drivers.set(name, driver);
  }

  async function driveOn(name: string): Promise<void> {
    for (let failures = 0; !stop.aborted; ) {
      const step = stepOf(stateOf(name));
      if (step === 'rest') return;
      const attempt = new AbortController();
      attempts.set(name, attempt);
      const signal = AbortSignal.any([stop, attempt.signal]);
      const event = await perform(step, stateOf(name), failures, signal);
      // A candidate that was superseded while it was loaded must not stay.
      if (signal.aborted && step === 'load' && !stop.aborted) await align(name);
      if (signal.aborted) failures = 0;
      else if (event === undefined || event.kind === 'delayed') failures += 1;
      else failures = 0;
      if (event !== undefined && !signal.aborted) apply(name, event);
      if (failures > 0) await pause(backoffMs(failures, retry), signal);
    }
  }

  /** The outcome of one step; undefined asks for another try. */
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
    const proof = proving.then(async () => {
      const failure = await options.prove(files, signal);
      if (failure === undefined) await options.tune(files, signal);
      return failure;
    });
    proving = proof.catch(() => undefined);
    const failure = await proof;
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

  return {
    async start(signal, cleanStop) {
      for (const state of disk.load()) states.set(state.name, state);
      for (const state of await unknownModels(store, new Set(states.keys()))) {
        log.warn({ model: state.name, ...state.active }, 'a model without a state was found on disk and is served');
        states.set(state.name, state);
        disk.save(state);
      }
      stop = signal;
      for (const name of [...states.keys()]) {
        if (!cleanStop) apply(name, { kind: 'rebooted' });
        drive(name);
      }
    },
    setDesired(desired) {
      const wanted = new Map(desired.models.map((model) => [model.name, model]));
      for (const name of new Set([...states.keys(), ...wanted.keys()]))
        apply(name, { kind: 'desired', model: wanted.get(name) ?? null });
    },
    async restore() {
      held.reset();
      tellKnown();
      const late = [...suspected];
      const first = [...states.keys()].filter((name) => !suspected.has(name));
      suspected = new Set();
      await held.alignAll(first, stateOf, lost);
      // Nobody waits for what may end this process, too.
      for (const name of late) void align(name);
    },
    servingDied({ crashed, detail, suspects }) {
      const accused = suspects.flatMap(accusedOf);
      held.reset();
      tally.restarted();
      suspected = new Set(suspects.map(({ name }) => name));
      judge(accused, detail);
      for (const { name, active, candidate } of [...states.values()]) {
        const here = [active?.version, candidate?.target.version];
        const mayBe = suspects.some((each) => each.name === name && here.includes(each.version));
        if (suspects.length > 0 && !mayBe) continue;
        const served = active !== null && tally.of(name, active.version).succeeded > 0;
        apply(name, { kind: 'died', crashed, served, detail });
      }
    },
    modelDied(suspect, detail) {
      const { name, version } = suspect;
      const { active } = stateOf(name);
      const served = active?.version === version && tally.of(name, version).succeeded > 0;
      judge(accusedOf(suspect), detail);
      apply(name, { kind: 'died', crashed: true, served, detail });
      void align(name);
    },
    update: (counts) => tally.update(counts),
    report: () =>
      [...states.values()].filter(({ desired, active }) => desired !== null || active !== null).map(reportOf),
    async close() {
      await Promise.all(drivers.values());
    },
  };
}

/** What is known of a model beside what the serving process holds; it leaves out what it has loaded. */
function knownOf({ name, active, candidate }: ModelState): KnownModel[] {
  const coming = { name, state: 'LOADING' as const, reason: 'it is being loaded' };
  const answering = active === null ? [] : [{ ...coming, version: active.version }];
  if (candidate === null || candidate.target.version === active?.version) return answering;
  const { version } = candidate.target;
  if (candidate.state !== 'failed') return [...answering, { ...coming, version, reason: `it is ${candidate.state}` }];
  return [...answering, { name, version, state: 'UNAVAILABLE', reason: candidate.error.message }];
}

function failingMessage(failed: number, total: number): string {
  return `${failed} of ${total} requests failed in its probation`;
}

function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}
