// Keeps a serving process alive: starts it, tells it what it is asked, and starts it again when it dies. What happens to
// callers and calls meanwhile is decided in `waiting-callers.ts` and `calls.ts`; one life of it is in `serving-life.ts`.
import { performance } from 'node:perf_hooks';
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { SaidBetween } from './between-processes.ts';
import { createServingCalls, type ServingCalls, ServingGone } from './calls.ts';
import type { Death, ModelDeath, Suspect } from './death.ts';
import type { Figures } from './figures.ts';
import type {
  KnownModel,
  LostCounts,
  Misplaced,
  MissingCounts,
  ModelFiles,
  ServingCounts,
  ToServing,
  ToSupervisor,
} from './ipc.ts';
import type { Runner } from './running-report.ts';
import { beginLife, type ServingLife, type ServingLifeOptions, startServing } from './serving-life.ts';
import { createSpare, type Spare, type SpareMode } from './spare.ts';
import { createWaitingCallers, type WaitingCallers } from './waiting-callers.ts';
import { answerTo, type WishHandlers } from './wishes.ts';

/** How a version is to run beside another. */
export type Attaching = Extract<ToServing, { kind: 'attach' }>['how'];

export interface ServingProcessOptions extends Omit<ServingLifeOptions, 'inFlight' | 'onSaid'> {
  callTimeoutMs: number;
  /** What it says that is for other serving processes, or asks of them. */
  onBetween?(said: SaidBetween, answer: (message: ToServing) => void): void;
  /** Who waits for a serving process; several processes share them. */
  callers?: WaitingCallers;
  /** Whether another process waits to be needed; `auto` when unset. */
  spareProcess?: SpareMode | undefined;
  /** What was running when it died; it is told once. */
  takeRunningNote(of: Runner): Suspect[];
}

/** What the serving process tells, and asks of whoever knows what it is to serve. */
export interface ServingHandlers extends WishHandlers {
  /**
   * Puts a fresh process into the state that callers expect; called at every start, after `onDied` has ended. `letIn`, to be
   * called once it was told which models are coming: whoever asks for one then waits for that one, and for no other.
   */
  restore(letIn: () => void): Promise<void>;
  /** Callers are let in before this resolves, but told that the server is not ready. */
  settled(): Promise<void>;
  /** The own process of a model died; everything else goes on. */
  onModelDied(suspect: Suspect, end: ModelDeath): void;
  /** Nothing is asked of the next process before this ends. */
  onDied(death: Death): Promise<void>;
  onCounts(counts: ServingCounts[], missing: MissingCounts | undefined, figures?: Figures): void;
}

/** `starting`: it does not take messages yet. `restoring`: it does, and its models are not all there yet. */
type Phase = 'away' | 'starting' | 'restoring' | 'up';

const restart = { firstMs: 100, mostMs: 10_000 };
/** A process that lived this long starts its backoff anew. */
const stableMs = 10_000;
/** So long after a model came that is new here, and after a death, another one is likely. */
const newModelMs = 10 * 60_000;
const afterDeathMs = 60 * 60_000;

export class ServingProcess {
  readonly #options: ServingProcessOptions;
  readonly #callers: WaitingCallers;
  readonly #calls: ServingCalls;
  readonly #spare: Spare;
  readonly #ending = new AbortController();
  /** Of `up`. */
  readonly #waiting = new Set<() => void>();
  #life: ServingLife | undefined;
  #phase: Phase = 'away';
  /** What the last death asks for; the next process waits for it. */
  #handled: Promise<void> = Promise.resolve();
  #running: Promise<void> = Promise.resolve();

  constructor(options: ServingProcessOptions) {
    this.#options = options;
    this.#callers = options.callers ?? createWaitingCallers();
    const { log, spareProcess: mode = 'auto' } = options;
    this.#spare = createSpare({ log, mode, start: () => startServing(options, true) });
    this.#calls = createServingCalls({
      timeoutMs: options.callTimeoutMs,
      send: (message) => this.#send(message),
      onTimeout: (body) => {
        const suspects = body.kind === 'load' ? [body.model] : [];
        const detail = `it did not answer "${body.kind}" within ${options.callTimeoutMs / 1000} s`;
        this.#life?.kill({ detail, suspects });
      },
    });
  }

  start(handlers: ServingHandlers): void {
    this.#running = this.#keepAlive(handlers);
  }

  /** Resolves when the process is up and restored. Rejects when `signal` aborts. */
  up(signal: AbortSignal): Promise<void> {
    if (this.#phase === 'up') return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const isUp = () => {
        signal.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = () => {
        this.#waiting.delete(isUp);
        reject(signal.reason);
      };
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(isUp);
    });
  }

  /** A model comes that is new to this device, and may end this process. */
  expectNewModel(): void {
    this.#spare.expectDeath(newModelMs);
  }

  load(model: ModelFiles): Promise<void> {
    return this.#call({ kind: 'load', model });
  }

  activate(name: string, version: number): Promise<void> {
    return this.#call({ kind: 'activate', name, version });
  }

  unload(name: string, version: number): Promise<void> {
    return this.#call({ kind: 'unload', name, version });
  }

  rerunGolden(name: string, version: number): Promise<void> {
    return this.#call({ kind: 'rerun_golden', name, version });
  }

  /** Runs a version beside the one that answers. */
  attach(model: ModelFiles, how: Attaching): Promise<void> {
    return this.#call({ kind: 'attach', model, how });
  }

  detach(name: string): Promise<void> {
    return this.#call({ kind: 'detach', name });
  }

  journal(path: string): Promise<void> {
    return this.#call({ kind: 'journal', path });
  }

  /** Tells what is known and not loaded, and what is nearly a model. */
  tell(known: readonly KnownModel[], misplaced: readonly Misplaced[] = []): void {
    this.#send({ kind: 'known', models: [...known], misplaced: [...misplaced] });
  }

  /** Tells what stands in the way at this moment. */
  tellProblems(problems: readonly { what: string; words: string }[]): void {
    this.#send({ kind: 'problems', problems: problems.map(({ what, words }) => ({ what, words })) });
  }

  /** Tells what telemetry was given up. */
  tellLost(lost: LostCounts): void {
    this.#send({ kind: 'lost', lost });
  }

  /** Tells it something that another process asks. False when it takes no messages. */
  tellFor(message: ToServing): boolean {
    if (this.#takesMessages()) this.#send(message);
    return this.#takesMessages();
  }

  /** Lets it finish what is in flight; kills it at the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    this.#ending.abort();
    this.#callers.close();
    this.#spare.end();
    const life = this.#life;
    this.#send({ kind: 'stop' });
    const timer = setTimeout(() => {
      this.#options.log.warn('the serving process did not drain in time and is killed');
      life?.kill();
    }, deadlineMs);
    await this.#running;
    clearTimeout(timer);
  }

  #send(message: ToServing): void {
    this.#life?.send(message);
  }

  #call(body: Parameters<ServingCalls['call']>[0]): Promise<void> {
    return this.#takesMessages() ? this.#calls.call(body) : Promise.reject(new ServingGone('it is being started'));
  }

  #takesMessages(): boolean {
    return this.#phase === 'restoring' || this.#phase === 'up';
  }

  /** Ends by `stop` alone: whatever fails is one more life that failed, and the next one is tried later. */
  async #keepAlive(handlers: ServingHandlers): Promise<void> {
    const { log } = this.#options;
    const ending = this.#ending.signal;
    let failures = 0;
    while (!ending.aborted) {
      const since = performance.now();
      const death = await this.#live(handlers).catch((error: unknown) => this.#failedLife(error));
      if (ending.aborted) break;
      failures = performance.now() - since > stableMs ? 1 : failures + 1;
      const suspects = death.suspects.map(({ name, version }) => `${name} ${version}`);
      log.error({ ...death, suspects }, 'the serving process died');
      this.#spare.expectDeath(afterDeathMs);
      // The next process starts meanwhile; it is asked for nothing before this is done.
      this.#handled = tellOf(death, handlers).catch((error: unknown) =>
        log.error({ err: error }, 'a death was not handled whole'),
      );
      if (failures > 1) await pause(backoffMs(failures - 1, restart), ending);
    }
    await this.#handled;
  }

  async #live(handlers: ServingHandlers): Promise<Death> {
    const spare = this.#spare.take();
    const life = beginLife(spare ?? startServing(this.#options, false), {
      ...this.#options,
      inFlight: (of) => [...this.#options.takeRunningNote(of), ...(of === 'process' ? this.#calls.loading() : [])],
      onSaid: (message, from) => this.#hear(message, from, handlers),
    });
    if (spare !== undefined) life.send({ kind: 'begin' });
    this.#life = life;
    this.#phase = 'starting';
    const death = await life.ended;
    this.#isGone(death.detail);
    return death;
  }

  #isGone(detail: string): void {
    if (this.#life !== undefined) this.#callers.gone(this.#life.child);
    this.#life = undefined;
    this.#phase = 'away';
    this.#calls.rejectAll(detail);
  }

  /** It could not be started, or how it ended could not be made out: no model is to blame. */
  #failedLife(error: unknown): Death {
    this.#life?.kill();
    const detail = `it could not be started: ${messageOf(error)}`;
    this.#isGone(detail);
    return { crashed: false, detail, suspects: [] };
  }

  #hear(said: ToSupervisor, life: ServingLife, handlers: ServingHandlers): void {
    switch (said.kind) {
      case 'started':
        void this.#bringUp(life, handlers);
        break;
      case 'reply':
        this.#calls.settle(said);
        break;
      case 'counts':
        handlers.onCounts(said.models, said.missing, said.figures);
        break;
      case 'stuck': {
        const { name, version } = said;
        const detail = `a run of model "${name}" version ${version} did not return`;
        life.kill({ detail, suspects: [{ name, version }] });
        break;
      }
      case 'model_died':
        handlers.onModelDied({ name: said.name, version: said.version }, said);
        break;
      case 'feedback':
      case 'hold':
      case 'repository':
        // To the process that asked: the next one counts its requests from 1 again.
        void answerTo(said, handlers, this.#options.log).then(life.send);
        break;
      default:
        this.#options.onBetween?.(said, life.send);
    }
  }

  async #bringUp(life: ServingLife, handlers: ServingHandlers): Promise<void> {
    await this.#handled;
    if (this.#life !== life) return;
    this.#phase = 'restoring';
    try {
      await handlers.restore(() => {
        if (this.#life === life && !this.#ending.signal.aborted) this.#callers.open(life.child, 'coming');
      });
    } catch (error) {
      if (error instanceof ServingGone) return; // Its end is handled where it is seen.
      this.#options.log.error({ err: error }, 'the serving process could not be restored and is started again');
      life.kill();
      return;
    }
    if (this.#life !== life || this.#ending.signal.aborted) return;
    this.#phase = 'up';
    this.#callers.open(life.child, 'up');
    for (const isUp of this.#waiting) isUp();
    this.#waiting.clear();
    await handlers.settled();
    if (this.#life !== life) return;
    this.#send({ kind: 'ready' });
    if (!this.#ending.signal.aborted) this.#spare.keep();
  }
}

/** Also what is thrown at once is a rejection. */
async function tellOf(death: Death, handlers: ServingHandlers): Promise<void> {
  await handlers.onDied(death);
}
