// Profiles of registered versions never change, and reading one means parsing a manifest of up to megabytes.
import type { ReferenceProfile } from '@edgeloop/shared/profile';

type ReadReference = (model: string, version: number) => Promise<ReferenceProfile | undefined>;

/** Profiles kept; the one used longest ago goes first. */
const kept = 32;

/** Absence is not kept: the version may be registered later. */
export function createReferenceCache(read: ReadReference): ReadReference {
  const profiles = new Map<string, ReferenceProfile>();
  return async (model, version) => {
    const key = `${model} ${version}`;
    const profile = profiles.get(key) ?? (await read(model, version));
    if (profile === undefined) return undefined;
    profiles.delete(key);
    profiles.set(key, profile);
    const [oldest] = profiles.keys();
    if (profiles.size > kept && oldest !== undefined) profiles.delete(oldest);
    return profile;
  };
}
