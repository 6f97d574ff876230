// Takes devices back to the last version that completed on them. Which one that is is looked up when they go back, since
// earlier rollouts may have come to their own end meanwhile.
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import type { Reader, Transaction } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { named } from './history.ts';
import { claimsOn, fallbackOf } from './precedence.ts';
import type { RolloutStore } from './rollout-store.ts';
import type { Round } from './views.ts';

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

/** What each of `deviceIds`, which the rollout gives back, goes back to. */
export async function fallbacksOf(
  deps: FallbackDeps,
  { model }: Rollout,
  { deviceIds, round }: { deviceIds: readonly string[]; round: Round },
): Promise<Fallback[]> {
  const { store, reader, registry } = deps;
  if (deviceIds.length === 0) return [];
  const had = await store.newestCompleted(reader, model, deviceIds);
  const claims = claimsOn(model, round.started);
  const labels = new Map(round.candidates.map((device) => [device.id, device.labels]));
  const byTarget = new Map<string | undefined, string[]>();
  for (const id of deviceIds) {
    const target = fallbackOf(claims, { labels: labels.get(id) ?? {}, had: had.get(id) });
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
  now: () => number;
}

/** Only what is still desired by this rollout's word is given back. */
export async function giveBack(
  { store, fleet, now }: GivingBack,
  tx: Transaction,
  { id, model }: Rollout,
  { to, deviceIds }: Fallback,
): Promise<void> {
  const at = now();
  const present = await fleet.desiredOf(tx, deviceIds, model);
  const own = deviceIds.filter((deviceId) => present.get(deviceId)?.rolloutId === id);
  for (const deviceId of own) {
    if (to === null) await fleet.assign(tx, deviceId, model, null);
    else {
      const { version, release, signature } = to.version;
      const wave = to.rollout.plan.waves.length - 1;
      const unseen = { online: false, connectionSince: at, servingSince: null };
      await store.keepMember(tx, to.rollout.id, { deviceId, wave, assignedAt: at, ...unseen });
      await fleet.assign(tx, deviceId, model, { version, release, signature, rolloutId: to.rollout.id });
    }
  }
  if (own.length > 0) await store.tell(tx, id, { at, text: describe(to, own) });
}

function describe(to: Fallback['to'], deviceIds: readonly string[]): string {
  return to === null
    ? `taken away from ${named(deviceIds)}: no version had completed there before`
    : `back to version ${to.version.version}, which had completed: ${named(deviceIds)}`;
}
