// Model versions that the supervisor knows and this process does not hold: callers are told to come back, or why there
// is no use in it, instead of "unknown model".
import { AppError } from '@edgeloop/shared/errors';
import type { Engine } from '../inference/engine.ts';
import type { KnownModel } from '../process/ipc.ts';

export interface KnownModels {
  /** The engine, with better words for what is known and not loaded. */
  engine: Engine;
  set(models: readonly KnownModel[]): void;
  /** Those that are not loaded at this moment. */
  list(): KnownModel[];
}

export function createKnownModels(engine: Engine): KnownModels {
  let known: readonly KnownModel[] = [];

  const list = (): KnownModel[] => {
    const loaded = new Set(engine.list().map(({ name, version }) => `${name}@${version}`));
    return known.filter(({ name, version }) => !loaded.has(`${name}@${version}`));
  };

  /** A name without a version stands for whichever comes first. */
  const explain = (error: unknown, name: string, version: number | undefined): unknown => {
    if (!(error instanceof AppError) || error.code !== 'not_found') return error;
    const mine = list().filter((each) => each.name === name && (version === undefined || each.version === version));
    const found = mine.find(({ state }) => state === 'LOADING') ?? mine.at(-1);
    if (found === undefined) return error;
    const what = `model "${name}" version ${found.version}`;
    if (found.state === 'LOADING')
      return new AppError('unavailable', `${what} cannot be asked yet: ${found.reason}`, { retryAfterSeconds: 1 });
    return new AppError(
      'not_found',
      `Request for unknown model: "${name}": version ${found.version} is not served: ${found.reason}`,
    );
  };

  return {
    engine: {
      ...engine,
      lease(name, version) {
        try {
          return engine.lease(name, version);
        } catch (error) {
          throw explain(error, name, version);
        }
      },
    },
    set(models) {
      known = models;
    },
    list,
  };
}
