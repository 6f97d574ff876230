// States as agents wrote them that told releases apart by their numbers. What the numbers stood for then lies on disk.
import { Instant, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { ModelState } from './model-state.ts';

const FormerState = ModelState.extend({
  active: z.object({ version: ModelVersion, since: Instant }).nullable(),
  lastGood: ModelVersion.nullable(),
  previousGood: ModelVersion.nullable().default(null),
});

/** Digest of the release that lies on disk under a number; undefined when none does. */
export type ReleaseOnDisk = (name: string, version: number) => string | undefined;

/** Parses a state of any age. A version whose files are gone is left out. */
export function anyModelState(releaseOnDisk: ReleaseOnDisk) {
  const former = FormerState.transform((state): ModelState => {
    const found = (version: number | null) => {
      const release = version === null ? undefined : releaseOnDisk(state.name, version);
      return version === null || release === undefined ? null : { version, release };
    };
    const answering = found(state.active?.version ?? null);
    return {
      ...state,
      active: answering && { ...answering, since: state.active?.since ?? 0 },
      lastGood: found(state.lastGood),
      previousGood: found(state.previousGood),
    };
  });
  return z.union([ModelState, former]);
}
