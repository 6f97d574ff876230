// Drives every model to what is desired: performs the step that its state asks for, writes the outcome to disk, looks
// again. All decisions are in `model-state.ts`.
import { messageOf } from '@edgeloop/shared/errors';
import type { Desired, ModelReport } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { KnownModel, ModelFiles, ServingCounts, Tuning } from '../../process/ipc.ts';
import type { Death, Suspect } from '../../process/serving-process.ts';
import { createHeldVersions, isAboutModel } from '../held-versions.ts';
import type { Accused, Quarantine } from '../trying/quarantine.ts';
import {
  type ModelEvent,
  type ModelState,
  newModelState,
  next,
  reportOf,
  stepOf,
  versionsToHold,
  versionsToKeep,
} from './model-state.ts';
import type { StateStore } from './state-store.ts';
import { createSteps, failureOf, type StepOptions } from './steps.ts';
import { createTally } from './tally.ts';
import { unknownModels } from './unknown-models.ts';

export interface ActivationOptions extends Omit<StepOptions, 'held' | 'tally'> {
  states: StateStore;
  /** How a model file is known to run best here. */
  tuningOf(digest: string): Tuning | undefined;
  quarantine: Quarantine;
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

export function createActivation(options: ActivationOptions): Activation {
  const { states: disk, store, serving, log } = options;
  const states = new Map<string, ModelState>();
  const attempts = new Map<string, AbortController>();
  const drivers = new Map<string, Promise<void>>();
  const held = createHeldVersions({ serving, filesOf, log });
  const tally = createTally();
  const perform = createSteps({ ...options, held, tally });
  let stop = AbortSignal.abort();
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
