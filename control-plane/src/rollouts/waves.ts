// Which devices belong to which wave: shares, numbers or groups of the matching devices, in an order that depends on nothing
// but names and labels. Decided once, when a rollout begins, and stored; who matches later comes into the last wave.
import { hash } from 'node:crypto';
import { besideTerms, kindOf, type PlannedWave, type RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { type Labels, matches, parseSelector } from '@edgeloop/shared/selector';

export interface Ranked {
  id: string;
  labels: Labels;
  /** What it runs at present; a version runs beside another only where there is one. */
  desired?: unknown;
}

/** A device's first wave, and its place in the order of all. `later`: waves in which it comes again. */
export interface PlannedMember {
  deviceId: string;
  wave: number;
  rank: number;
  later?: number[];
}

/** Device ids in the order in which waves take them: the same for every rollout of a model. */
export function waveOrder(model: string, deviceIds: readonly string[]): string[] {
  const keyed = deviceIds.map((id) => ({ id, key: hash('sha256', `${model}\n${id}`) }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ id }) => id);
}

/** How many of `total` devices have the version once this wave is out: at least one, if there is one. */
export function waveSize(wave: PlannedWave | undefined, total: number): number {
  if (wave === undefined || 'selector' in wave) return total;
  if ('devices' in wave) return Math.min(total, wave.devices);
  // Percentages like 33.3 of 1000 must not be rounded up by the last bit of a float.
  return Math.min(total, Math.max(1, Math.ceil((wave.percent * total) / 100 - 1e-9)));
}

/** `wave 2 of 3 (fleet)`. */
export function waveWords({ waves }: Pick<RolloutPlan, 'waves'>, wave: number): string {
  return `wave ${wave + 1} of ${waves.length}${inBrackets(waves[wave])}`;
}

/** The same in short: `wave 2 (fleet)`. */
export function waveWord({ waves }: Pick<RolloutPlan, 'waves'>, wave: number): string {
  return `wave ${wave + 1}${inBrackets(waves[wave])}`;
}

/** Its name, and what its devices do with the version when they do not simply serve it. */
function inBrackets(wave: PlannedWave | undefined): string {
  const how = besideTerms(wave);
  const share = how?.mode === 'split' ? `split, ${Number((how.share * 100).toFixed(2))} % of requests` : how?.mode;
  const words = [wave?.name, share].filter((each) => each !== undefined);
  return words.length === 0 ? '' : ` (${words.join(', ')})`;
}

/** Every device's wave. */
export function planWaves(
  { model, plan }: { model: string; plan: Pick<RolloutPlan, 'waves' | 'spread'> },
  devices: readonly Ranked[],
): PlannedMember[] {
  const labels = new Map(devices.map((device) => [device.id, device.labels]));
  const byHash = waveOrder(
    model,
    devices.map(({ id }) => id),
  );
  const order =
    plan.spread === undefined ? byHash : spreadOver(byHash, (id) => labelValue(labels.get(id) ?? {}, plan.spread));
  const label = (id: string) => labels.get(id) ?? {};
  const serving = servingWaves(plan.waves, order, label);
  const running = new Set(devices.flatMap(({ id, desired }) => (desired === null ? [] : [id])));
  const trials = trialWaves(
    plan.waves,
    order.filter((id) => running.has(id)),
    label,
  );
  return order
    .map((deviceId, rank) => ({ deviceId, rank, waves: [...(trials.get(deviceId) ?? []), serving.get(deviceId) ?? 0] }))
    .map(({ waves: [wave = 0, ...later], ...member }) => ({ ...member, wave, ...(later.length > 0 && { later }) }))
    .sort((a, b) => a.wave - b.wave || a.rank - b.rank);
}

/** The wave in which each device begins to serve: in the order of devices, or by its group. */
function servingWaves(
  waves: readonly PlannedWave[],
  order: readonly string[],
  labels: (id: string) => Labels,
): Map<string, number> {
  const left = new Set(order);
  const planned = new Map<string, number>();
  for (const [wave, given] of waves.entries()) {
    if (kindOf(given) !== 'serve') continue;
    const group = 'selector' in given ? parseSelector(given.selector) : undefined;
    const size = waveSize(given, order.length);
    for (const id of left) {
      if (group === undefined ? planned.size >= size : !matches(group, labels(id))) {
        if (group === undefined) break;
        continue;
      }
      left.delete(id);
      planned.set(id, wave);
    }
  }
  return planned;
}

/** Waves before those that serve, each by itself: devices of one may be in the next. */
function trialWaves(
  waves: readonly PlannedWave[],
  order: readonly string[],
  labels: (id: string) => Labels,
): Map<string, number[]> {
  const planned = new Map<string, number[]>();
  for (const [wave, given] of waves.entries()) {
    if (kindOf(given) === 'serve') continue;
    const group = 'selector' in given ? parseSelector(given.selector) : undefined;
    const members =
      group === undefined
        ? order.slice(0, waveSize(given, order.length))
        : order.filter((id) => matches(group, labels(id)));
    for (const id of members) planned.set(id, [...(planned.get(id) ?? []), wave]);
  }
  return planned;
}

/** The same share of each value in every prefix; within a value the order stays. */
function spreadOver(order: readonly string[], value: (id: string) => string): string[] {
  const groups = new Map<string, string[]>();
  for (const id of order) {
    const group = groups.get(value(id));
    if (group === undefined) groups.set(value(id), [id]);
    else group.push(id);
  }
  const placed = [...groups.values()].flatMap((ids) => ids.map((id, i) => ({ id, at: (i + 0.5) / ids.length })));
  const hashed = new Map(order.map((id, i) => [id, i]));
  return placed.sort((a, b) => a.at - b.at || (hashed.get(a.id) ?? 0) - (hashed.get(b.id) ?? 0)).map(({ id }) => id);
}

/** A device's value of a label; those without it are alike. */
export function labelValue(labels: Labels, label: string | undefined): string {
  return label !== undefined && Object.hasOwn(labels, label) ? (labels[label] ?? '') : '';
}
