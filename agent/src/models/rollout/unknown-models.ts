// Models on disk that no state knows, after the database was lost: better served than not, until it is said again what
// is desired.

import type { ModelStore } from '../store.ts';
import { type ModelState, newModelState } from './model-state.ts';

/** States that serve the highest whole version of every model that is not in `known`, and fall back to the next one. */
export async function unknownModels(store: ModelStore, known: ReadonlySet<string>): Promise<ModelState[]> {
  const found: ModelState[] = [];
  for (const name of await store.names()) {
    if (known.has(name)) continue;
    const complete = (await store.list(name)).flatMap(({ version, release, isComplete }) =>
      isComplete && release !== undefined ? [{ version, release }] : [],
    );
    const [highest, next = null] = complete.reverse();
    if (highest === undefined) continue;
    const active = { ...highest, since: Date.now() };
    found.push({ ...newModelState(name), active, lastGood: highest, previousGood: next });
  }
  return found;
}
