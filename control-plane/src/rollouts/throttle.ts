// How many devices of a wave may be told now: by the rate of the plan, and by how many of one label value are under way.
import type { RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { Progress } from './progress.ts';

/** Devices told, or taken back, in one transaction: the rest follows at the next look, and others get their turn in between. */
export const batch = 500;

/** Devices a minute, given how many serve the version healthily. */
function rateOf({ start, factor, growAfter, cap }: NonNullable<RolloutPlan['rate']>, healthy: number): number {
  const grown = start * factor ** Math.floor(healthy / growAfter);
  return Math.floor(Math.min(grown, cap ?? Number.POSITIVE_INFINITY));
}

/** Devices up to and with this wave that may be told now: first those that another rollout has let go of. */
export function admitted(progress: Progress, wave: number, now: number): string[] {
  const { rate, maxUnavailable } = progress.subject.plan;
  let room = batch;
  if (rate !== undefined) room = Math.min(room, rateOf(rate, progress.all.healthy ?? 0) - progress.toldLately(now));
  const most = maxUnavailable?.devices ?? Number.POSITIVE_INFINITY;
  const more = new Map<string, number>();
  const full = (value: string) => progress.underWay(value) + (more.get(value) ?? 0) >= most;
  const taken: string[] = [];
  for (const id of dueIn(progress, wave, full)) {
    if (taken.length >= room) break;
    const value = progress.value(id);
    more.set(value, (more.get(value) ?? 0) + 1);
    taken.push(id);
  }
  return taken;
}

function* dueIn(progress: Progress, wave: number, full: (value: string) => boolean): Generator<string> {
  for (const id of progress.returned) if (!full(progress.value(id))) yield id;
  for (const id of progress.readyUpTo(wave, full)) if (!progress.returned.has(id)) yield id;
}

/** Why not all are told at once. */
export function describeThrottle(progress: Progress): string {
  const { rate, maxUnavailable } = progress.subject.plan;
  const words: string[] = [];
  if (rate !== undefined) words.push(`at ${rateOf(rate, progress.all.healthy ?? 0)} a minute`);
  if (maxUnavailable !== undefined) {
    const { devices, label } = maxUnavailable;
    words.push(`at most ${devices} of one ${label} at a time`);
  }
  return words.join(', ');
}
