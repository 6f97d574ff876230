// Drives every rollout: load, decide, one transaction, then tell the devices. It looks again each second and whenever
// it is woken; whatever is lost in between is found at the next look.
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import type { Logger } from 'pino';
import { recordAudit } from '../access/audit.ts';
import type { Database, Transaction } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { describeChange } from './history.ts';
import { type Claimed, followers } from './precedence.ts';
import { type Decision, decide } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';
import { type LookDeps, lookAt, type Round } from './views.ts';

export interface ReconcilerDeps extends Omit<LookDeps, 'reader'> {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  registry: Pick<Registry, 'version'>;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
}

const lookEveryMs = 1000;
/** Between two looks however often it is woken. */
const breathMs = 50;
/** Devices that come to match a completed rollout are looked for this often when nobody wakes us. */
const followEveryMs = 10_000;

export type Reconciler = ReturnType<typeof createReconciler>;

export function createReconciler(deps: ReconcilerDeps) {
  const { database, store, fleet, log, now } = deps;
  const looking: LookDeps = { ...deps, reader: database.read };
  /** Devices whose desired state was written and not yet published. */
  const unpublished = new Set<string>();
  const bell = new EventTarget();
  let woken = false;
  let followedAt = Number.NEGATIVE_INFINITY;
  let running: Promise<void> = Promise.resolve();
  const stopping = new AbortController();

  /** One look at everything. A rollout that cannot be looked at does not keep the others waiting. */
  async function look(): Promise<void> {
    const following = woken || now() - followedAt >= followEveryMs;
    woken = false;
    const open = await store.inPhases(database.read, ['running', 'paused', 'rolling_back']);
    if (open.length > 0 || following) {
      const completed = await store.inPhases(database.read, ['completed']);
      const started = [...open.filter(({ state }) => state.phase !== 'rolling_back'), ...completed];
      const candidates = open.length + completed.length === 0 ? [] : await fleet.matching([]);
      for (const rollout of open) await attempt(rollout.id, () => step(rollout, { candidates, started }));
      if (following) await attempt('following', () => follow(completed, { candidates, started }));
    }
    await attempt('publishing', publish);
  }

  async function attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (err) {
      log.error({ err, rollout: what }, 'a rollout could not be looked after; trying again');
    }
  }

  async function step(rollout: Rollout, round: Round): Promise<void> {
    const decision = decide(await lookAt(looking, rollout, round));
    if (isIdle(rollout, decision)) return;
    const version = await deps.registry.version(rollout.model, rollout.version);
    const done = await database.transact(async (tx) => {
      const current = await store.rollout(tx, rollout.id);
      // Somebody spoke in between: the next look decides anew.
      if (current === undefined || !isSame(current.state, rollout.state)) return false;
      await write(tx, { rollout, decision, version });
      return true;
    });
    if (!done) return wake();
    const touched = [...decision.assign, ...decision.revert];
    for (const id of touched) unpublished.add(id);
    await attempt(rollout.id, publish);
    deps.notify({ type: 'rollout', id: rollout.id, state: decision.state.phase });
    if (touched.length > 0 || !isSame(decision.state, rollout.state)) wake();
  }

  async function write(tx: Transaction, { rollout, decision, version }: Change): Promise<void> {
    const at = now();
    const { id, state: before } = rollout;
    const { state: after, observed } = decision;
    for (const { deviceId, member } of observed) await store.remember(tx, id, deviceId, member);
    await revert(tx, rollout, decision.revert);
    if (after.phase === 'running') await assign(tx, rollout, { version, wave: after.wave, deviceIds: decision.assign });
    if (!isSame(before, after)) await store.setState(tx, id, { state: after, at });
    for (const text of describeChange(rollout, decision)) await store.tell(tx, id, { at, text });
    if (before.phase !== after.phase) {
      const subject = `rollout/${id}`;
      const action = `rollout.${after.phase}`;
      await recordAudit(database.tables, tx, { at, actor: 'system', action, subject, before, after });
    }
  }

  async function assign(tx: Transaction, { id: rolloutId, model }: Rollout, to: Target): Promise<void> {
    const { version, release, signature } = to.version;
    const former = await fleet.desiredOf(tx, to.deviceIds, model);
    for (const deviceId of to.deviceIds) {
      const previous = former.get(deviceId) ?? null;
      // Given by an earlier look already: what it ran before must not be forgotten.
      if (previous?.rolloutId === rolloutId) continue;
      const at = now();
      const member = { wave: to.wave, assignedAt: at, online: false, connectionSince: at, servingSince: null };
      await store.insertMember(tx, rolloutId, { deviceId, previous, ...member });
      await fleet.assign(tx, deviceId, model, { version, release, signature, rolloutId });
    }
  }

  /** Only what is still desired by this rollout's word is given back. */
  async function revert(tx: Transaction, { id, model }: Rollout, deviceIds: string[]): Promise<void> {
    if (deviceIds.length === 0) return;
    const wanted = new Set(deviceIds);
    const members = (await store.members(tx, id)).filter(({ deviceId }) => wanted.has(deviceId));
    const present = await fleet.desiredOf(tx, deviceIds, model);
    for (const { deviceId, previous } of members) {
      if (present.get(deviceId)?.rolloutId === id) await fleet.assign(tx, deviceId, model, previous);
    }
  }

  async function follow(completed: readonly Rollout[], { candidates }: Round): Promise<void> {
    followedAt = now();
    const byModel = new Map<string, Claimed[]>();
    for (const model of new Set(completed.map((rollout) => rollout.model))) {
      const ids = candidates.map(({ id }) => id);
      const desired = await fleet.desiredOf(database.read, ids, model);
      const claimed = candidates.map(({ id, labels }) => ({ id, labels, owner: desired.get(id)?.rolloutId }));
      byModel.set(model, claimed);
    }
    for (const { rollout, deviceIds } of followers(completed, (model) => byModel.get(model) ?? [])) {
      const version = await deps.registry.version(rollout.model, rollout.version);
      await database.transact(async (tx) => {
        const present = await fleet.desiredOf(tx, deviceIds, rollout.model);
        const free = deviceIds.filter((id) => (present.get(id)?.rolloutId ?? '') < rollout.id);
        const current = await store.rollout(tx, rollout.id);
        if (free.length === 0 || current?.state.phase !== 'completed') return;
        await assign(tx, rollout, { version, wave: rollout.plan.waves.length - 1, deviceIds: free });
        await store.tell(tx, rollout.id, { at: now(), text: `now matching, and following: ${free.join(', ')}` });
      });
      for (const id of deviceIds) unpublished.add(id);
      deps.notify({ type: 'rollout', id: rollout.id, state: 'completed' });
    }
  }

  async function publish(): Promise<void> {
    const ids = [...unpublished];
    await fleet.publishDesired(ids);
    for (const id of ids) unpublished.delete(id);
  }

  function wake(): void {
    woken = true;
    bell.dispatchEvent(new Event('ring'));
  }

  async function loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await attempt('all', look);
      if (woken) await pause(breathMs, undefined, { ref: false });
      else await rest(bell, signal);
    }
  }

  return {
    look,
    wake,

    /** Publishes again what may not have reached the broker before a restart, then looks on until closed. */
    async start(): Promise<void> {
      for (const { id } of await store.inPhases(database.read, ['running', 'paused', 'rolling_back'])) {
        for (const { deviceId } of await store.members(database.read, id)) unpublished.add(deviceId);
      }
      running = loop(stopping.signal);
    },

    /** Resolves once the look under way is done. */
    async close(): Promise<void> {
      stopping.abort();
      await running;
    },
  };
}

interface Change {
  rollout: Rollout;
  decision: Decision;
  version: ModelVersionDetail;
}
interface Target {
  version: ModelVersionDetail;
  wave: number;
  deviceIds: string[];
}

/** Until the bell rings, a second has passed, or the end. */
async function rest(bell: EventTarget, signal: AbortSignal): Promise<void> {
  const until = AbortSignal.any([signal, AbortSignal.timeout(lookEveryMs)]);
  await once(bell, 'ring', { signal: until }).catch((error: unknown) => {
    if (!until.aborted) throw error;
  });
}

function isIdle(rollout: Rollout, { state, assign, revert, observed, note }: Decision): boolean {
  const nothing = assign.length + revert.length + observed.length === 0 && note === undefined;
  return nothing && isSame(rollout.state, state);
}

function isSame(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}
