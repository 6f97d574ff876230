// The models of a folder: looks again and again at what is there, proves what is new, and brings the serving process to
// what the version policies ask for. A version that fails is told with its reason, and the next best one serves.
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import { ServingGone } from '../../process/calls.ts';
import type { Death, ModelDeath, Suspect } from '../../process/death.ts';
import type { LoadOverride, Misplaced, ModelFiles, ServingCounts } from '../../process/ipc.ts';
import type { ServingProcesses } from '../../process/serving-processes.ts';
import { type Failure, failureOf, isModelsDoing } from '../failure.ts';
import { HeldByAll, type HeldByAllOptions } from '../held-by-all.ts';
import type { Plan } from '../held-versions.ts';
import { inLanes } from '../lanes.ts';
import type { VersionFailure } from '../round.ts';
import type { Accused, Quarantine } from '../trying/quarantine.ts';
import { createOverriddenFolder, type OverriddenFolder } from './overrides.ts';
import { type FoundModel, wantedVersions } from './scan.ts';
import {
  type FolderModel,
  type FolderVersion,
  knownOf,
  newFolderModel,
  nextTryMs,
  note,
  plannedVersions,
  versionToPrepare,
} from './state.ts';

export interface FolderModelsOptions {
  folder: string;
  serving: Pick<ServingProcesses, 'tell'> & Pick<HeldByAllOptions, 'processes'>;
  /** Loads and runs a version in a process of its own. Undefined when it holds. @throws AppError for what may pass */
  prove(model: ModelFiles): Promise<Failure | undefined>;
  /** Adds how the model is known to run best; `replaces`: another version serves meanwhile, so it may be measured. */
  tuned(model: ModelFiles, replaces: boolean): Promise<ModelFiles>;
  quarantine: Quarantine;
  log: Logger;
  /** Something is being written there, or has failed: look again before long. */
  lookSoon(): void;
}

export class FolderModels {
  readonly #options: FolderModelsOptions;
  readonly #source: OverriddenFolder;
  readonly #held: HeldByAll;
  readonly #models = new Map<string, FolderModel>();
  /** Somebody asked for these, so nobody is writing them. */
  readonly #asked = new Set<string>();
  /** Requests that each version answered, by process. */
  readonly #answered = new Map<number, Map<string, number>>();
  readonly #looks = createTurn();
  #misplaced: readonly Misplaced[] = [];
  /** Of what is misplaced: told in the log, or still to be told unless it moves on. */
  #told = new Map<string, boolean>();
  /** By process. */
  readonly #suspected = new Map<number, readonly string[]>();
  #first: Promise<void> | undefined;
  #hasLooked = false;

  constructor(options: FolderModelsOptions) {
    this.#options = options;
    this.#source = createOverriddenFolder(options.folder);
    const { processes } = options.serving;
    this.#held = new HeldByAll({ processes, oneAtATime: false, log: options.log });
  }

  /** Looks at the folder and brings the serving process, if it is there, to what is wanted. @throws AppError `not_found` */
  look(): Promise<void> {
    const result = this.#looks.run(() => this.#look());
    this.#first ??= result;
    return result;
  }

  /** Brings a fresh serving process to what is known to be wanted; processes are named by their place. @throws ServingGone */
  async restore(letIn: () => void, process: number): Promise<void> {
    this.#tellKnown();
    letIn();
    const late = this.#suspected.get(process) ?? [];
    this.#suspected.delete(process);
    await this.#held.alignAll(
      process,
      [...this.#models.keys()].filter((name) => !late.includes(name)),
      (name) => this.#planOf(name),
      (name, failed) => {
        if (!this.#aligned(name, failed)) this.#options.lookSoon();
      },
    );
    // Nobody waits for what may end this process, too.
    if (late.length > 0) this.#options.lookSoon();
  }

  /** Everything that was found at first is served, or refused. */
  async settled(): Promise<void> {
    await this.#first?.catch(() => undefined); // Whoever looked is told.
  }

  servingDied({ suspects, detail }: Death, process: number): void {
    this.#held.reset(process);
    this.#suspected.set(
      process,
      suspects.map(({ name }) => name),
    );
    this.#judge(suspects, detail);
  }

  /** The own process of a model died; the serving process goes on. */
  modelDied(suspect: Suspect, { crashed, detail }: ModelDeath): void {
    if (crashed) this.#judge([suspect], detail);
  }

  update(counts: readonly ServingCounts[], process: number): void {
    const answered = this.#answered.get(process) ?? new Map<string, number>();
    this.#answered.set(process, answered);
    for (const { name, version, succeeded } of counts) answered.set(`${name}@${version}`, succeeded);
  }

  /**
   * A caller's wish.
   * @throws AppError `not_found`, or why the model cannot be served; what served before goes on then
   */
  async control(action: 'load' | 'unload', name: string, override?: LoadOverride): Promise<void> {
    if (override !== undefined) await this.#proveOverride(name, override);
    this.#source.set(name, override);
    this.#asked.add(name);
    const before = this.#models.get(name);
    if (before !== undefined) before.unloaded = action === 'unload';
    // A person asks: what failed before is tried once more.
    if (action === 'load') for (const known of before?.versions.values() ?? []) known.tried = undefined;
    await this.look();
    const model = this.#models.get(name);
    await this.#source.tidy();
    if (model === undefined) throw this.#unknown(action, name);
    model.unloaded = action === 'unload';
    if (action === 'unload' || this.#held.versionsOf(name).length > 0) return;
    const problem = model.error ?? [...model.versions.values()].at(-1)?.problem;
    if (override !== undefined) await this.#takeBack(name);
    throw rejected(name, problem?.message ?? 'it was not proven');
  }

  /** It held when it was proven, and yet cannot be served: back to what the folder says. */
  async #takeBack(name: string): Promise<void> {
    this.#source.set(name, undefined);
    this.#asked.add(name);
    await this.look();
  }

  async #look(): Promise<void> {
    const { folder, log } = this.#options;
    const isFirst = !this.#hasLooked;
    // What is asked for while this reads is for the next look: this may not see it yet.
    const atOnce = new Set(this.#asked);
    this.#asked.clear();
    const { models: found, misplaced } = await this.#source.scan();
    this.#hasLooked = true;
    this.#noteMisplaced(misplaced, isFirst);
    if (isFirst && found.length === 0)
      log.warn({ folder }, `holds no model yet; put one at ${join(folder, 'NAME', '1', 'model.onnx')}`);
    for (const each of found) this.#note(each, isFirst || atOnce.has(each.name));
    for (const name of this.#models.keys()) if (!found.some((each) => each.name === name)) this.#models.delete(name);
    this.#tellKnown();
    const names = [...new Set([...this.#models.keys(), ...this.#held.names()])];
    await inLanes(names, (name) => this.#bring(name));
    this.#tellKnown();
  }

  /** What is being copied passes through many a wrong place, so it is told in the log when it stays there. */
  #noteMisplaced(misplaced: readonly Misplaced[], atOnce: boolean): void {
    const before = this.#told;
    this.#misplaced = misplaced;
    this.#told = new Map();
    for (const { name, version, reason } of misplaced) {
      const key = JSON.stringify([name, version, reason]);
      const wasTold = before.get(key);
      if (wasTold === false || (wasTold === undefined && atOnce))
        this.#options.log.warn({ model: name, ...(version === '' ? {} : { version }), reason }, 'is not served');
      this.#told.set(key, wasTold !== undefined || atOnce);
    }
  }

  #note(found: FoundModel, atOnce: boolean): void {
    const model = this.#models.get(found.name) ?? newFolderModel();
    this.#models.set(found.name, model);
    const before = model.error?.message;
    if (!note(model, found, atOnce)) this.#options.lookSoon();
    if (model.error !== undefined && model.error.message !== before)
      this.#options.log.error(
        { model: found.name, reason: model.error.message },
        'cannot be served as its folder says',
      );
  }

  /** Prepares and aligns one model until nothing more fails. */
  async #bring(name: string): Promise<void> {
    do {
      await this.#prepareAll(name);
    } while (!(await this.#align(name)));
  }

  async #prepareAll(name: string): Promise<void> {
    const model = this.#models.get(name);
    if (model === undefined) return;
    const holds = this.#held.versionsOf(name);
    for (;;) {
      const version = versionToPrepare(model, holds);
      if (version === undefined) return;
      await this.#prepare(name, model, version);
    }
  }

  async #prepare(name: string, model: FolderModel, version: number): Promise<void> {
    const known = model.versions.get(version);
    if (known === undefined) return;
    known.tried = known.seen;
    known.problem = undefined;
    try {
      const files = await this.#source.read(name, version);
      const problem = await this.#problemOf(files);
      if (problem !== undefined) return this.#refuse(name, version, problem);
      known.files = await this.#options.tuned(files, this.#held.versionsOf(name).length > 0);
    } catch (error) {
      this.#refuse(name, version, failureOf(error));
      // That it was removed while it was read shows at the next look.
      if (!isModelsDoing(error)) this.#tryAgain(known);
    }
  }

  async #problemOf(files: ModelFiles): Promise<Failure | undefined> {
    return this.#options.quarantine.reasonFor(files.digest ?? '', '') ?? (await this.#options.prove(files));
  }

  /** Before anything is changed, so that what serves goes on when it does not hold. */
  async #proveOverride(name: string, override: LoadOverride): Promise<void> {
    const found = await this.#source.find(name, override);
    if (found === undefined) throw this.#unknown('load', name);
    const present = found.versions.map(({ version }) => version);
    const wanted = wantedVersions(found.policy, present);
    if (wanted.length === 0) throw rejected(name, `its version policy leaves out all of ${present.join(', ')}`);
    for (const version of wanted) {
      const problem = await this.#problemOf(await this.#source.read(name, version, override));
      if (problem !== undefined) throw rejected(name, `version ${version}: ${problem.message}`);
    }
  }

  /** What the version policy asks for, of what was proven; the highest that can be loaded answers. */
  #planOf(name: string): Plan {
    const model = this.#models.get(name);
    const planned = model === undefined ? [] : plannedVersions(model, this.#held.versionsOf(name));
    return {
      hold: planned.map((files) => ({
        version: files.version,
        identity: identityOf(files),
        files: async () => ({ ...files, suspected: this.#options.quarantine.isSuspected(files.digest ?? '') }),
      })),
      answers: planned.map(({ version }) => version).reverse(),
    };
  }

  /** Whether the serving process does what is wanted, or is not there to do it. */
  async #align(name: string): Promise<boolean> {
    try {
      return this.#aligned(name, await this.#held.align(name, () => this.#planOf(name)));
    } catch (error) {
      if (error instanceof ServingGone) return true;
      throw error;
    }
  }

  #aligned(name: string, failed: readonly VersionFailure[]): boolean {
    for (const { version, error } of failed) {
      this.#refuse(name, version, failureOf(error), 'forget');
      const known = this.#models.get(name)?.versions.get(version);
      if (known !== undefined && !isModelsDoing(error)) this.#tryAgain(known);
    }
    return failed.length === 0;
  }

  /** What kept these files from being tried or loaded was none of their doing; meanwhile the next best version serves. */
  #tryAgain(known: FolderVersion): void {
    const waitMs = nextTryMs(known);
    if (waitMs === undefined) return;
    const again = () => {
      known.tried = undefined;
      this.#options.lookSoon();
    };
    setTimeout(again, waitMs).unref();
  }

  /** `forget`: what was proven is not loaded again. */
  #refuse(name: string, version: number, problem: Failure, files: 'keep' | 'forget' = 'keep'): void {
    const known = this.#models.get(name)?.versions.get(version);
    if (known === undefined) return;
    known.problem = problem;
    if (files === 'forget') known.files = undefined;
    this.#options.log.error({ model: name, version, reason: problem.message }, 'cannot be served');
  }

  #judge(suspects: readonly Suspect[], detail: string): void {
    const accused = suspects.flatMap((suspect) => this.#accusedOf(suspect));
    const guilty = this.#options.quarantine.blame(accused, detail);
    if (guilty === undefined) return;
    this.#refuse(guilty.name, guilty.version, guilty.error, 'forget');
    this.#options.lookSoon();
  }

  #accusedOf({ name, version }: Suspect): Accused[] {
    const digest = this.#models.get(name)?.versions.get(version)?.files?.digest;
    if (digest === undefined) return [];
    const answered = [...this.#answered.values()].map((counts) => counts.get(`${name}@${version}`) ?? 0);
    return [{ name, version, digest, word: '', succeeded: answered.reduce((sum, count) => sum + count, 0) }];
  }

  #tellKnown(): void {
    const known = [...this.#models].flatMap(([name, model]) => knownOf(name, model));
    this.#options.serving.tell(known, this.#misplaced);
  }

  #unknown(action: string, name: string): AppError {
    const { folder } = this.#options;
    const reasons = this.#misplaced
      .filter((each) => each.name === name)
      .map(({ version, reason }) => (version === '' ? reason : `version ${version}: ${reason}`));
    const why = reasons.length === 0 ? '' : ` that can be served: ${reasons.join('; ')}`;
    const message = `failed to ${action} "${name}": unknown model, ${folder} holds none of this name${why}`;
    return new AppError('not_found', message);
  }
}

function rejected(name: string, reason: string): AppError {
  return new AppError('model_rejected', `failed to load "${name}": ${reason}`);
}

/** The manifest counts, too: another one is another model to its callers. */
function identityOf({ digest, path, manifest, tuning }: ModelFiles): string {
  return JSON.stringify([digest, path, manifest, tuning]);
}
