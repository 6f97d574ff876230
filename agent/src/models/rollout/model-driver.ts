// Drives every model to what is desired: performs the step that its state asks for, writes the outcome to disk, looks
// again. All decisions are in `transitions.ts`.
//
// INVARIANTS
// - A state is on disk before what it announces is done.
// - One loop performs a model's steps. What a superseded step comes to is dropped.

import { messageOf } from '@edgeloop/shared/errors';
import type { Desired, ModelReport } from '@edgeloop/shared/messages';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Death, ModelDeath, Suspect } from '../../process/death.ts';
import type { PresentHold, ServingCounts, Tuning } from '../../process/ipc.ts';
import type { ServingProcesses } from '../../process/serving-processes.ts';
import { type DamagedFile, failureOf } from '../failure.ts';
import type { FileCheck } from '../file-check.ts';
import { HeldByAll, type HeldByAllOptions } from '../held-by-all.ts';
import type { ModelStore, ReleaseRef } from '../store.ts';
import type { Accused, Quarantine } from '../trying/quarantine.ts';
import { Besides, type BesidesOptions } from './besides.ts';
import { FilesOnDisk } from './files-on-disk.ts';
import { type ModelEvent, type ModelState, newModelState, releasesToKeep, type Step, stepOf } from './model-state.ts';
import { heldBack } from './permission.ts';
import { knownOf, reportOf } from './report.ts';
import { holdingOf, Served } from './served.ts';
import type { StateStore } from './state-store.ts';
import { type StepOptions, Steps } from './steps.ts';
import { createTally } from './tally.ts';
import { next } from './transitions.ts';
import { unknownModels } from './unknown-models.ts';

export interface ModelDriverOptions extends Omit<StepOptions, 'serving' | 'admit' | 'tally' | 'filesOf'> {
  states: StateStore;
  fileCheck: FileCheck;
  serving: Pick<ServingProcesses, 'up' | 'tell'> & Pick<HeldByAllOptions & BesidesOptions, 'processes'>;
  /** How a model file is known to run best here. */
  tuningOf(digest: string): Tuning | undefined;
  quarantine: Quarantine;
  /** What software on this device asked for. */
  hold(): PresentHold | undefined;
  /** What this machine is short of. */
  shortage(): string | undefined;
  /** Something that is reported has changed. */
  onChange(): void;
}

/** How often it is looked whether what is held may go on. */
const heldLookMs = 1000;
const retry = { firstMs: 500, mostMs: 60_000 };

export class ModelDriver {
  readonly #options: ModelDriverOptions;
  readonly #held: HeldByAll;
  readonly #tally = createTally();
  readonly #steps: Steps;
  readonly #served: Served;
  readonly #states = new Map<string, ModelState>();
  readonly #files: FilesOnDisk;
  readonly #besides: Besides;
  /** Ends the step that is being performed for a model. */
  readonly #attempts = new Map<string, AbortController>();
  readonly #loops = new Map<string, Promise<void>>();
  /** Models whose state could not be written to disk. */
  readonly #unsaved = new Set<string>();
  /** By process: models that may have ended the last one in its place. The next one gets them after all others. */
  readonly #suspected = new Map<number, Set<string>>();
  #stop = AbortSignal.abort();

  constructor(options: ModelDriverOptions) {
    this.#options = options;
    const { processes } = options.serving;
    this.#held = new HeldByAll({ processes, oneAtATime: true, log: options.log });
    this.#files = new FilesOnDisk({
      ...options,
      keep: (name) => releasesToKeep(this.#stateOf(name)).map(({ release }) => release),
      onDamaged: (of, error) => void this.#damaged(of, error),
      onRepaired: (of) => this.#repaired(of),
    });
    this.#steps = new Steps({
      ...options,
      tally: this.#tally,
      filesOf: (target, variant) => this.#files.read(target, variant),
      admit: (target, signal) => this.#held.admit(target.name, this.#served.wanted(target), signal),
    });
    this.#served = new Served({
      held: this.#held,
      files: this.#files,
      stateOf: (name) => this.#stateOf(name),
      isSuspected: (digest) => options.quarantine.isSuspected(digest),
      onDamaged: (of, error) => void this.#damaged(of, error),
      onLost: (name, error) => this.#lost(name, error),
      log: options.log,
    });
    this.#besides = new Besides({
      ...options,
      processes,
      steps: this.#steps,
      tally: this.#tally,
      stateOf: (name) => this.#stateOf(name),
      apply: (name, event) => this.#apply(name, { kind: 'beside', event }),
      isSaved: (name) => this.#isSaved(name),
      filesOf: (of) => this.#files.read(of),
      distrust: (of) => this.#distrust(of),
    });
  }

  /** Reads the states; `cleanStop` false counts unfinished attempts. */
  async start(signal: AbortSignal, cleanStop: boolean): Promise<void> {
    const { states, store, log } = this.#options;
    for (const state of states.load(store.releaseOf)) this.#states.set(state.name, state);
    for (const state of await unknownModels(store, new Set(this.#states.keys()))) {
      log.warn({ model: state.name, ...state.active }, 'a model without a state was found on disk and is served');
      this.#states.set(state.name, state);
      this.#save(state.name);
    }
    this.#stop = signal;
    this.#served.start(signal);
    this.#besides.start(signal);
    signal.addEventListener('abort', () => this.#endAttempts(), { once: true });
    for (const name of [...this.#states.keys()]) {
      if (!cleanStop) this.#rebooted(name);
      this.#drive(name);
      this.#besides.drive(name);
      // What was under way may have been given up before the last end, and its files not removed.
      if (this.#stateOf(name).desired !== null) void this.#tidy(name);
    }
  }

  /** What ran beside a model was no more on trial than what answered: only what was being brought up counts. */
  #rebooted(name: string): void {
    this.#apply(name, { kind: 'rebooted' });
    const { beside } = this.#stateOf(name);
    if (beside?.candidate?.state === 'warming') this.#apply(name, { kind: 'beside', event: { kind: 'rebooted' } });
  }

  setDesired(desired: Pick<Desired, 'generation' | 'models'>): void {
    const wanted = new Map(desired.models.map((model) => [model.name, model]));
    for (const name of new Set([...this.#states.keys(), ...wanted.keys()]))
      this.#apply(name, { kind: 'desired', model: wanted.get(name) ?? null });
  }

  /** Brings a fresh serving process to what was active; processes are named by their place. @throws ServingGone */
  async restore(letIn: () => void, process: number): Promise<void> {
    this.#held.reset(process);
    this.#besides.reset(process);
    this.#tellKnown();
    letIn();
    const late = [...(this.#suspected.get(process) ?? [])];
    const first = [...this.#states.keys()].filter((name) => !late.includes(name));
    this.#suspected.delete(process);
    await this.#served.alignAll(process, first);
    // Nobody waits for what may end this process, too.
    for (const name of late) void this.#served.align(name);
    const kept = [...this.#states.values()].flatMap((state) =>
      releasesToKeep(state).map((each) => ({ name: state.name, ...each })),
    );
    this.#files.recheck(
      kept.filter(({ name, release }) => !this.#isComing(name, release)),
      this.#stop,
    );
  }

  servingDied({ crashed, detail, suspects }: Death, process: number): void {
    const accused = suspects.flatMap((suspect) => this.#accusedOf(suspect, process));
    const releases =
      suspects.length === 0 ? undefined : suspects.flatMap((suspect) => this.#releaseOf(suspect, process) ?? []);
    this.#held.reset(process);
    this.#besides.reset(process);
    this.#tally.restarted(process);
    this.#suspected.set(process, new Set(suspects.map(({ name }) => name)));
    if (this.#stop.aborted) return; // What ends while we stop says nothing.
    this.#judge(accused, detail, process);
    for (const { name, active } of [...this.#states.values()]) {
      const served = active !== null && this.#tally.of({ name, ...active }).succeeded > 0;
      this.#apply(name, { kind: 'died', crashed, served, detail, suspects: releases });
    }
  }

  /** The own process of a model died; the serving process goes on. Nobody else can have been the reason. */
  modelDied(suspect: Suspect, { crashed, detail, beside = false }: ModelDeath, process: number): void {
    if (beside) {
      this.#besideDied(suspect, { crashed, detail });
      return;
    }
    const release = this.#releaseOf(suspect, process);
    if (this.#stop.aborted || release === undefined) return;
    const { name } = suspect;
    if (crashed) this.#judge(this.#accusedOf(suspect, process), detail, process);
    this.#apply(name, { kind: 'died', crashed, served: false, detail, suspects: [release] });
    void this.#served.align(name);
  }

  #besideDied({ name, version }: Suspect, { crashed, detail }: ModelDeath): void {
    const { beside } = this.#stateOf(name);
    if (this.#stop.aborted || beside?.order.version !== version) return;
    const suspects = [beside.order.release];
    this.#apply(name, { kind: 'beside', event: { kind: 'died', crashed, served: false, detail, suspects } });
  }

  update(counts: readonly ServingCounts[], process: number): void {
    this.#tally.update(counts, process);
  }

  report(): ModelReport[] {
    const here = [...this.#states.values()].filter(({ desired, active }) => desired !== null || active !== null);
    return here.map((state) => reportOf(state, this.#besides.suspended(state.name)));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#loops.values(), this.#besides.close()]);
    await this.#files.close();
  }

  #stateOf(name: string): ModelState {
    return this.#states.get(name) ?? newModelState(name);
  }

  #apply(name: string, event: ModelEvent): void {
    const before = this.#stateOf(name);
    const after = next(before, event, Date.now());
    if (after === before) return;
    this.#states.set(name, after);
    this.#save(name);
    if (attemptOf(before) !== attemptOf(after)) this.#attempts.get(name)?.abort();
    if (JSON.stringify(reportOf(before)) !== JSON.stringify(reportOf(after))) {
      this.#options.log.info({ event: event.kind, ...reportOf(after) }, 'model state');
      this.#options.onChange();
    }
    if (JSON.stringify(knownOf(before)) !== JSON.stringify(knownOf(after))) this.#tellKnown();
    if (holdingOf(before) !== holdingOf(after)) void this.#served.align(name);
    if (event.kind === 'activated' && after.active !== null) this.#tally.forget({ name, ...after.active });
    if (after.candidate === null || after.candidate.state === 'failed') void this.#tidy(name);
    this.#drive(name);
    this.#besides.changed(name, before, after);
  }

  /** What cannot be written holds for this life of the agent, and is written before anything new is tried. */
  #save(name: string): boolean {
    const state = this.#states.get(name);
    const isSaved = state === undefined || this.#isWritten(state);
    if (isSaved) this.#unsaved.delete(name);
    else this.#unsaved.add(name);
    return isSaved;
  }

  #isWritten(state: ModelState): boolean {
    try {
      return this.#options.states.save(state);
    } catch (err) {
      this.#options.log.error({ err, model: state.name }, 'a model state cannot be written to disk');
      return false;
    }
  }

  #tellKnown(): void {
    this.#options.serving.tell([...this.#states.values()].flatMap(knownOf));
  }

  #lost(name: string, error: unknown): void {
    if (this.#stop.aborted) return; // The database is about to be closed, the next start looks again.
    this.#options.log.error({ model: name, reason: messageOf(error) }, 'the active version cannot be loaded');
    this.#apply(name, { kind: 'lost', error: failureOf(error) });
  }

  /** What is changed on disk is not served, whatever it is; another good release answers until it was fetched again. */
  async #damaged(of: ReleaseRef, error: DamagedFile): Promise<void> {
    if (this.#stop.aborted) return;
    const { name, version, release } = of;
    this.#options.log.error({ model: name, version, reason: error.message }, 'damaged files are not served');
    await this.#distrust(of);
    this.#apply(name, { kind: 'damaged', release, error: failureOf(error) });
    const isKept = releasesToKeep(this.#stateOf(name)).some((each) => each.release === release);
    if (isKept && !this.#isComing(name, release)) this.#files.repair(of, this.#stop);
  }

  async #distrust(of: ReleaseRef): Promise<void> {
    try {
      await this.#options.store.distrust(of);
    } catch (error) {
      this.#options.log.warn({ model: of.name, reason: messageOf(error) }, 'damaged files stay in their place');
    }
  }

  #repaired({ name, release }: ReleaseRef): void {
    if (this.#stop.aborted) return;
    this.#apply(name, { kind: 'repaired', release });
    void this.#served.align(name);
  }

  /** It is on its way as the candidate. */
  #isComing(name: string, release: string): boolean {
    const { candidate } = this.#stateOf(name);
    return candidate?.target.release === release && candidate.state !== 'failed' && candidate.state !== 'probation';
  }

  /** Quarantines what died too often. */
  #judge(accused: readonly Accused[], detail: string, process: number): void {
    const guilty = this.#options.quarantine.blame(accused, detail);
    if (guilty === undefined) return;
    const { name, version, error } = guilty;
    const release = this.#releaseOf(guilty, process);
    if (release === undefined) return;
    this.#options.log.error({ model: name, version, reason: error.message }, 'a model version is quarantined');
    for (const names of this.#suspected.values()) names.delete(name);
    this.#apply(name, { kind: 'quarantined', release, error });
  }

  #accusedOf({ name, version }: Suspect, process: number): Accused[] {
    const { digest, release } = this.#held.loadedAs(name, version, process) ?? {};
    if (digest === undefined) return [];
    const { candidate, desired } = this.#stateOf(name);
    const target = [candidate?.target, desired].find((each) => each?.release === release);
    const { succeeded } = this.#tally.of({ name, version, release });
    return [{ name, version, digest, word: target?.rolloutId ?? '', succeeded }];
  }

  #releaseOf({ name, version }: Suspect, process: number): string | undefined {
    return this.#held.loadedAs(name, version, process)?.release;
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
    await this.#served.align(name);
    await this.#besides.gone(name);
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
      if (await this.#isHeld(state, step)) continue;
      const attempt = new AbortController();
      this.#attempts.set(name, attempt);
      const { signal } = attempt;
      // Only what a version does that answers already is watched without its state being on disk.
      const mayBegin = step === 'watch' || this.#isSaved(name);
      const event = mayBegin ? await this.#steps.perform(step, { state, failures, signal }) : undefined;
      // A candidate that was superseded while it was loaded must not stay, nor one that some of the processes have loaded.
      const isAdmitted = event?.kind === 'activated' && !signal.aborted;
      if (step === 'load' && !isAdmitted && !this.#stop.aborted) await this.#served.align(name);
      failures = signal.aborted || isProgress(event) ? 0 : failures + 1;
      if (event?.kind === 'damaged' && state.candidate !== null) await this.#distrust(state.candidate.target);
      if (event !== undefined && !signal.aborted) this.#apply(name, event);
      if (failures > 0) await pause(backoffMs(failures, retry), signal);
    }
  }

  /** Says so, and lets some time pass. */
  async #isHeld(state: ModelState, step: Step): Promise<boolean> {
    const { name } = state;
    const held = heldBack(state, step, { hold: this.#options.hold(), nowMs: Date.now() });
    this.#apply(name, held === undefined ? { kind: 'freed' } : { kind: 'held', held });
    if (held !== undefined) await this.#changed(name);
    return held !== undefined;
  }

  /** Whoever holds may let go at any time. */
  async #changed(name: string): Promise<void> {
    const waiting = new AbortController();
    this.#attempts.set(name, waiting);
    await pause(heldLookMs, waiting.signal);
  }

  #isSaved(name: string): boolean {
    return !this.#unsaved.has(name) || this.#save(name);
  }
}

function isProgress(event: ModelEvent | undefined): boolean {
  return event !== undefined && event.kind !== 'delayed' && event.kind !== 'setback';
}

/** What a loop works at: another attempt supersedes it. */
function attemptOf(state: ModelState): string {
  return JSON.stringify([state.candidate?.target, stepOf(state)]);
}

async function tidyVersions(store: ModelStore, state: ModelState): Promise<void> {
  const { name, candidate } = state;
  const keep = releasesToKeep(state);
  const failed = candidate?.state === 'failed' && !keep.some(({ release }) => release === candidate.target.release);
  if (failed) await store.remove(candidate.target);
  await store.collect(name, keep, 1);
}
