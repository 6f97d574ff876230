// Drives every model to what is desired: performs the step that its state asks for, writes the outcome to disk, looks
// again. All decisions are in `model-state.ts`.
//
// INVARIANTS
// - A state is on disk before what it announces is done.
// - One loop performs a model's steps. What a superseded step comes to is dropped.

import { messageOf } from '@edgeloop/shared/errors';
import type { Desired, ModelReport } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Death, Suspect } from '../../process/death.ts';
import type { ModelFiles, ServingCounts, Tuning } from '../../process/ipc.ts';
import type { ServingProcess } from '../../process/serving-process.ts';
import { failureOf } from '../failure.ts';
import { HeldVersions, isAboutModel, type Plan, type VersionFailure, type WantedVersion } from '../held-versions.ts';
import type { ModelStore } from '../store.ts';
import type { Accused, Quarantine } from '../trying/quarantine.ts';
import {
  type ModelEvent,
  type ModelState,
  newModelState,
  next,
  stepOf,
  versionsToHold,
  versionsToKeep,
} from './model-state.ts';
import { knownOf, reportOf } from './report.ts';
import type { StateStore } from './state-store.ts';
import { type StepOptions, Steps } from './steps.ts';
import { createTally } from './tally.ts';
import { unknownModels } from './unknown-models.ts';

export interface ModelDriverOptions extends Omit<StepOptions, 'serving' | 'admit' | 'tally'> {
  states: StateStore;
  serving: Pick<ServingProcess, 'load' | 'activate' | 'unload' | 'up' | 'tell'>;
  /** How a model file is known to run best here. */
  tuningOf(digest: string): Tuning | undefined;
  quarantine: Quarantine;
  /** Something that is reported has changed. */
  onChange(): void;
}

const retry = { firstMs: 500, mostMs: 60_000 };

export class ModelDriver {
  readonly #options: ModelDriverOptions;
  readonly #held: HeldVersions;
  readonly #tally = createTally();
  readonly #steps: Steps;
  readonly #states = new Map<string, ModelState>();
  /** Ends the step that is being performed for a model. */
  readonly #attempts = new Map<string, AbortController>();
  readonly #loops = new Map<string, Promise<void>>();
  /** Models that may have ended the last serving process: the next one gets them after all others. */
  #suspected = new Set<string>();
  #stop = AbortSignal.abort();

  constructor(options: ModelDriverOptions) {
    this.#options = options;
    this.#held = new HeldVersions({ serving: options.serving, oneAtATime: true, log: options.log });
    this.#steps = new Steps({
      ...options,
      tally: this.#tally,
      admit: (name, version, signal) => this.#held.admit(name, this.#wanted(name, version), signal),
    });
  }

  /** Reads the states; `cleanStop` false counts unfinished attempts. */
  async start(signal: AbortSignal, cleanStop: boolean): Promise<void> {
    const { states, store, log } = this.#options;
    for (const state of states.load()) this.#states.set(state.name, state);
    for (const state of await unknownModels(store, new Set(this.#states.keys()))) {
      log.warn({ model: state.name, ...state.active }, 'a model without a state was found on disk and is served');
      this.#states.set(state.name, state);
      states.save(state);
    }
    this.#stop = signal;
    signal.addEventListener('abort', () => this.#endAttempts(), { once: true });
    for (const name of [...this.#states.keys()]) {
      if (!cleanStop) this.#apply(name, { kind: 'rebooted' });
      this.#drive(name);
    }
  }

  setDesired(desired: Desired): void {
    const wanted = new Map(desired.models.map((model) => [model.name, model]));
    for (const name of new Set([...this.#states.keys(), ...wanted.keys()]))
      this.#apply(name, { kind: 'desired', model: wanted.get(name) ?? null });
  }

  /** Brings a fresh serving process to what was active. @throws ServingGone */
  async restore(): Promise<void> {
    this.#held.reset();
    this.#tellKnown();
    const late = [...this.#suspected];
    const first = [...this.#states.keys()].filter((name) => !this.#suspected.has(name));
    this.#suspected = new Set();
    await this.#held.alignAll(
      first,
      (name) => this.#planOf(name),
      (name, failed) => this.#aligned(name, failed),
    );
    // Nobody waits for what may end this process, too.
    for (const name of late) void this.#align(name);
  }

  servingDied({ crashed, detail, suspects }: Death): void {
    const accused = suspects.flatMap((suspect) => this.#accusedOf(suspect));
    this.#held.reset();
    this.#tally.restarted();
    this.#suspected = new Set(suspects.map(({ name }) => name));
    this.#judge(accused, detail);
    for (const { name, active, candidate } of [...this.#states.values()]) {
      const here = [active?.version, candidate?.target.version];
      const mayBe = suspects.some((each) => each.name === name && here.includes(each.version));
      if (suspects.length > 0 && !mayBe) continue;
      const served = active !== null && this.#tally.of(name, active.version).succeeded > 0;
      this.#apply(name, { kind: 'died', crashed, served, detail });
    }
  }

  /** The own process of a model died; the serving process goes on. */
  modelDied(suspect: Suspect, detail: string): void {
    const { name, version } = suspect;
    const { active } = this.#stateOf(name);
    const served = active?.version === version && this.#tally.of(name, version).succeeded > 0;
    this.#judge(this.#accusedOf(suspect), detail);
    this.#apply(name, { kind: 'died', crashed: true, served, detail });
    void this.#align(name);
  }

  update(counts: readonly ServingCounts[]): void {
    this.#tally.update(counts);
  }

  report(): ModelReport[] {
    const here = [...this.#states.values()].filter(({ desired, active }) => desired !== null || active !== null);
    return here.map(reportOf);
  }

  async close(): Promise<void> {
    await Promise.all(this.#loops.values());
  }

  #stateOf(name: string): ModelState {
    return this.#states.get(name) ?? newModelState(name);
  }

  #apply(name: string, event: ModelEvent): void {
    const before = this.#stateOf(name);
    const after = next(before, event, Date.now());
    if (after === before) return;
    this.#states.set(name, after);
    this.#options.states.save(after);
    if (attemptOf(before) !== attemptOf(after)) this.#attempts.get(name)?.abort();
    if (JSON.stringify(reportOf(before)) !== JSON.stringify(reportOf(after))) {
      this.#options.log.info({ event: event.kind, ...reportOf(after) }, 'model state');
      this.#options.onChange();
      this.#tellKnown();
    }
    if (versionsToHold(before).join() !== versionsToHold(after).join()) void this.#align(name);
    if (event.kind === 'activated') this.#tally.forget(name, after.active?.version ?? 0);
    if (after.candidate === null || after.candidate.state === 'failed') void this.#tidy(name);
    this.#drive(name);
  }

  #tellKnown(): void {
    this.#options.serving.tell([...this.#states.values()].flatMap(knownOf));
  }

  #planOf(name: string): Plan {
    const state = this.#stateOf(name);
    const hold = versionsToHold(state).map((version) => this.#wanted(name, version));
    return { hold, answers: state.active === null ? [] : [state.active.version] };
  }

  /** What one would fall back to may fail to load without harm to what answers. */
  #wanted(name: string, version: number): WantedVersion {
    const needed = this.#stateOf(name).active?.version === version;
    return { version, needed, files: () => this.#filesOf(name, version) };
  }

  async #filesOf(name: string, version: number): Promise<ModelFiles> {
    const files = await this.#options.store.modelFiles(name, version);
    const tuning = files.digest === undefined ? undefined : this.#options.tuningOf(files.digest);
    return tuning === undefined ? files : { ...files, tuning };
  }

  async #align(name: string): Promise<void> {
    try {
      this.#aligned(name, await this.#held.align(name, () => this.#planOf(name)));
    } catch (error) {
      if (isAboutModel(error)) throw error;
      // Otherwise the process is being started again, which aligns all.
    }
  }

  #aligned(name: string, failed: readonly VersionFailure[]): void {
    for (const { version, error } of failed) {
      if (version === this.#stateOf(name).active?.version) this.#lost(name, error);
      else {
        const about = { model: name, version, reason: messageOf(error) };
        this.#options.log.warn(about, 'the version to fall back to is not loaded');
      }
    }
  }

  #lost(name: string, error: unknown): void {
    if (this.#stop.aborted) return; // The database is about to be closed, the next start looks again.
    this.#options.log.error({ model: name, reason: messageOf(error) }, 'the active version cannot be loaded');
    this.#apply(name, { kind: 'lost', error: failureOf(error) });
  }

  /** Quarantines what died too often. */
  #judge(accused: readonly Accused[], detail: string): void {
    const guilty = this.#options.quarantine.blame(accused, detail);
    if (guilty === undefined) return;
    const { name, version, error } = guilty;
    this.#options.log.error({ model: name, version, reason: error.message }, 'a model version is quarantined');
    this.#suspected.delete(name);
    this.#apply(name, { kind: 'quarantined', version, error });
  }

  #accusedOf({ name, version }: Suspect): Accused[] {
    const digest = this.#held.digestOf(name, version);
    if (digest === undefined) return [];
    const { candidate, desired } = this.#stateOf(name);
    const target = [candidate?.target, desired].find((each) => each?.version === version);
    const { succeeded } = this.#tally.of(name, version);
    return [{ name, version, digest, word: target?.rolloutId ?? '', succeeded }];
  }

  /** Removes from disk what the state needs no more. */
  async #tidy(name: string): Promise<void> {
    const { store, log } = this.#options;
    try {
      if (this.#stateOf(name).desired === null) await this.#forget(name);
      else await tidyVersions(store, this.#stateOf(name));
    } catch (error) {
      log.warn({ model: name, reason: messageOf(error) }, 'old versions could not be removed');
    }
  }

  /** A model that is desired no more goes once the serving process has let go of it. */
  async #forget(name: string): Promise<void> {
    await this.#align(name);
    if (this.#stateOf(name).desired !== null) return;
    this.#states.delete(name);
    this.#options.states.remove(name);
    await this.#options.store.removeModel(name);
  }

  #drive(name: string): void {
    if (this.#loops.has(name) || this.#stop.aborted || stepOf(this.#stateOf(name)) === 'rest') return;
    const loop = this.#loop(name)
      .catch((error: unknown) => this.#options.log.error({ err: error, model: name }, 'a step ended unexpectedly'))
      .finally(() => {
        this.#loops.delete(name);
        this.#drive(name);
      });
    this.#loops.set(name, loop);
  }

  /** By hand: a signal made of two for every attempt would leave something on the one that lasts. */
  #endAttempts(): void {
    for (const attempt of this.#attempts.values()) attempt.abort();
  }

  async #loop(name: string): Promise<void> {
    for (let failures = 0; !this.#stop.aborted; ) {
      const state = this.#stateOf(name);
      const step = stepOf(state);
      if (step === 'rest') return;
      const attempt = new AbortController();
      this.#attempts.set(name, attempt);
      const { signal } = attempt;
      const event = await this.#steps.perform(step, { state, failures, signal });
      // A candidate that was superseded while it was loaded must not stay.
      if (signal.aborted && step === 'load' && !this.#stop.aborted) await this.#align(name);
      const goesOn = event === undefined || event.kind === 'delayed';
      failures = goesOn && !signal.aborted ? failures + 1 : 0;
      if (event !== undefined && !signal.aborted) this.#apply(name, event);
      if (failures > 0) await pause(backoffMs(failures, retry), signal);
    }
  }
}

/** What a loop works at: another attempt supersedes it. */
function attemptOf(state: ModelState): string {
  return JSON.stringify([state.candidate?.target, stepOf(state)]);
}

async function tidyVersions(store: ModelStore, state: ModelState): Promise<void> {
  const { name, candidate } = state;
  const keep = versionsToKeep(state);
  const failed = candidate?.state === 'failed' && !keep.includes(candidate.target.version);
  if (failed) await store.remove(name, candidate.target.version);
  await store.collect(name, keep, 1);
}
