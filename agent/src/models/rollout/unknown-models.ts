// Models on disk that no state knows, after the database was lost: better served than not, until it is said again what
// is desired.

import type { ModelStore } from '../store.ts';
import { type ModelState, newModelState } from './model-state.ts';

/** States that serve the highest whole version of every model that is not in `known`. */
export async function unknownModels(store: ModelStore, known: ReadonlySet<string>): Promise<ModelState[]> {
  const found: ModelState[] = [];
  for (const name of await store.names()) {
    if (known.has(name)) continue;
    const versions = await store.versions(name);
    const complete = await Promise.all(versions.map((version) => store.isComplete(name, version)));
    const version = versions.filter((_, at) => complete[at]).at(-1);
    if (version === undefined) continue;
    found.push({ ...newModelState(name), active: { version, since: Date.now() }, lastGood: version });
  }
  return found;
}
