// Drives what is to run beside the models: fetched, verified and proved as a candidate is, then in a process of its own beside the
// active release as long as that is wanted, the model is at rest and the machine has room. It never takes the place of anything.
//
// INVARIANTS
// - One loop performs the steps of a model's beside, and attaches and detaches it.
// - What a process holds is in `#held` before it is asked to hold it: whatever is asked, it is let go of.
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import type { ModelFiles, PresentHold } from '../../process/ipc.ts';
import type { ServingProcess } from '../../process/serving-process.ts';
import { failureOf, isModelsDoing } from '../failure.ts';
import { isAboutModel } from '../held-versions.ts';
import type { ReleaseRef } from '../store.ts';
import { type BesideState, isAtRest, type ModelEvent, type ModelState, type Step, stepOf } from './model-state.ts';
import { heldBack } from './permission.ts';
import type { Steps } from './steps.ts';
import { isFailing, type Tally } from './tally.ts';

export type BesideEvent = Extract<ModelEvent, { kind: 'beside' }>['event'];

export interface BesidesOptions {
  processes: readonly Pick<ServingProcess, 'attach' | 'detach'>[];
  steps: Steps;
  tally: Tally;
  stateOf(name: string): ModelState;
  apply(name: string, event: BesideEvent): void;
  /** Whether the state is on disk. */
  isSaved(name: string): boolean;
  /** @throws DamagedFile */
  filesOf(of: ReleaseRef): Promise<ModelFiles>;
  distrust(of: ReleaseRef): Promise<void>;
  hold(): PresentHold | undefined;
  /** What this machine is short of. */
  shortage(): string | undefined;
  /** Something that is reported has changed. */
  onChange(): void;
  log: Logger;
}

const lookMs = 1000;
const retry = { firstMs: 500, mostMs: 60_000 };
const usualProcessorShare = 0.1;

export class Besides {
  readonly #options: BesidesOptions;
  /** By process, what it holds beside each model. */
  readonly #held: readonly Map<string, string>[];
  readonly #loops = new Map<string, Promise<void>>();
  readonly #attempts = new Map<string, AbortController>();
  readonly #suspended = new Map<string, string>();
  #stop = AbortSignal.abort();

  constructor(options: BesidesOptions) {
    this.#options = options;
    this.#held = options.processes.map(() => new Map<string, string>());
  }

  start(signal: AbortSignal): void {
    this.#stop = signal;
    signal.addEventListener('abort', () => this.#wakeAll(), { once: true });
  }

  /** The state of a model has changed. */
  changed(name: string, before: ModelState, after: ModelState): void {
    if (courseOf(before) !== courseOf(after)) this.#attempts.get(name)?.abort();
    this.drive(name);
  }

  drive(name: string): void {
    if (this.#stop.aborted || this.#loops.has(name) || this.#isDone(name)) return;
    // Known as begun before it does anything: what it applies comes back here.
    const loop = Promise.resolve()
      .then(() => this.#loop(name))
      .catch((error: unknown) => this.#options.log.error({ err: error, model: name }, 'a step ended unexpectedly'))
      .finally(() => {
        this.#loops.delete(name);
        this.drive(name);
      });
    this.#loops.set(name, loop);
  }

  /** A serving process is gone or a fresh one: it holds nothing. */
  reset(process: number): void {
    this.#held[process]?.clear();
  }

  /** Why what is to run beside the model does not at present. */
  suspended(name: string): string | undefined {
    return this.#suspended.get(name);
  }

  /** Resolves when nothing is held or under way beside a model that is desired no more. */
  async gone(name: string): Promise<void> {
    await this.#loops.get(name);
  }

  async close(): Promise<void> {
    await Promise.all(this.#loops.values());
  }

  #wakeAll(): void {
    for (const attempt of this.#attempts.values()) attempt.abort();
  }

  #isDone(name: string): boolean {
    const { beside } = this.#options.stateOf(name);
    const rests = beside === null || stepOf(beside) === 'rest';
    return rests && !this.#held.some((held) => held.has(name));
  }

  async #loop(name: string): Promise<void> {
    for (let failures = 0; !this.#stop.aborted; ) {
      const state = this.#options.stateOf(name);
      const { beside } = state;
      const step = beside === null ? 'rest' : stepOf(beside);
      const attempt = new AbortController();
      this.#attempts.set(name, attempt);
      const { signal } = attempt;
      if (beside === null || step === 'rest') {
        this.#suspend(name, undefined);
        return this.#letGo(name);
      }
      if (await this.#hasToWait({ state, beside }, step)) {
        await pause(lookMs, signal);
        continue;
      }
      const event =
        step === 'watch'
          ? await this.#watch({ state, beside })
          : await this.#perform(step, { state, beside, failures, signal });
      failures = signal.aborted || step === 'watch' || isProgress(event) ? 0 : failures + 1;
      if (event?.kind === 'damaged') await this.#options.distrust({ name, ...beside.order });
      if (event !== undefined && !signal.aborted) this.#options.apply(name, event);
      else if (step === 'watch') await pause(lookMs, signal);
      if (failures > 0) await pause(backoffMs(failures, retry), signal);
    }
  }

  /** Whether something stands in the way now; what is loaded goes, unless that is only that the next step has its time. */
  async #hasToWait({ state, beside }: Own, step: Step): Promise<boolean> {
    const { name } = state;
    const short = step === 'fetch' || step === 'verify' ? undefined : this.#options.shortage();
    this.#suspend(name, short);
    if (!isAtRest(state) || short !== undefined) {
      await this.#letGo(name);
      return true;
    }
    const own = { ...beside, beside: null };
    const held = heldBack(own, step, { hold: this.#options.hold(), nowMs: Date.now() });
    if (step !== 'watch') this.#options.apply(name, held === undefined ? { kind: 'freed' } : { kind: 'held', held });
    return held !== undefined;
  }

  #suspend(name: string, short: string | undefined): void {
    if ((this.#suspended.get(name) === undefined) === (short === undefined)) return;
    if (short === undefined) this.#suspended.delete(name);
    else this.#suspended.set(name, short);
    this.#options.log.info({ model: name, reason: short }, 'what runs beside the model is suspended, or goes on');
    this.#options.onChange();
  }

  async #perform(
    step: Step,
    { state, beside, failures, signal }: Own & { failures: number; signal: AbortSignal },
  ): Promise<BesideEvent | undefined> {
    const { steps, isSaved } = this.#options;
    if (!isSaved(state.name)) return undefined;
    const own: ModelState = { ...beside, beside: null };
    const admit = () => this.#attach({ state, beside });
    const event = await steps.perform(step, { state: own, failures, signal, keeping: state, admit });
    return event === undefined || event.kind === 'beside' || event.kind === 'desired' ? undefined : event;
  }

  /** A fresh serving process gets it, too; a share of requests that fails too often ends. */
  async #watch({ state, beside }: Own): Promise<BesideEvent | undefined> {
    const { name } = state;
    const { order } = beside;
    const counts = this.#options.tally.of({ name, ...order });
    if (isFailing(counts)) {
      const message = `${counts.failed} of ${counts.succeeded + counts.failed} requests failed`;
      return { kind: 'failed', error: { code: 'model_rejected', message, kind: 'probation' } };
    }
    try {
      await this.#attach({ state, beside });
      return undefined;
    } catch (error) {
      if (isAboutModel(error) && isModelsDoing(error)) return { kind: 'failed', error: failureOf(error) };
      this.#options.log.warn({ model: name, reason: messageOf(error) }, 'it cannot run beside the model at present');
      return undefined;
    }
  }

  async #attach({ state, beside }: Own): Promise<void> {
    const { name, active } = state;
    const { order } = beside;
    const { mode, share = 0, processorShare = usualProcessorShare } = order;
    const how = { mode, share, processorShare, against: active?.release ?? '' };
    const key = JSON.stringify([order.release, how]);
    for (const [process, serving] of this.#options.processes.entries()) {
      // A sample of what one process answers tells enough; a share is one of all requests.
      if (mode === 'shadow' && process > 0) continue;
      const held = this.#held[process];
      if (held === undefined || held.get(name) === key) continue;
      const files = await this.#options.filesOf({ name, version: order.version, release: order.release });
      // What it cannot answer, the one that it runs beside does.
      held.set(name, '');
      await serving.attach({ ...files, onTrial: true }, how);
      held.set(name, key);
    }
  }

  async #letGo(name: string): Promise<void> {
    for (const [process, serving] of this.#options.processes.entries()) {
      if (this.#held[process]?.delete(name) !== true) continue;
      try {
        await serving.detach(name);
      } catch (error) {
        // Without a process there is nothing to let go of.
        if (isAboutModel(error)) throw error;
      }
    }
  }
}

interface Own {
  state: ModelState;
  beside: BesideState;
}

function isProgress(event: BesideEvent | undefined): boolean {
  return event !== undefined && event.kind !== 'delayed' && event.kind !== 'setback';
}

/** What a loop works at. */
function courseOf(state: ModelState): string {
  const { beside } = state;
  return JSON.stringify([isAtRest(state), state.active?.release, beside?.order, beside && stepOf(beside)]);
}
