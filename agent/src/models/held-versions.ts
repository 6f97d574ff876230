// Which versions one serving process holds and which of them answer; brings both to what a plan says, one step after the
// other. The plan is asked anew before every step, so what changes meanwhile is followed. Several processes that are to hold the
// same are brought there together, see `held-by-all.ts`.
//
// INVARIANTS
// - What is known belongs to one life of the serving process. Work that was begun for a former life ends with
//   `ServingGone` at its next step and changes nothing of the present one.
// - Nobody else changes a model within its turn. Turns belong to a life, too: a fresh process waits for no work of the last.
// - A version answers only while it is held, and counts as held no more before it is unloaded.
// - What answers stays until another one does: something else under its number is loaded beside it and takes its place in
//   one step, and it is not unloaded while what was to follow it cannot be loaded.
import { createKeyedTurn, createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import { ServingGone } from '../process/calls.ts';
import type { ModelFiles } from '../process/ipc.ts';
import type { ServingProcess } from '../process/serving-process.ts';
import { inLanes } from './lanes.ts';
import { createRound, type Round, type VersionFailure } from './round.ts';

/** A version that is to be held. */
export interface WantedVersion {
  version: number;
  /** Held as something else, it is loaded anew. Undefined: its number says all. */
  identity?: string;
  /** In a fleet, which release the number stands for. */
  release?: string;
  /** Without it nothing else is changed. */
  needed?: boolean;
  /** Read when it has to be loaded; golden samples may be large. */
  files(): Promise<ModelFiles>;
  /** Asked once it is loaded, before it counts as held: whether that is what `files` said. */
  confirm?(files: ModelFiles): Promise<void>;
}

/** What one model is to be. */
export interface Plan {
  /** In the order in which they are loaded; everything else is unloaded. */
  hold: readonly WantedVersion[];
  /** Of these, the best first. The best answers as soon as it is held, another one until then if nothing else does. */
  answers: readonly number[];
}

export interface HeldVersionsOptions {
  serving: Pick<ServingProcess, 'load' | 'activate' | 'unload'>;
  /** Loading two models at once takes the memory of both. False: models go beside each other, each in its own turns. */
  oneAtATime: boolean;
  log: Logger;
}

interface HeldModel {
  /** Version -> identity. */
  versions: Map<number, string | undefined>;
  answers: number | undefined;
}

/** Which bytes were handed over to be loaded. */
export type Loaded = Pick<ModelFiles, 'digest' | 'release'>;

interface Aligning {
  plan(): Plan;
  round: Round;
  loading?: 'beside others';
}

type Step =
  | { kind: 'load'; wanted: WantedVersion }
  | { kind: 'answer'; version: number }
  | { kind: 'unload'; version: number };

export class HeldVersions {
  readonly #options: HeldVersionsOptions;
  /** Outlives the process that they were loaded in: what it died of is asked afterwards. */
  readonly #loaded = new Map<string, Loaded>();
  #life = new Life();

  constructor(options: HeldVersionsOptions) {
    this.#options = options;
  }

  names(): string[] {
    return [...this.#life.models.keys()];
  }

  versionsOf(name: string): number[] {
    return [...(this.#life.models.get(name)?.versions.keys() ?? [])];
  }

  /** What is loaded as this version, or was in the process that just died. */
  loadedAs(name: string, version: number): Loaded | undefined {
    return this.#loaded.get(`${name}@${version}`);
  }

  /** Loads, lets answer and unloads until all is as planned. What failed is in the round. @throws ServingGone */
  align(name: string, plan: () => Plan, round: Round): Promise<void> {
    return this.#inTurn(name, (life) => this.#align(life, name, { plan, round })).finally(() => round.left(this));
  }

  /**
   * The same for many, several beside each other: after a restart all are wanted back quickly, and their memory is known
   * to suffice. `done` is told of each. @throws ServingGone
   */
  async alignAll(
    names: readonly string[],
    plan: (name: string) => Plan,
    done: (name: string, failed: readonly VersionFailure[]) => void,
  ): Promise<void> {
    await inLanes(names, async (name) => {
      const round = createRound([this]);
      const how: Aligning = { plan: () => plan(name), round, loading: 'beside others' };
      await this.#inTurn(name, (life) => this.#align(life, name, how));
      done(name, round.failed);
    });
  }

  /**
   * Loads a candidate beside what answers, then lets it answer unless `signal` aborted or another of the round failed.
   * @throws what loading fails with
   */
  admit(name: string, candidate: WantedVersion, signal: AbortSignal, round: Round): Promise<void> {
    const { version, release } = candidate;
    return this.#inTurn(name, async (life) => {
      try {
        signal.throwIfAborted();
        if (!isHeld(life.modelOf(name), candidate)) await this.#load(life, name, candidate, signal);
      } catch (error) {
        round.failed.push({ version, release, error });
        throw error;
      }
      await life.during(() => round.together(this));
      if (round.failed.length > 0) return;
      signal.throwIfAborted();
      await this.#answer(life, name, version);
    }).finally(() => round.left(this));
  }

  /** The serving process is gone or a fresh one: it holds nothing. */
  reset(): void {
    this.#life.end();
    this.#life = new Life();
  }

  #inTurn<T>(name: string, work: (life: Life) => Promise<T>): Promise<T> {
    const life = this.#life;
    return life.turns.run(name, () => work(life));
  }

  async #align(life: Life, name: string, { plan, round, loading }: Aligning): Promise<void> {
    const { failed } = round;
    let isTogether = false;
    for (;;) {
      const step = nextStep(plan(), life.modelOf(name), failed);
      if (step === undefined) break;
      if (step.kind === 'answer' && life.modelOf(name).answers !== undefined && !isTogether) {
        await life.during(() => round.together(this));
        isTogether = true;
        continue; // What failed elsewhere is not to answer here.
      }
      try {
        await this.#make(life, name, step, loading);
      } catch (error) {
        if (!isAboutModel(error)) throw error;
        const { version, release } = step.kind === 'load' ? step.wanted : { version: step.version };
        failed.push({ version, release, error });
        if (step.kind !== 'load' || step.wanted.needed === true) break;
      }
    }
    if (life.modelOf(name).versions.size === 0) life.models.delete(name);
  }

  #make(life: Life, name: string, step: Step, loading?: 'beside others'): Promise<void> {
    switch (step.kind) {
      case 'load':
        return loading === undefined ? this.#load(life, name, step.wanted) : this.#loadNow(life, name, step.wanted);
      case 'answer':
        return this.#answer(life, name, step.version);
      case 'unload':
        return this.#unload(life, name, step.version);
    }
  }

  /** A model that takes long to load keeps nobody else from answering. */
  #load(life: Life, name: string, wanted: WantedVersion, signal?: AbortSignal): Promise<void> {
    const load = () => {
      signal?.throwIfAborted();
      return this.#loadNow(life, name, wanted);
    };
    return this.#options.oneAtATime ? life.loading.run(load) : load();
  }

  async #loadNow(life: Life, name: string, wanted: WantedVersion): Promise<void> {
    const { version, identity, confirm } = wanted;
    const files = await life.during(wanted.files);
    const { digest, release } = files;
    this.#loaded.set(`${name}@${version}`, { digest, release });
    await life.during(() => this.#options.serving.load(files));
    life.modelOf(name).versions.set(version, identity);
    try {
      await life.during(async () => confirm?.(files));
    } catch (error) {
      if (isAboutModel(error)) await this.#unload(life, name, version);
      throw error;
    }
  }

  async #answer(life: Life, name: string, version: number): Promise<void> {
    if (life.modelOf(name).answers === version) return;
    await life.during(() => this.#options.serving.activate(name, version));
    life.modelOf(name).answers = version;
    this.#options.log.info({ model: name, version }, 'serves');
  }

  async #unload(life: Life, name: string, version: number): Promise<void> {
    const model = life.modelOf(name);
    model.versions.delete(version);
    if (model.answers === version) model.answers = undefined;
    await life.during(() => this.#options.serving.unload(name, version));
    this.#options.log.info({ model: name, version }, 'is unloaded');
  }
}

/** What is held in one life of the serving process. */
class Life {
  readonly models = new Map<string, HeldModel>();
  readonly turns = createKeyedTurn();
  readonly loading = createTurn();
  #isOver = false;

  end(): void {
    this.#isOver = true;
  }

  modelOf(name: string): HeldModel {
    const model = this.models.get(name) ?? { versions: new Map<number, string | undefined>(), answers: undefined };
    this.models.set(name, model);
    return model;
  }

  /** Does `work`, unless this life is over before; its outcome counts only while it lasts. @throws ServingGone */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#requirePresent();
    try {
      return await work();
    } finally {
      this.#requirePresent();
    }
  }

  #requirePresent(): void {
    if (this.#isOver) throw new ServingGone('it was started again');
  }
}

/** The one thing to do next; undefined when all is as planned, apart from what failed. */
function nextStep({ hold, answers }: Plan, model: HeldModel, failed: readonly VersionFailure[]): Step | undefined {
  const isHere = (wanted: WantedVersion) => isHeld(model, wanted);
  const hasFailed = (wanted: WantedVersion) =>
    failed.some(({ version, release }) => version === wanted.version && release === wanted.release);
  const wanted = hold.find((each) => !isHere(each) && !hasFailed(each));
  const best = answers.find((version) =>
    hold.some((each) => each.version === version && isHere(each) && !hasFailed(each)),
  );
  const mayAnswer = best === answers[0] || wanted === undefined || model.answers === undefined;
  if (best !== undefined && best !== model.answers && mayAnswer) return { kind: 'answer', version: best };
  if (wanted !== undefined) return { kind: 'load', wanted };
  const surplus = [...model.versions.keys()].find(
    (version) => !hold.some((each) => each.version === version) && !(failed.length > 0 && version === model.answers),
  );
  return surplus === undefined ? undefined : { kind: 'unload', version: surplus };
}

function isHeld({ versions }: HeldModel, { version, identity }: WantedVersion): boolean {
  return versions.has(version) && (identity === undefined || versions.get(version) === identity);
}

/** Whether a failed call says something about the model, rather than about the process that was asked. */
export function isAboutModel(error: unknown): boolean {
  return !(error instanceof ServingGone);
}
