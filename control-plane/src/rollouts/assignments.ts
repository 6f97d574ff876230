// Writes what was decided: a rollout's state, its members, and what devices should run, all in one transaction.
import { isDeepStrictEqual } from 'node:util';
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { recordAudit } from '../access/audit.ts';
import type { Database, Transaction } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { type Fallback, giveBack, isCurrent } from './give-back.ts';
import { describeChange, named } from './history.ts';
import type { Decision } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';

export interface AssignmentDeps {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  now: () => number;
}

export interface Change {
  /** As it was decided on. */
  rollout: Rollout;
  decision: Decision;
  version: ModelVersionDetail;
  /** Where the devices go that are given back. */
  fallbacks: readonly Fallback[];
}

export interface Target {
  version: ModelVersionDetail;
  wave: number;
  deviceIds: readonly string[];
}

/** False, and nothing is written, when somebody spoke since the decision: the next look decides anew. */
export async function writeDecision(deps: AssignmentDeps, change: Change): Promise<boolean> {
  const { database, store } = deps;
  return database.transact(async (tx) => {
    const current = await store.rollout(tx, change.rollout.id);
    if (current === undefined || !isDeepStrictEqual(current.state, change.rollout.state)) return false;
    if (!(await isCurrent(store, tx, change.fallbacks))) return false;
    await write(deps, tx, change);
    return true;
  });
}

async function write(deps: AssignmentDeps, tx: Transaction, change: Change): Promise<void> {
  const { database, store, now } = deps;
  const { rollout, decision, version, fallbacks } = change;
  const at = now();
  const { id, state: before } = rollout;
  const { state: after, observed, assign: deviceIds } = decision;
  for (const { deviceId, member } of observed) await store.remember(tx, id, deviceId, member);
  if (after.phase === 'running') await assign(deps, tx, rollout, { version, wave: after.wave, deviceIds });
  if (!isDeepStrictEqual(before, after)) await store.setState(tx, id, { state: after, at });
  for (const text of describeChange(rollout, decision)) await store.tell(tx, id, { at, text });
  for (const fallback of fallbacks) await giveBack(deps, tx, rollout, fallback);
  if (before.phase === after.phase) return;
  const audited = { action: `rollout.${after.phase}`, subject: `rollout/${id}`, before, after };
  await recordAudit(database.tables, tx, { at, actor: 'system', ...audited });
}

async function assign(deps: AssignmentDeps, tx: Transaction, rollout: Rollout, to: Target): Promise<void> {
  const { store, fleet, now } = deps;
  const { id: rolloutId, model } = rollout;
  const { version, release, signature } = to.version;
  const former = await fleet.desiredOf(tx, to.deviceIds, model);
  const at = now();
  const taken = to.deviceIds.filter((id) => former.get(id)?.rolloutId !== rolloutId);
  for (const deviceId of taken) {
    const member = { wave: to.wave, assignedAt: at, online: false, connectionSince: at, servingSince: null };
    await store.insertMember(tx, rolloutId, { deviceId, ...member });
    await fleet.assign(tx, deviceId, model, { version, release, signature, rolloutId });
  }
  for (const from of new Set(taken.flatMap((id) => former.get(id)?.rolloutId ?? []))) {
    const deviceIds = taken.filter((id) => former.get(id)?.rolloutId === from);
    await tellTaken(deps, tx, { from, by: rolloutId, deviceIds });
  }
}

/** One that is not over yet says which devices it has lost. */
async function tellTaken(
  { store, now }: AssignmentDeps,
  tx: Transaction,
  { from, by, deviceIds }: { from: string; by: string; deviceIds: readonly string[] },
): Promise<void> {
  const phase = (await store.rollout(tx, from))?.state.phase;
  if (phase !== 'running' && phase !== 'paused') return;
  await store.tell(tx, from, { at: now(), text: `the newer rollout ${by} takes over ${named(deviceIds)}` });
}

/** Gives the version of a completed rollout to devices that came to match it and have no newer one's. */
export async function assignFollowers(deps: AssignmentDeps, rollout: Rollout, to: Omit<Target, 'wave'>): Promise<void> {
  const { database, store, fleet, now } = deps;
  await database.transact(async (tx) => {
    const present = await fleet.desiredOf(tx, to.deviceIds, rollout.model);
    const free = to.deviceIds.filter((id) => (present.get(id)?.rolloutId ?? '') < rollout.id);
    const current = await store.rollout(tx, rollout.id);
    if (free.length === 0 || current?.state.phase !== 'completed') return;
    const wave = rollout.plan.waves.length - 1;
    await assign(deps, tx, rollout, { version: to.version, wave, deviceIds: free });
    await store.tell(tx, rollout.id, { at: now(), text: `now matching, and following: ${named(free)}` });
  });
}
