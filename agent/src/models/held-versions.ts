// Which versions the serving process holds and which of them answers; brings both in line with the models' states. One
// change at a time: loading two models at once would take the memory of both. Only after a restart, when all are
// wanted back quickly and their memory is known to suffice, are models loaded beside each other.
import { availableParallelism } from 'node:os';
import { messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import { ServingGone } from '../process/calls.ts';
import type { ModelFiles } from '../process/ipc.ts';
import type { ServingProcess } from '../process/serving-process.ts';
import { type ModelState, versionsToHold } from './rollout/model-state.ts';

export type Serving = Pick<ServingProcess, 'load' | 'activate' | 'unload' | 'up' | 'tell'>;

export interface HeldVersions {
  /** Loads, activates and unloads until the serving process does what `state()` says. @throws AppError when a load fails */
  align(name: string, state: () => ModelState): Promise<void>;
  /** The same for many models at once; `failed` is told of those that cannot be loaded. */
  alignAll(names: readonly string[], state: (name: string) => ModelState, failed: Failed): Promise<void>;
  /** Loads a candidate beside what answers, then lets it answer unless `signal` aborted meanwhile. */
  admit(name: string, version: number, signal: AbortSignal): Promise<void>;
  /** SHA-256 of what is loaded as this version, or was in the process that just died. */
  digestOf(name: string, version: number): string | undefined;
  /** The serving process is a fresh one. */
  reset(): void;
}

type Failed = (name: string, error: unknown) => void;

export interface HeldVersionsOptions {
  serving: Serving;
  filesOf(name: string, version: number): Promise<ModelFiles>;
  log: Logger;
}

const besideEachOther = Math.max(2, availableParallelism());

export function createHeldVersions({ serving, filesOf, log }: HeldVersionsOptions): HeldVersions {
  const loaded = new Map<string, Set<number>>();
  const digests = new Map<string, string>();
  const answering = new Map<string, number>();
  let turn: Promise<unknown> = Promise.resolve();
  /** Counts the serving processes: work that was begun for a former one ends. */
  let life = 0;

  function inTurn<T>(work: (mine: number) => Promise<T>): Promise<T> {
    const mine = life;
    const result = turn.then(() => work(mine));
    turn = result.catch(() => undefined);
    return result;
  }

  function requireLife(mine: number): void {
    if (mine !== life) throw new ServingGone('it was started again');
  }

  function heldOf(name: string): Set<number> {
    const held = loaded.get(name) ?? new Set();
    loaded.set(name, held);
    return held;
  }

  async function load(name: string, version: number, mine: number): Promise<void> {
    requireLife(mine);
    if (heldOf(name).has(version)) return;
    const files = await filesOf(name, version);
    requireLife(mine);
    if (files.digest !== undefined) digests.set(`${name}@${version}`, files.digest);
    await serving.load(files);
    requireLife(mine);
    heldOf(name).add(version);
  }

  async function answer(name: string, version: number, mine: number): Promise<void> {
    requireLife(mine);
    if (answering.get(name) === version) return;
    await serving.activate(name, version);
    requireLife(mine);
    answering.set(name, version);
    log.info({ model: name, version }, 'answers requests');
  }

  async function unload(name: string, version: number, mine: number): Promise<void> {
    requireLife(mine);
    heldOf(name).delete(version);
    if (answering.get(name) === version) answering.delete(name);
    await serving.unload(name, version);
  }

  async function align(name: string, state: () => ModelState, mine: number): Promise<void> {
    const { active } = state();
    if (active !== null) {
      await load(name, active.version, mine);
      await answer(name, active.version, mine);
    }
    const hold = versionsToHold(state());
    for (const version of hold) {
      // What one would fall back to may fail to load without harm to what answers.
      if (version !== active?.version)
        await load(name, version, mine).catch((error: unknown) =>
          log.warn({ model: name, version, reason: messageOf(error) }, 'the version to fall back to is not loaded'),
        );
    }
    for (const version of [...heldOf(name)]) if (!hold.includes(version)) await unload(name, version, mine);
  }

  async function alignAll(
    names: readonly string[],
    state: (name: string) => ModelState,
    { mine, failed }: { mine: number; failed: Failed },
  ): Promise<void> {
    const left = [...names];
    const lane = async () => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        const current = name;
        await align(current, () => state(current), mine).catch((error: unknown) => {
          if (!isAboutModel(error)) throw error;
          failed(current, error);
        });
      }
    };
    await Promise.all(Array.from({ length: besideEachOther }, lane));
  }

  return {
    align: (name, state) => inTurn((mine) => align(name, state, mine)),
    alignAll: (names, state, failed) => inTurn((mine) => alignAll(names, state, { mine, failed })),
    digestOf: (name, version) => digests.get(`${name}@${version}`),
    admit: (name, version, signal) =>
      inTurn(async (mine) => {
        signal.throwIfAborted();
        await load(name, version, mine);
        signal.throwIfAborted();
        await answer(name, version, mine);
      }),
    reset() {
      life += 1;
      loaded.clear();
      answering.clear();
      turn = Promise.resolve();
    },
  };
}

/** Whether a failed call says something about the model, rather than about the process that was asked. */
export function isAboutModel(error: unknown): boolean {
  return !(error instanceof ServingGone);
}
