// The models of a folder: looks again and again at what is there, proves what is new, and brings the serving process to
// what the version policies ask for. A version that fails is told with its reason, and the next best one serves.

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import { ServingGone } from '../../process/calls.ts';
import type { KnownModel, LoadOverride, ModelFiles, ServingCounts } from '../../process/ipc.ts';
import type { Death, ServingProcess, Suspect } from '../../process/serving-process.ts';
import { createFolderHeld } from '../folder-held.ts';
import type { Failure } from '../rollout/model-state.ts';
import type { Accused, Quarantine } from '../trying/quarantine.ts';
import { createOverriddenFolder } from './overrides.ts';
import { type FoundModel, wantedVersions } from './scan.ts';
import { type FolderModel, knownOf, newFolderModel, note, plannedVersions, versionToPrepare } from './state.ts';

export interface FolderModelsOptions {
  folder: string;
  serving: Pick<ServingProcess, 'load' | 'activate' | 'unload' | 'tell'>;
  /** Loads and runs a version in a process of its own. Undefined when it holds. */
  prove(model: ModelFiles): Promise<Failure | undefined>;
  /** Adds how the model is known to run best; `replaces`: another version serves meanwhile, so it may be measured. */
  tuned(model: ModelFiles, replaces: boolean): Promise<ModelFiles>;
  quarantine: Quarantine;
  log: Logger;
  /** Something is being written there, or has failed: look again before long. */
  lookSoon(): void;
}

export interface FolderModels {
  /** Looks at the folder and brings the serving process, if it is there, to what is wanted. @throws AppError `not_found` */
  look(): Promise<void>;
  /** Brings a fresh serving process to what is known to be wanted. */
  restore(): Promise<void>;
  /** Everything that was found at first is served, or refused. */
  settled(): Promise<void>;
  servingDied(death: Death): void;
  /** The own process of a model died; the serving process goes on. */
  modelDied(suspect: Suspect, detail: string): void;
  update(counts: readonly ServingCounts[]): void;
  /** @throws AppError `not_found`, or why the model cannot be served; what served before goes on then */
  control(action: 'load' | 'unload', name: string, override?: LoadOverride): Promise<void>;
}

/** Proofs and loads beside each other. */
const lanes = Math.max(2, availableParallelism());

export function createFolderModels(options: FolderModelsOptions): FolderModels {
  const { folder, serving, quarantine, log } = options;
  const models = new Map<string, FolderModel>();
  const held = createFolderHeld(serving, log);
  const source = createOverriddenFolder(folder);
  /** Somebody asked for these, so nobody is writing them. */
  const asked = new Set<string>();
  const answered = new Map<string, number>();
  let suspected = new Set<string>();
  let first: Promise<void> | undefined;
  let looked = false;
  const looks = createTurn();

  function tellKnown(): void {
    serving.tell([...models].flatMap(([name, model]): KnownModel[] => knownOf(name, model)));
  }

  function refuse(name: string, version: number, problem: Failure): void {
    const known = models.get(name)?.versions.get(version);
    if (known === undefined) return;
    known.problem = problem;
    log.error({ model: name, version, reason: problem.message }, 'cannot be served');
  }

  async function lookNow(): Promise<void> {
    const isFirst = !looked;
    // What is asked for while this reads is for the next look: this may not see it yet.
    const atOnce = new Set(asked);
    asked.clear();
    const found = await source.scan();
    looked = true;
    if (isFirst && found.length === 0)
      log.warn({ folder }, `holds no model yet; put one at ${join(folder, 'NAME', '1', 'model.onnx')}`);
    for (const each of found) noteModel(each, isFirst || atOnce.has(each.name));
    for (const name of models.keys()) if (!found.some((each) => each.name === name)) models.delete(name);
    tellKnown();
    const names = [...new Set([...models.keys(), ...held.names()])];
    await inLanes(names, async (name) => bring(name));
    tellKnown();
  }

  function noteModel(found: FoundModel, atOnce: boolean): void {
    const model = models.get(found.name) ?? newFolderModel();
    models.set(found.name, model);
    const before = model.error?.message;
    if (!note(model, found, atOnce)) options.lookSoon();
    if (model.error !== undefined && model.error.message !== before)
      log.error({ model: found.name, reason: model.error.message }, 'cannot be served as its folder says');
  }

  /** Prepares and aligns one model until nothing more fails. */
  async function bring(name: string): Promise<void> {
    for (let done = false; !done; ) {
      const model = models.get(name);
      const holds = held.versionsOf(name);
      for (
        let version = model && versionToPrepare(model, holds);
        model !== undefined && version !== undefined;
        version = versionToPrepare(model, holds)
      ) {
        await prepare(name, model, version);
      }
      done = await align(name);
    }
  }

  async function prepare(name: string, model: FolderModel, version: number): Promise<void> {
    const known = model.versions.get(version);
    if (known === undefined) return;
    known.tried = known.seen;
    known.problem = undefined;
    try {
      const files = await source.read(name, version);
      const problem = await problemOf(files);
      if (problem !== undefined) return refuse(name, version, problem);
      known.files = await options.tuned(files, held.versionsOf(name).length > 0);
    } catch (error) {
      // It was removed while it was read: the next look knows.
      if (!(error instanceof AppError)) options.lookSoon();
      refuse(name, version, failureOf(error));
    }
  }

  async function problemOf(files: ModelFiles): Promise<Failure | undefined> {
    return quarantine.reasonFor(files.digest ?? '', '') ?? (await options.prove(files));
  }

  /** Before anything is changed, so that what serves goes on when it does not hold. */
  async function proveOverride(name: string, override: LoadOverride): Promise<void> {
    const found = await source.find(name, override);
    if (found === undefined) throw unknown('load', name);
    const present = found.versions.map(({ version }) => version);
    const wanted = wantedVersions(found.policy, present);
    if (wanted.length === 0) throw rejected(name, `its version policy leaves out all of ${present.join(', ')}`);
    for (const version of wanted) {
      const problem = await problemOf(await source.read(name, version, override));
      if (problem !== undefined) throw rejected(name, `version ${version}: ${problem.message}`);
    }
  }

  function unknown(action: string, name: string): AppError {
    return new AppError('not_found', `failed to ${action} "${name}": unknown model, ${folder} holds none of this name`);
  }

  /** Whether the serving process does what is wanted, or is not there to do it. */
  async function align(name: string): Promise<boolean> {
    const failed = await held
      .align(name, () => {
        const model = models.get(name);
        return model === undefined ? [] : plannedVersions(model, held.versionsOf(name));
      })
      .catch((error: unknown) => {
        if (error instanceof ServingGone) return undefined;
        throw error;
      });
    for (const { version, error } of failed ?? []) {
      refuse(name, version, failureOf(error));
      const known = models.get(name)?.versions.get(version);
      if (known !== undefined) known.files = undefined;
    }
    return failed === undefined || failed.length === 0;
  }

  function look(): Promise<void> {
    const result = looks.run(lookNow);
    first ??= result;
    return result;
  }

  function accusedOf({ name, version }: { name: string; version: number }): Accused[] {
    const digest = models.get(name)?.versions.get(version)?.files?.digest;
    if (digest === undefined) return [];
    return [{ name, version, digest, word: '', succeeded: answered.get(`${name}@${version}`) ?? 0 }];
  }

  function judge(suspects: readonly Suspect[], detail: string): void {
    const guilty = quarantine.blame(suspects.flatMap(accusedOf), detail);
    if (guilty === undefined) return;
    const known = models.get(guilty.name)?.versions.get(guilty.version);
    if (known !== undefined) known.files = undefined;
    refuse(guilty.name, guilty.version, guilty.error);
    options.lookSoon();
  }

  return {
    look,
    async restore() {
      tellKnown();
      const late = [...suspected];
      suspected = new Set();
      await inLanes(
        [...models.keys()].filter((name) => !late.includes(name)),
        async (name) => {
          if (!(await align(name))) options.lookSoon();
        },
      );
      // Nobody waits for what may end this process, too.
      if (late.length > 0) options.lookSoon();
    },
    async settled() {
      await first?.catch(() => undefined); // Whoever looked is told.
    },
    servingDied({ suspects, detail }) {
      held.reset();
      suspected = new Set(suspects.map(({ name }) => name));
      judge(suspects, detail);
    },
    modelDied: (suspect, detail) => judge([suspect], detail),
    update(counts) {
      for (const { name, version, succeeded } of counts) answered.set(`${name}@${version}`, succeeded);
    },
    async control(action, name, override) {
      if (override !== undefined) await proveOverride(name, override);
      source.set(name, override);
      asked.add(name);
      const model = models.get(name);
      if (model !== undefined) model.unloaded = action === 'unload';
      // A person asks: what failed before is tried once more.
      if (action === 'load') for (const known of model?.versions.values() ?? []) known.tried = undefined;
      await look();
      const now = models.get(name);
      await source.tidy();
      if (now === undefined) throw unknown(action, name);
      now.unloaded = action === 'unload';
      if (action === 'unload' || held.versionsOf(name).length > 0) return;
      const problem = now.error ?? [...now.versions.values()].at(-1)?.problem;
      if (override !== undefined) {
        // It held when it was proven, and yet cannot be served: back to what the folder says.
        source.set(name, undefined);
        asked.add(name);
        await look();
      }
      throw rejected(name, problem?.message ?? 'it was not proven');
    },
  };
}

function rejected(name: string, reason: string): AppError {
  return new AppError('model_rejected', `failed to load "${name}": ${reason}`);
}

async function inLanes(names: readonly string[], work: (name: string) => Promise<void>): Promise<void> {
  const left = [...names];
  const lane = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await work(name);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}
