// How many variants the version of a rollout has: a version never changes, so each is asked for once.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import type { Registry } from '../registry/registry.ts';

export type VariantCount = (rollout: Pick<Rollout, 'model' | 'version'>) => Promise<number>;

const kept = 1000;

/** 1 for a version with one file. */
export function createVariantCount(registry: Pick<Registry, 'version'>): VariantCount {
  const known = new Map<string, number>();
  return async ({ model, version }) => {
    const key = `${model} ${version}`;
    const count = known.get(key) ?? (await registry.version(model, version)).variants?.length ?? 1;
    if (known.size >= kept) known.clear();
    known.set(key, count);
    return count;
  };
}
