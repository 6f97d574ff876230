// Which of several rollouts of one model has a device. Ids are version 7 UUIDs, so a greater id is newer.
//
// INVARIANTS
// - A rollout claims what it matches from when it starts: those that it goes before take these devices no more. What they
//   have given stays theirs to judge, and to take back, until its wave takes it.
// - Among rollouts under way the one of higher priority goes before, among those alike the newer. Once a rollout is over its
//   priority is spent: then only the newer goes before. Until then what completed later, with less priority, waits for it.
// - One whose backtest is not over has told nobody and claims nobody: it may never begin.
// - One that was cancelled or rolled back claims nobody, so an older one that still runs may take its devices again. What
//   a cancelled one has given stays given, by an operator's word.
// - A device goes back to the newest version that completed, looked up when it goes back: never to a version that nobody
//   judged, however many failed in a row, and to none where none has completed.
import { presentWave, type Rollout } from '@edgeloop/shared/api/rollouts';
import { type Labels, matches, parseSelector, type Selector } from '@edgeloop/shared/selector';

/** A device as far as precedence goes. `owner`: the rollout by whose word it runs the model. */
export interface Claimed {
  labels: Labels;
  owner: string | undefined;
}

/** A rollout that takes devices which match it, now or later. */
interface Claim {
  rollout: Rollout;
  /** Parsed once for all devices. */
  selector: Selector;
}

export interface Claims {
  /** Of those alike only the newest, so that many releases cost no more. */
  newestFirst: readonly Claim[];
  underWay: ReadonlyMap<string, Rollout>;
  /** All of the model that are not forgotten, by id. */
  known: ReadonlyMap<string, Rollout>;
}

/** Of a model that was never rolled out. */
export const noClaims: Claims = { newestFirst: [], underWay: new Map(), known: new Map() };

/** What claims devices of a model. */
export function claimsOn(model: string, rollouts: readonly Rollout[]): Claims {
  const seen = new Set<string>();
  const own = rollouts.filter((rollout) => rollout.model === model);
  const newestFirst = own
    .filter((rollout) => hasBegun(rollout) || (rollout.state.phase === 'completed' && rollout.plan.follow))
    .sort((a, b) => (a.id > b.id ? -1 : 1))
    .filter((rollout) => {
      const alike = `${isUnderWay(rollout) ? rollout.plan.priority : 'completed'} ${rollout.plan.selector}`;
      if (seen.has(alike)) return false;
      seen.add(alike);
      return true;
    })
    .map((rollout) => ({ rollout, selector: parseSelector(rollout.plan.selector) }));
  const byId = (of: readonly Rollout[]) => new Map(of.map((rollout) => [rollout.id, rollout]));
  return { newestFirst, underWay: byId(own.filter(isUnderWay)), known: byId(own) };
}

function isUnderWay({ state }: Pick<Rollout, 'state'>): boolean {
  return presentWave(state) !== undefined;
}

function hasBegun({ state }: Pick<Rollout, 'state'>): boolean {
  if (state.phase === 'paused') return state.resume.step !== 'backtesting';
  return state.phase === 'running' && state.step !== 'backtesting';
}

type Ordered = Pick<Rollout, 'id' | 'plan' | 'state'>;

/** Whether `a` goes before `b`, each under way or over. */
function goesBefore(a: Ordered, b: Ordered): boolean {
  if (isUnderWay(a) && a.plan.priority !== b.plan.priority) return a.plan.priority > b.plan.priority;
  // What has completed waits for what is more urgent, as `followedBy` has it: else each would leave the device to the other.
  if (a.state.phase === 'completed' && isUnderWay(b) && b.plan.priority > a.plan.priority) return false;
  return a.id > b.id;
}

/** The rollout that has the device, or claims it, and goes before this one. */
export function claimantOf(
  subject: Ordered,
  { newestFirst, known }: Claims,
  { labels, owner }: Claimed,
): string | null {
  if (owner !== undefined && owner !== subject.id) {
    const has = known.get(owner);
    if (has === undefined ? owner > subject.id : goesBefore(has, subject)) return owner;
  }
  let first: Rollout | undefined;
  for (const { rollout, selector } of newestFirst) {
    if (rollout.id === subject.id || !goesBefore(rollout, subject) || !matches(selector, labels)) continue;
    if (first === undefined || goesBefore(rollout, first)) first = rollout;
  }
  return first?.id ?? null;
}

/**
 * The completed rollout that the device is to follow: it came to match later, or another let go of it. A device that runs
 * something already is left to a newer rollout under way, and to one that goes before; one that runs nothing gets what has
 * completed meanwhile.
 */
export function followedBy({ newestFirst, underWay }: Claims, { labels, owner }: Claimed): Rollout | undefined {
  const has = owner === undefined ? undefined : underWay.get(owner);
  for (const { rollout, selector } of newestFirst) {
    if (owner !== undefined && owner >= rollout.id) return undefined;
    if (!matches(selector, labels)) continue;
    if (rollout.state.phase === 'completed') return has !== undefined && goesBefore(has, rollout) ? undefined : rollout;
    if (owner !== undefined) return undefined;
  }
  return undefined;
}

/** The completed rollout that a device goes back to. `had`: the newest one that has given its version to the device. */
export function fallbackOf(
  { newestFirst }: Claims,
  { labels, had }: { labels: Labels; had: string | undefined },
): string | undefined {
  for (const { rollout, selector } of newestFirst) {
    if (had !== undefined && had >= rollout.id) break;
    if (rollout.state.phase === 'completed' && matches(selector, labels)) return rollout.id;
  }
  return had;
}
