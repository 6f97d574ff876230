// Which versions of a folder's models the serving process holds; brings it to what is wanted, one model at a time each.
import { AppError } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import { ServingGone } from '../process/calls.ts';
import type { ModelFiles } from '../process/ipc.ts';
import type { ServingProcess } from '../process/serving-process.ts';

export interface FolderHeld {
  names(): string[];
  versionsOf(name: string): number[];
  /**
   * Loads, activates the last one and unloads, until `plan()` is what is held. Resolves to what could not be loaded.
   * @throws ServingGone when the process is not there
   */
  align(name: string, plan: () => readonly ModelFiles[]): Promise<{ version: number; error: AppError }[]>;
  /** The serving process is a fresh one. */
  reset(): void;
}

interface Held {
  /** Version -> what was loaded. */
  versions: Map<number, string>;
  answers: number | undefined;
}

export function createFolderHeld(
  serving: Pick<ServingProcess, 'load' | 'activate' | 'unload'>,
  log: Logger,
): FolderHeld {
  const models = new Map<string, Held>();
  const turns = new Map<string, Promise<unknown>>();
  /** Counts the serving processes: work that was begun for a former one ends. */
  let life = 0;

  const heldOf = (name: string): Held => {
    const held = models.get(name) ?? { versions: new Map<number, string>(), answers: undefined };
    models.set(name, held);
    return held;
  };

  async function inLife(mine: number, work: () => Promise<void>): Promise<void> {
    if (mine !== life) throw new ServingGone('it was started again');
    await work();
    if (mine !== life) throw new ServingGone('it was started again');
  }

  async function unload(name: string, version: number, mine: number): Promise<void> {
    const held = heldOf(name);
    held.versions.delete(version);
    if (held.answers === version) held.answers = undefined;
    await inLife(mine, () => serving.unload(name, version));
    log.info({ model: name, version }, 'is unloaded');
  }

  async function load(files: ModelFiles, mine: number): Promise<AppError | undefined> {
    const { name, version } = files;
    const identity = identityOf(files);
    const present = heldOf(name).versions.get(version);
    if (present === identity) return undefined;
    if (present !== undefined) await unload(name, version, mine);
    try {
      await inLife(mine, () => serving.load(files));
      heldOf(name).versions.set(version, identity);
      return undefined;
    } catch (error) {
      if (!(error instanceof AppError) || error instanceof ServingGone) throw error;
      return error;
    }
  }

  async function align(name: string, plan: () => readonly ModelFiles[], mine: number) {
    const failed: { version: number; error: AppError }[] = [];
    for (const files of plan()) {
      const error = await load(files, mine);
      if (error !== undefined) failed.push({ version: files.version, error });
    }
    const planned = plan().map(({ version }) => version);
    const held = heldOf(name);
    const answers = planned.filter((version) => held.versions.has(version)).at(-1);
    if (answers !== undefined && answers !== held.answers) {
      await inLife(mine, () => serving.activate(name, answers));
      held.answers = answers;
      log.info({ model: name, version: answers }, 'serves');
    }
    for (const version of [...held.versions.keys()]) if (!planned.includes(version)) await unload(name, version, mine);
    if (held.versions.size === 0) models.delete(name);
    return failed;
  }

  return {
    names: () => [...models.keys()],
    versionsOf: (name) => [...(models.get(name)?.versions.keys() ?? [])],
    align(name, plan) {
      const mine = life;
      const result = (turns.get(name) ?? Promise.resolve()).then(() => align(name, plan, mine));
      turns.set(
        name,
        result.catch(() => undefined),
      );
      return result;
    },
    reset() {
      life += 1;
      models.clear();
      turns.clear();
    },
  };
}

/** The manifest counts, too: another one is another model to its callers. */
function identityOf({ digest, path, manifest, tuning }: ModelFiles): string {
  return JSON.stringify([digest, path, manifest, tuning]);
}
