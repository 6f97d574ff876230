// Which devices belong to which wave: shares of the matching devices in an order that depends on nothing but names.
import { createHash } from 'node:crypto';
import type { RolloutPlan } from '@edgeloop/shared/api/rollouts';

/** Device ids in the order in which waves take them: the same for every rollout of a model. */
export function waveOrder(model: string, deviceIds: readonly string[]): string[] {
  const keyed = deviceIds.map((id) => ({ id, key: createHash('sha256').update(`${model}\n${id}`).digest('hex') }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ id }) => id);
}

/** How many of `total` devices have the version once this wave is out: at least one, if there is one. */
export function waveSize(waves: RolloutPlan['waves'], wave: number, total: number): number {
  const percent = waves[wave]?.percent ?? 100;
  // Percentages like 33.3 of 1000 must not be rounded up by the last bit of a float.
  return Math.min(total, Math.max(1, Math.ceil((percent * total) / 100 - 1e-9)));
}

/** The wave in which the device at `rank` of `total` has its turn. */
export function waveOfRank(waves: RolloutPlan['waves'], rank: number, total: number): number {
  const wave = waves.findIndex((_, i) => rank < waveSize(waves, i, total));
  return wave === -1 ? waves.length - 1 : wave;
}
