// Waves before those that serve: devices run the version beside the one that answers, and let go of it when their wave is over.
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { besideTerms, type Rollout } from '@edgeloop/shared/api/rollouts';
import { ActivationTerms } from '@edgeloop/shared/messages';
import type { Transaction } from '../database/open.ts';
import type { BesideAssignment, Fleet } from '../fleet/fleet.ts';

/** What devices of the wave should run beside their version; undefined of a wave that serves. */
export function besideOf(
  { id: rolloutId, plan }: Pick<Rollout, 'id' | 'plan'>,
  wave: number,
  {
    version,
    release,
    signature,
    attempt,
  }: Pick<ModelVersionDetail, 'version' | 'release' | 'signature'> & { attempt?: number },
): BesideAssignment | undefined {
  const how = besideTerms(plan.waves[wave]);
  if (how === undefined) return undefined;
  const terms = Object.entries(ActivationTerms.parse(plan)).filter(([, value]) => value !== undefined);
  const given = { version, release, signature, rolloutId, ...how, ...Object.fromEntries(terms) };
  return attempt === undefined ? given : { ...given, attempt };
}

/** Devices that run it beside their version by this rollout's word do so no more. */
export async function withdraw(
  fleet: Pick<Fleet, 'desiredOf' | 'runBeside'>,
  tx: Transaction,
  { rollout, deviceIds }: { rollout: Pick<Rollout, 'id' | 'model'>; deviceIds: readonly string[] },
): Promise<string[]> {
  const { id, model } = rollout;
  const present = await fleet.desiredOf(tx, deviceIds, model);
  const own = deviceIds.filter((deviceId) => present.get(deviceId)?.beside?.rolloutId === id);
  await fleet.runBeside(tx, own, model, null);
  return own;
}
