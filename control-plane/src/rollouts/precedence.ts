// Which of several rollouts of one model has a device: the newer one. Ids are version 7 UUIDs, so a greater id is newer.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { type Labels, matches, parseSelector } from '@edgeloop/shared/selector';

/** A device as far as precedence goes. `owner`: the rollout by whose word it runs the model. */
export interface Claimed {
  id: string;
  labels: Labels;
  owner: string | undefined;
}

/** The newest rollout that has started on a device of `rollout`, which is thereby over. */
export function successorOf(
  rollout: Rollout,
  started: readonly Rollout[],
  { devices, members }: { devices: readonly Claimed[]; members: ReadonlySet<string> },
): string | undefined {
  const own = parseSelector(rollout.plan.selector);
  const mine = devices.filter((device) => members.has(device.id) || matches(own, device.labels));
  const newer = started
    .filter((other) => other.id > rollout.id && other.model === rollout.model)
    .filter(({ plan }) => {
      const selector = parseSelector(plan.selector);
      return mine.some(({ labels }) => matches(selector, labels));
    });
  return newer
    .map(({ id }) => id)
    .sort()
    .at(-1);
}

/**
 * Devices that match completed rollouts which say `follow`, and have neither their version nor a newer rollout's.
 * Each goes to the newest.
 */
export function followers(
  completed: readonly Rollout[],
  devicesOf: (model: string) => readonly Claimed[],
): { rollout: Rollout; deviceIds: string[] }[] {
  const newestFirst = completed.filter(({ plan }) => plan.follow).sort((a, b) => (a.id > b.id ? -1 : 1));
  const taken = new Set<string>();
  return newestFirst.flatMap((rollout) => {
    const selector = parseSelector(rollout.plan.selector);
    const matching = devicesOf(rollout.model).filter(({ labels }) => matches(selector, labels));
    const key = (id: string) => `${rollout.model}\n${id}`;
    const free = matching.filter(({ id, owner }) => !taken.has(key(id)) && (owner === undefined || owner < rollout.id));
    for (const { id } of matching) taken.add(key(id));
    return free.length === 0 ? [] : [{ rollout, deviceIds: free.map(({ id }) => id) }];
  });
}
