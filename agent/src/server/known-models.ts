// Model versions that the supervisor knows and this process does not hold. Callers of what comes in a moment, because it
// answered before, wait for it; others are told to come back, or why there is no use in it, instead of "unknown model".
import { AppError } from '@edgeloop/shared/errors';
import type { Engine, ModelLease } from '../inference/engine.ts';
import type { HangUp } from '../inference/queueing/hang-up.ts';
import type { KnownModel, Misplaced } from '../process/ipc.ts';
import type { Hold } from './body-memory.ts';
import { leaseNamed } from './lease.ts';

export interface KnownModels {
  /** The engine, with better words for what is known and not loaded. */
  engine: Engine;
  arrivals: Arrivals;
  set(models: readonly KnownModel[], misplaced?: readonly Misplaced[]): void;
  /** Those that are not loaded at this moment. */
  list(): KnownModel[];
  /** What is nearly a model. */
  misplaced(): readonly Misplaced[];
  /** Whoever waits is told that it does not come any more. */
  close(): void;
}

/** A request, as far as it matters for waiting. */
export interface Waiting {
  model: string;
  version: string | undefined;
  caller: HangUp;
  /** Each who waits takes some of the memory of requests, which bounds how many may. */
  hold: Hold;
}

export interface Arrivals {
  /** Waits for what could not be leased because of `error`. @throws `error` when it does not come, or not in time */
  next(error: unknown, waiting: Waiting): Promise<ModelLease>;
  /**
   * After the own process of a model died: the model again when it was killed from outside, else what takes its place
   * while it is on trial. @throws `error` when nothing does, or not in time
   */
  successor(error: AppError, failed: ModelLease, waiting: Waiting): Promise<ModelLease>;
}

/** Large models are back within it on small devices; few callers wait longer themselves. */
const waitAtMostMs = 30_000;
/** The version to go back to is held: only a few messages have to go to and fro. */
const successorAtMostMs = 5_000;
/** What a waiting request holds besides its body: socket, headers, promises. */
const waitingBytes = 16 * 1024;

/** Known to come in a moment. */
class ComesSoon extends AppError {}

export function createKnownModels(engine: Engine, waitMs = waitAtMostMs): KnownModels {
  let known: readonly KnownModel[] = [];
  let misplaced: readonly Misplaced[] = [];
  /** Who looks whether what it waits for is there -> how it gives up. */
  const waiting = new Map<() => void, () => void>();

  const list = (): KnownModel[] => {
    const loaded = new Set(engine.list().map(({ name, version }) => `${name}@${version}`));
    return known.filter(({ name, version }) => !loaded.has(`${name}@${version}`));
  };

  const lease = (name: string, version?: number): ModelLease => {
    try {
      return engine.lease(name, version);
    } catch (error) {
      // Loaded, and none of its versions answers yet: those are not left out.
      const isLoaded = error instanceof AppError && error.code === 'unavailable';
      throw explained(error, isLoaded ? known : list(), { name, version, misplaced });
    }
  };

  const changed = (): void => {
    for (const look of [...waiting.keys()]) look();
  };

  /** Tries again with every change until `attempt` gives something or throws what there is no use in waiting for. */
  const waitFor = (
    error: unknown,
    { caller, hold }: Waiting,
    { atMostMs, attempt }: { atMostMs: number; attempt(): ModelLease | undefined },
  ): Promise<ModelLease> => {
    hold.take(waitingBytes);
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        caller.forget(giveUp);
        waiting.delete(look);
      };
      const giveUp = (): void => {
        end();
        reject(error);
      };
      const look = (): void => {
        try {
          const found = attempt();
          if (found === undefined) return;
          end();
          resolve(found);
        } catch (other) {
          end();
          reject(other);
        }
      };
      const timer = setTimeout(giveUp, atMostMs);
      caller.notify(giveUp);
      waiting.set(look, giveUp);
      look();
    });
  };

  const arrivals: Arrivals = {
    async next(error, asked) {
      if (!(error instanceof ComesSoon)) throw error;
      const attempt = (): ModelLease | undefined => leaseUnlessSoon(lease, asked);
      return waitFor(error, asked, { atMostMs: waitMs, attempt });
    },
    async successor(error, { model: failed }, asked) {
      if (error.code === 'unavailable') return leaseNamed({ lease }, asked.model, asked.version);
      if (failed.files.onTrial !== true || asked.version !== undefined) throw error;
      const attempt = (): ModelLease | undefined => {
        const found = leaseUnlessSoon(lease, asked);
        if (found?.model !== failed) return found;
        found.release();
        return undefined;
      };
      return waitFor(error, asked, { atMostMs: Math.min(waitMs, successorAtMostMs), attempt });
    },
  };

  return {
    engine: {
      ...engine,
      lease,
      async load(files) {
        await engine.load(files);
        changed();
      },
      activate(name, version) {
        engine.activate(name, version);
        changed();
      },
    },
    arrivals,
    set(models, nearly = []) {
      known = models;
      misplaced = nearly;
      changed();
    },
    list,
    misplaced: () => misplaced,
    close() {
      for (const giveUp of [...waiting.values()]) giveUp();
    },
  };
}

/** Undefined while it is worth while to wait. */
function leaseUnlessSoon(lease: Engine['lease'], { model, version }: Waiting): ModelLease | undefined {
  try {
    return leaseNamed({ lease }, model, version);
  } catch (error) {
    if (error instanceof ComesSoon) return undefined;
    throw error;
  }
}

/** A name without a version stands for whichever comes first. */
function explained(
  error: unknown,
  notLoaded: readonly KnownModel[],
  { name, version, misplaced }: { name: string; version: number | undefined; misplaced: readonly Misplaced[] },
): unknown {
  if (!(error instanceof AppError) || (error.code !== 'not_found' && error.code !== 'unavailable')) return error;
  const mine = notLoaded.filter((each) => each.name === name && (version === undefined || each.version === version));
  const found = mine.find(({ soon }) => soon) ?? mine.find(({ state }) => state === 'LOADING') ?? mine.at(-1);
  if (found === undefined) return error.code === 'not_found' ? nearlyThere(error, misplaced, name, version) : error;
  const what = `model "${name}" version ${found.version}`;
  if (found.state === 'LOADING') {
    const kind = found.soon === true ? ComesSoon : AppError;
    return new kind('unavailable', `${what} cannot be asked yet: ${found.reason}`, { retryAfterSeconds: 1 });
  }
  if (error.code === 'unavailable') return error;
  return new AppError(
    'not_found',
    `Request for unknown model: "${name}": version ${found.version} is not served: ${found.reason}`,
  );
}

/** Somebody put it there, but not where it is looked for. */
function nearlyThere(
  error: AppError,
  misplaced: readonly Misplaced[],
  name: string,
  version: number | undefined,
): AppError {
  const mine = misplaced.find(
    (each) => each.name === name && (version === undefined || each.version === String(version)),
  );
  return mine === undefined ? error : new AppError('not_found', `${error.message}: it is not served: ${mine.reason}`);
}
