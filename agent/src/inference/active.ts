// Which versions of each model are loaded and which one answers. A lease keeps its version loaded: a swap changes only
// what later requests get, and those in flight finish where they began.
import { AppError } from '@edgeloop/shared/errors';

export interface Lease<T> {
  name: string;
  version: number;
  model: T;
  /** Ends the lease; must be called once. */
  release(): void;
}

interface Entry<T> {
  model: T;
  leases: number;
  /** Called when the last lease ends; set while the version is being removed. */
  onIdle: (() => void) | undefined;
}

export interface ActiveModels<T> {
  /**
   * Later requests for this version get `model`. What it replaces, if there is any, is taken away at once and comes back
   * once its leases have ended; whether the version is the active one stays.
   */
  put(name: string, version: number, model: T): Promise<T> | undefined;
  /** Answers requests without a version from now on. Throws `not_found` when it isn't loaded. */
  activate(name: string, version: number): void;
  /** Takes the version away from new requests at once, then waits for its leases. Undefined when it wasn't loaded. */
  remove(name: string, version: number): Promise<T | undefined>;
  /** The active or the given version. Throws `not_found` with "unknown model", or `unavailable` when none is active. */
  lease(name: string, version?: number): Lease<T>;
  get(name: string, version: number): T | undefined;
  /** What answers requests without a version. */
  active(name: string): T | undefined;
  /** Every loaded version, in the order of names and versions. */
  list(): { name: string; version: number; active: boolean; model: T }[];
}

/** An empty table of versions. */
export function createActiveModels<T>(): ActiveModels<T> {
  const models = new Map<string, { active: number | undefined; versions: Map<number, Entry<T>> }>();

  const entryOf = (name: string, version: number | undefined): { version: number; entry: Entry<T> } => {
    const model = models.get(name);
    if (!model) throw new AppError('not_found', `Request for unknown model: "${name}"`);
    const wanted = version ?? model.active;
    if (wanted === undefined) {
      throw new AppError('unavailable', `model "${name}" has no active version yet`, { retryAfterSeconds: 1 });
    }
    const entry = model.versions.get(wanted);
    if (!entry) throw new AppError('not_found', `Request for unknown model: "${name}" version ${wanted}`);
    return { version: wanted, entry };
  };

  return {
    put(name, version, model) {
      const known = models.get(name) ?? { active: undefined, versions: new Map<number, Entry<T>>() };
      const former = known.versions.get(version);
      known.versions.set(version, { model, leases: 0, onIdle: undefined });
      models.set(name, known);
      return former && unused(former);
    },
    activate(name, version) {
      entryOf(name, version);
      const model = models.get(name);
      if (model) model.active = version;
    },
    async remove(name, version) {
      const model = models.get(name);
      const entry = model?.versions.get(version);
      if (!model || !entry) return undefined;
      model.versions.delete(version);
      if (model.active === version) model.active = undefined;
      if (model.versions.size === 0) models.delete(name);
      return unused(entry);
    },
    lease(name, version) {
      const { version: leased, entry } = entryOf(name, version);
      entry.leases++;
      const release = (): void => {
        entry.leases--;
        if (entry.leases === 0) entry.onIdle?.();
      };
      return { name, version: leased, model: entry.model, release };
    },
    active(name) {
      const model = models.get(name);
      return model?.active === undefined ? undefined : model.versions.get(model.active)?.model;
    },
    get: (name, version) => models.get(name)?.versions.get(version)?.model,
    list: () =>
      [...models]
        .sort(byKey)
        .flatMap(([name, { active, versions }]) =>
          [...versions]
            .sort(([a], [b]) => a - b)
            .map(([version, { model }]) => ({ name, version, active: version === active, model })),
        ),
  };
}

/** The model, once the last lease of it has ended; no new one is given. */
async function unused<T>(entry: Entry<T>): Promise<T> {
  if (entry.leases > 0) await new Promise<void>((resolve) => (entry.onIdle = resolve));
  return entry.model;
}

function byKey([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}
