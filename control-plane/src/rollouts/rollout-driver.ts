// Drives every rollout: load, decide, one transaction, then tell the devices. It looks again each second and whenever
// it is woken; whatever is lost in between is found at the next look.
import { isDeepStrictEqual } from 'node:util';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { pause } from '@edgeloop/shared/node/backoff';
import { createBell } from '@edgeloop/shared/node/bell';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { assignFollowers, writeDecision } from './assignments.ts';
import { fallbacksOf } from './give-back.ts';
import { claimsOn, followedBy } from './precedence.ts';
import { type Decision, decide } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';
import { type LookDeps, lookAt, type Round } from './views.ts';

export interface RolloutDriverDeps extends Omit<LookDeps, 'reader'> {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  registry: Pick<Registry, 'version'>;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  /** From one look to the next when nobody wakes it. */
  lookEveryMs?: number;
}

/** Between two looks however often it is woken. */
const breathMs = 50;
/** Devices that come to match a completed rollout are looked for this often when nobody wakes us. */
const followEveryMs = 10_000;

export function createRolloutDriver(deps: RolloutDriverDeps) {
  const { database, store, fleet, log, now, lookEveryMs = 1000 } = deps;
  const looking: LookDeps = { ...deps, reader: database.read };
  /** Devices whose desired state was written and not yet published. */
  const unpublished = new Set<string>();
  const bell = createBell();
  let followedAt = Number.NEGATIVE_INFINITY;
  let running: Promise<void> = Promise.resolve();
  const stopping = new AbortController();

  /** One look at everything. A rollout that cannot be looked at does not keep the others waiting. */
  async function look(): Promise<void> {
    const following = bell.answer() || now() - followedAt >= followEveryMs;
    const open = await store.inPhases(database.read, ['running', 'paused', 'rolling_back']);
    if (open.length > 0 || following) {
      const completed = await store.inPhases(database.read, ['completed']);
      const started = [...open.filter(({ state }) => state.phase !== 'rolling_back'), ...completed];
      const candidates = open.length + completed.length === 0 ? [] : await fleet.matching([]);
      for (const rollout of open) await attempt(rollout.id, () => step(rollout, { candidates, started }));
      if (following) await attempt('following', () => follow({ candidates, started }));
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
    const fallbacks = await fallbacksOf({ ...deps, reader: database.read }, rollout, {
      deviceIds: decision.revert,
      round,
    });
    if (!(await writeDecision(deps, { rollout, decision, version, fallbacks }))) return bell.ring();
    const touched = [...decision.assign, ...decision.revert];
    for (const id of touched) unpublished.add(id);
    await attempt(rollout.id, publish);
    deps.notify({ type: 'rollout', id: rollout.id, state: decision.state.phase });
    if (touched.length > 0 || !isDeepStrictEqual(decision.state, rollout.state)) bell.ring();
  }

  async function follow(round: Round): Promise<void> {
    followedAt = now();
    for (const { rollout, deviceIds } of await followers(looking, round)) {
      const version = await deps.registry.version(rollout.model, rollout.version);
      await assignFollowers(deps, rollout, { version, deviceIds });
      for (const id of deviceIds) unpublished.add(id);
      deps.notify({ type: 'rollout', id: rollout.id, state: 'completed' });
    }
  }

  async function publish(): Promise<void> {
    const ids = [...unpublished];
    await fleet.publishDesired(ids);
    for (const id of ids) unpublished.delete(id);
  }

  async function loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await database.writable(signal);
      await attempt('all', look);
      await pause(breathMs, signal);
      await bell.rest(lookEveryMs - breathMs, signal);
    }
  }

  return {
    look,
    wake: bell.ring,

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

/** Completed rollouts with the devices that are to follow them. */
async function followers({ fleet, reader }: LookDeps, { candidates, started }: Round) {
  const found = new Map<string, { rollout: Rollout; deviceIds: string[] }>();
  const ids = candidates.map(({ id }) => id);
  for (const model of new Set(started.map((rollout) => rollout.model))) {
    const claims = claimsOn(model, started);
    const desired = await fleet.desiredOf(reader, ids, model);
    for (const { id, labels } of candidates) {
      const rollout = followedBy(claims, { labels, owner: desired.get(id)?.rolloutId });
      if (rollout === undefined) continue;
      const following = found.get(rollout.id) ?? { rollout, deviceIds: [] };
      following.deviceIds.push(id);
      found.set(rollout.id, following);
    }
  }
  return found.values();
}

function isIdle(rollout: Rollout, { state, assign, revert, observed, note }: Decision): boolean {
  const nothing = assign.length + revert.length + observed.length === 0 && note === undefined;
  return nothing && isDeepStrictEqual(rollout.state, state);
}
