// Writes what was decided: a rollout's state, its members, and what devices should run, all in one transaction and with one
// instant.
import { isDeepStrictEqual } from 'node:util';
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { presentWave, type Rollout, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { ActivationTerms } from '@edgeloop/shared/messages';
import { recordAudit } from '../access/audit.ts';
import type { Database, Transaction } from '../database/open.ts';
import type { Assignment, BesideAssignment, Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { aliasOf } from './aliases.ts';
import { type Fallback, giveBack, isCurrent } from './give-back.ts';
import { describeChange, describeState, isNews, named } from './history.ts';
import type { Decision, Plan } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';
import { besideOf, withdraw } from './trials.ts';

export interface AssignmentDeps {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  registry: Pick<Registry, 'moveAlias'>;
  now: () => number;
}

export interface Change {
  /** As it was decided on. */
  rollout: Rollout;
  decision: Decision;
  version: ModelVersionDetail;
  /** Where the devices go that are given back. */
  fallbacks: readonly Fallback[];
  /** Devices that are to run it beside their version no more. */
  withdrawn: readonly string[];
}

export interface Target {
  version: ModelVersionDetail;
  wave: number;
  deviceIds: readonly string[];
}

interface Written {
  at: number;
  rollout: Rollout;
}

/** The instant of it; undefined, and nothing is written, when somebody spoke since the decision: the next look decides anew. */
export async function writeDecision(deps: AssignmentDeps, change: Change): Promise<number | undefined> {
  const { database, store, now } = deps;
  return database.transact(async (tx) => {
    if (!(await isUnchanged(store, tx, change.rollout))) return undefined;
    if (!(await isCurrent(store, tx, change.fallbacks))) return undefined;
    const at = now();
    await write(deps, tx, { ...change, at });
    return at;
  });
}

/** Stores waves that were decided; false when somebody spoke since. */
export async function writePlan(
  { database, store, now }: AssignmentDeps,
  rollout: Rollout,
  { members, restart }: Plan,
): Promise<number | undefined> {
  return database.transact(async (tx) => {
    if (!(await isUnchanged(store, tx, rollout))) return undefined;
    const at = now();
    await store.plan(tx, rollout.id, { members, at });
    if (restart === undefined) return at;
    await store.setState(tx, rollout.id, { state: restart, at });
    const who = named(members.map(({ deviceId }) => deviceId));
    const text = `nobody is in the wave that was to come: ${describeState(restart, rollout.plan)}; waves are decided for ${who}`;
    await store.tell(tx, rollout.id, { at, text });
    return at;
  });
}

async function isUnchanged(store: RolloutStore, tx: Transaction, rollout: Rollout): Promise<boolean> {
  const current = await store.rollout(tx, rollout.id);
  return current !== undefined && isDeepStrictEqual(current.state, rollout.state);
}

async function write(deps: AssignmentDeps, tx: Transaction, change: Change & { at: number }): Promise<void> {
  const { store, fleet } = deps;
  const { rollout, decision, version, fallbacks, withdrawn, at } = change;
  const { id, state: before } = rollout;
  const { state: after, observed, assign: deviceIds, endings, moved } = decision;
  await store.remember(tx, id, observed);
  if (decision.wave !== undefined) await store.keepWave(tx, id, { ...decision.wave, at });
  if (after.phase === 'running') {
    if (deviceIds.length > 0) await beginWave(store, tx, { id, wave: after.wave, before, at });
    await assign(deps, tx, { rollout, at }, { version, wave: after.wave, deviceIds });
  }
  if (!isDeepStrictEqual(before, after)) await store.setState(tx, id, { state: after, at });
  const { gates, wave } = decision;
  const evidence = isNews(before, after) && gates.length > 0 ? { gates, counts: wave?.counts ?? {} } : undefined;
  for (const [i, text] of describeChange(rollout, decision).entries())
    await store.tell(tx, id, { at, text, ...(i === 0 && evidence !== undefined ? { evidence } : {}) });
  for (const fallback of fallbacks) await giveBack({ store, fleet }, tx, rollout, { ...fallback, at });
  if (withdrawn.length > 0) await takeAside(deps, tx, { rollout, at }, withdrawn);
  if (moved !== undefined) await moveOn(deps, tx, { rollout, at }, moved);
  await store.end(tx, id, endings);
  if (before.phase === after.phase) return;
  await afterPhase(deps, tx, { rollout, at }, after);
}

async function takeAside(
  { store, fleet }: AssignmentDeps,
  tx: Transaction,
  { rollout, at }: Written,
  deviceIds: readonly string[],
): Promise<void> {
  const own = await withdraw(fleet, tx, { rollout, deviceIds });
  if (own.length > 0)
    await store.tell(tx, rollout.id, { at, text: `runs no more beside what answers on ${named(own)}` });
}

/** Their wave is over, in which they only tried the version. */
async function moveOn(
  { store, fleet }: AssignmentDeps,
  tx: Transaction,
  { rollout, at }: Written,
  deviceIds: readonly string[],
): Promise<void> {
  await withdraw(fleet, tx, { rollout, deviceIds });
  const moving = new Set(deviceIds);
  const members = (await store.members(tx, rollout.id)).filter(({ deviceId }) => moving.has(deviceId));
  await store.move(tx, rollout.id, { members, at });
}

/** Marks that a wave is under way, the first time and when it goes on after a pause. */
async function beginWave(
  store: RolloutStore,
  tx: Transaction,
  { id, wave, before, at }: { id: string; wave: number; before: RolloutState; at: number },
): Promise<void> {
  const known = (await store.waves(tx, id)).find((each) => each.wave === wave);
  if (known !== undefined && known.outcome === 'running' && before.phase === 'running') return;
  await store.keepWave(tx, id, {
    wave,
    outcome: 'running',
    gates: known?.gates ?? [],
    counts: known?.counts ?? {},
    at,
  });
}

/** What a change of phase takes with it: the audit, the name that moves, and other rollouts of a version that failed. */
async function afterPhase(
  { database, store, registry }: AssignmentDeps,
  tx: Transaction,
  { rollout, at }: Written,
  after: RolloutState,
): Promise<void> {
  const { id, model, version, plan, state: before } = rollout;
  const audited = { action: `rollout.${after.phase}`, subject: `rollout/${id}`, before, after };
  await recordAudit(database.tables, tx, { at, actor: 'system', ...audited });
  const alias = aliasOf(plan);
  if (after.phase === 'completed') await registry.moveAlias(tx, { model, alias, version, at, by: `rollout:${id}` });
  if (after.phase === 'rolled_back') {
    const last = (await store.completedOf(tx, model)).find((each) => aliasOf(each.plan) === alias);
    await registry.moveAlias(tx, {
      model,
      alias,
      at,
      by: `rollout:${id}`,
      version: last?.version ?? null,
      from: `rollout:${id}`,
    });
  }
  if (after.phase === 'rolling_back' && plan.rollbackOf === 'all') await takeBackEverywhere(store, tx, { rollout, at });
}

/** A version that failed is taken back by every rollout that gave it, when the plan says so. */
async function takeBackEverywhere(store: RolloutStore, tx: Transaction, { rollout, at }: Written): Promise<void> {
  const { id, model, version } = rollout;
  for (const other of await store.givers(tx, model, version)) {
    if (other.id === id) continue;
    const reason = `version ${version} failed in the rollout ${id}, which takes it back from all devices`;
    await reopen(store, tx, other, { state: { phase: 'rolling_back', since: at, reason }, at });
  }
}

/** Begins to take back what a rollout has given; how its devices ended before no longer holds. */
export async function reopen(
  store: RolloutStore,
  tx: Transaction,
  { id, state: before, plan }: Rollout,
  { state, at }: { state: RolloutState; at: number },
): Promise<void> {
  if (before.phase === 'completed' || before.phase === 'cancelled') await store.forgetEndings(tx, id);
  const present = presentWave(before);
  if (present !== undefined) await store.stopWave(tx, id, { wave: present.wave, at });
  await store.setState(tx, id, { state, at });
  await store.tell(tx, id, { at, text: describeState(state, plan) });
}

async function assign(deps: AssignmentDeps, tx: Transaction, { rollout, at }: Written, to: Target): Promise<void> {
  const { store, fleet } = deps;
  const { id: rolloutId, model } = rollout;
  const { version, release, signature } = to.version;
  if (to.deviceIds.length === 0) return;
  const former = await fleet.desiredOf(tx, to.deviceIds, model);
  const beside = besideOf(rollout, to.wave, { version, release, signature });
  if (beside !== undefined) return tryBeside(deps, tx, { rollout, at }, { ...to, former, beside });
  const taken = to.deviceIds.filter((id) => former.get(id)?.rolloutId !== rolloutId);
  await store.assign(tx, rolloutId, { deviceIds: taken, wave: to.wave, at });
  const terms = ActivationTerms.parse(rollout.plan);
  await fleet.assign(tx, taken, model, { version, release, signature, rolloutId, ...terms });
  const losers = new Map<string, string[]>();
  for (const id of taken) {
    const from = former.get(id)?.rolloutId;
    if (from !== undefined) losers.set(from, [...(losers.get(from) ?? []), id]);
  }
  for (const [from, deviceIds] of losers) await tellTaken(deps, tx, { from, by: rolloutId, deviceIds, at });
}

async function tryBeside(
  deps: AssignmentDeps,
  tx: Transaction,
  { rollout, at }: Written,
  { deviceIds, wave, former, beside }: Target & { former: ReadonlyMap<string, Assignment>; beside: BesideAssignment },
): Promise<void> {
  const { store, fleet } = deps;
  const { id, model } = rollout;
  const taken = deviceIds.filter((each) => former.has(each) && former.get(each)?.beside?.rolloutId !== id);
  await store.assign(tx, id, { deviceIds: taken, wave, at });
  await fleet.runBeside(tx, taken, model, beside);
}

/** One that is not over yet says which devices it has lost. */
async function tellTaken(
  { store }: AssignmentDeps,
  tx: Transaction,
  { from, by, deviceIds, at }: { from: string; by: string; deviceIds: readonly string[]; at: number },
): Promise<void> {
  const loser = await store.rollout(tx, from);
  if (loser === undefined || presentWave(loser.state) === undefined) return;
  await store.tell(tx, from, { at, text: `the newer rollout ${by} takes over ${named(deviceIds)}` });
}

/** Gives the version of a completed rollout to devices that came to match it and have no newer one's. */
export async function assignFollowers(deps: AssignmentDeps, rollout: Rollout, to: Omit<Target, 'wave'>): Promise<void> {
  const { database, store, fleet, now } = deps;
  await database.transact(async (tx) => {
    const at = now();
    const present = await fleet.desiredOf(tx, to.deviceIds, rollout.model);
    const free = to.deviceIds.filter((id) => (present.get(id)?.rolloutId ?? '') < rollout.id);
    const current = await store.rollout(tx, rollout.id);
    if (free.length === 0 || current?.state.phase !== 'completed') return;
    const wave = rollout.plan.waves.length - 1;
    await assign(deps, tx, { rollout, at }, { version: to.version, wave, deviceIds: free });
    await store.tell(tx, rollout.id, { at, text: `now matching, and following: ${named(free)}` });
  });
}
