// Takes devices back to the last version that completed on them. Which one that is is looked up when they go back, since
// earlier rollouts may have come to their own end meanwhile.
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import type { Labels } from '@edgeloop/shared/selector';
import type { Reader, Transaction } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { named } from './history.ts';
import { type Claims, fallbackOf } from './precedence.ts';
import type { RolloutStore } from './rollout-store.ts';

/** Devices that go back to the same. */
export interface Fallback {
  /** The completed rollout by whose word they run the model again; null when none has completed on them. */
  to: { rollout: Rollout; version: ModelVersionDetail } | null;
  deviceIds: string[];
}

interface FallbackDeps {
  store: RolloutStore;
  reader: Reader;
  registry: Pick<Registry, 'version'>;
}

interface Returning {
  deviceIds: readonly string[];
  claims: Claims;
  labels: (deviceId: string) => Labels | undefined;
}

/** What each of `deviceIds`, which the rollout gives back, goes back to. */
export async function fallbacksOf(
  { store, reader, registry }: FallbackDeps,
  { model }: Rollout,
  { deviceIds, claims, labels }: Returning,
): Promise<Fallback[]> {
  if (deviceIds.length === 0) return [];
  const had = await store.newestCompleted(reader, model, deviceIds);
  const byTarget = new Map<string | undefined, string[]>();
  for (const id of deviceIds) {
    const target = fallbackOf(claims, { labels: labels(id) ?? {}, had: had.get(id) });
    const same = byTarget.get(target);
    if (same === undefined) byTarget.set(target, [id]);
    else same.push(id);
  }
  return Promise.all(
    [...byTarget].map(async ([target, ids]): Promise<Fallback> => {
      const rollout = target === undefined ? undefined : await store.rollout(reader, target);
      if (rollout === undefined) return { to: null, deviceIds: ids };
      return { to: { rollout, version: await registry.version(model, rollout.version) }, deviceIds: ids };
    }),
  );
}

/** Whether what was looked up still holds: an operator may have taken back what had completed. */
export async function isCurrent(
  store: RolloutStore,
  tx: Transaction,
  fallbacks: readonly Fallback[],
): Promise<boolean> {
  for (const { to } of fallbacks) {
    if (to !== null && (await store.rollout(tx, to.rollout.id))?.state.phase !== 'completed') return false;
  }
  return true;
}

export interface GivingBack {
  store: RolloutStore;
  fleet: Fleet;
}

/** Only what is still desired by this rollout's word is given back. `at`: one instant for the whole transaction. */
export async function giveBack(
  { store, fleet }: GivingBack,
  tx: Transaction,
  { id, model }: Rollout,
  { to, deviceIds, at }: Fallback & { at: number },
): Promise<void> {
  const present = await fleet.desiredOf(tx, deviceIds, model);
  const own = deviceIds.filter((deviceId) => present.get(deviceId)?.rolloutId === id);
  if (own.length === 0) return;
  if (to === null) await fleet.assign(tx, own, model, null);
  else {
    const { version, release, signature } = to.version;
    const wave = to.rollout.plan.waves.length - 1;
    await store.keepMembers(tx, to.rollout.id, { deviceIds: own, wave, at });
    await fleet.assign(tx, own, model, { version, release, signature, rolloutId: to.rollout.id });
  }
  await store.tell(tx, id, { at, text: describe(to, own) });
}

function describe(to: Fallback['to'], deviceIds: readonly string[]): string {
  return to === null
    ? `taken away from ${named(deviceIds)}: no version had completed there before`
    : `back to version ${to.version.version}, which had completed: ${named(deviceIds)}`;
}
