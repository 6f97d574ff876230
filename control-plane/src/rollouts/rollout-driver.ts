// Drives every rollout: take in what has changed, decide, one transaction, then tell the devices. It looks again each second while
// something is under way, and whenever it is woken; a look costs what has changed since the last one.
import { isDeepStrictEqual } from 'node:util';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import { type GateVerdict, presentWave, type Rollout } from '@edgeloop/shared/api/rollouts';
import { pause } from '@edgeloop/shared/node/backoff';
import { createBell } from '@edgeloop/shared/node/bell';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import { type Candidate, type Fleet, type FleetChange, Untold } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { assignFollowers, writeDecision, writePlan } from './assignments.ts';
import { isTrial } from './device-state.ts';
import type { Evidence } from './gates.ts';
import { fallbacksOf } from './give-back.ts';
import { type Claims, claimsOn, followedBy, noClaims } from './precedence.ts';
import { type Decision, decideOn, gatesOf, planOf } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';
import type { Tracing } from './tracing.ts';
import { claimsKey, Tracked } from './tracked.ts';
import type { VariantCount } from './variant-count.ts';
import { type EvidenceSource, evidenceOf, type GateSource, noEvidence } from './views.ts';

export interface RolloutDriverDeps {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  registry: Pick<Registry, 'version' | 'moveAlias'>;
  variantCount: VariantCount;
  evidence: EvidenceSource;
  /** Changes whenever there is new evidence on a model; without it, it is asked for at each look. */
  evidenceVersion?: ((model: string) => number) | undefined;
  gates?: GateSource | undefined;
  now: () => number;
  /** When this process began to listen to devices. */
  listeningSince: number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  /** Where traces are exported. */
  tracing?: Tracing | undefined;
  /** From one look to the next when nobody wakes it. */
  lookEveryMs?: number | undefined;
}

/** Between two looks however often it is woken. */
const breathMs = 50;
/** When nothing is under way, somebody wakes it; this is for what nobody foresaw. */
const idleMs = 60_000;
const openPhases: Rollout['state']['phase'][] = ['running', 'awaiting_approval', 'paused', 'rolling_back'];

/** What every look of one round shares: rollouts that run, are paused or are completed. */
interface Round {
  open: readonly Rollout[];
  claims: Map<string, Claims>;
}

interface Judged {
  evidence: Evidence;
  /** When it was asked for, as far as evidence is versioned. */
  key: string | undefined;
}

/** A rollout as it stands now, for people. */
export interface Seen {
  tracked: Tracked;
  gates: readonly GateVerdict[];
}

export function createRolloutDriver(deps: RolloutDriverDeps) {
  const { database, store, fleet, log, now, listeningSince, lookEveryMs = 1000 } = deps;
  /** Devices whose desired state was written and not yet published. */
  const unpublished = new Set<string>();
  const bell = createBell();
  const tracks = new Map<string, Tracked>();
  const judged = new Map<string, Judged>();
  /** Paused rollouts are looked at when another has taken devices, or devices have changed. */
  let pausedLook = true;
  let round: Round | undefined;
  /** Devices that may follow a completed rollout now; undefined: any may. */
  let following: Set<string> | undefined;
  let active = true;
  let running: Promise<void> = Promise.resolve();
  const stopping = new AbortController();

  fleet.listen((ids: readonly string[], change: FleetChange) => {
    for (const tracked of tracks.values()) for (const id of ids) tracked.changed.add(id);
    if (change === 'changed') {
      for (const id of ids) following?.add(id);
      pausedLook = true;
    }
    if (change === 'changed' || active) bell.ring();
  });

  async function thisRound(): Promise<Round> {
    if (round !== undefined) return round;
    const started = await store.inPhases(database.read, [...openPhases, 'completed']);
    const open = started.filter(({ state }) => state.phase === 'rolling_back' || presentWave(state) !== undefined);
    const models = new Set(started.map(({ model }) => model));
    round = { open, claims: new Map([...models].map((model) => [model, claimsOn(model, started)])) };
    return round;
  }

  /** That the state of a rollout was written: who has which device is to be seen anew. */
  function stateWritten(): void {
    round = undefined;
    following = undefined;
    pausedLook = true;
    bell.ring();
    deps.tracing?.wake();
  }

  /** One look at everything. A rollout that cannot be looked at does not keep the others waiting. */
  async function look(): Promise<void> {
    bell.answer();
    const { open } = await thisRound();
    for (const id of tracks.keys()) if (!open.some((rollout) => rollout.id === id)) forget(id);
    const withPaused = pausedLook;
    pausedLook = false;
    for (const rollout of open) {
      if (rollout.state.phase === 'paused' && !withPaused) continue;
      await attempt(rollout.id, () => step(rollout));
    }
    active = open.some(({ state }) => state.phase !== 'paused');
    if (following === undefined || following.size > 0) await attempt('following', follow);
    await attempt('publishing', publish);
  }

  function forget(id: string): void {
    tracks.delete(id);
    judged.delete(id);
  }

  async function attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (err) {
      // What was kept may be what is wrong.
      forget(what);
      round = undefined;
      log.error({ err, rollout: what }, 'a rollout could not be looked after; trying again');
    }
  }

  /** The rollout as this process follows it, up to date. Paused ones are not followed, and made anew each time. */
  async function track(rollout: Rollout): Promise<Tracked> {
    const { claims } = await thisRound();
    const own = claims.get(rollout.model) ?? noClaims;
    const known = tracks.get(rollout.id);
    if (known !== undefined && known.claims === claimsKey(own)) {
      await known.refresh(await fleeting(own));
      return known;
    }
    if (known !== undefined) forget(rollout.id);
    const members = await store.members(database.read, rollout.id);
    const devices = await fleet.devices();
    // From here on nothing is awaited until it is in `tracks`, where it hears of what changes.
    const traced = deps.tracing !== undefined && rollout.traceparent !== undefined;
    const made = new Tracked(rollout, members, { devices, claims: own, traced });
    const { state } = rollout;
    const isFollowed = state.phase === 'rolling_back' || (state.phase !== 'paused' && presentWave(state) !== undefined);
    if (isFollowed) tracks.set(rollout.id, made);
    await made.refresh(await fleeting(own));
    return made;
  }

  async function fleeting(claims: Claims) {
    return { devices: await fleet.devices(), claims, now: now(), listeningSince };
  }

  async function evidence(rollout: Rollout, { progress }: Tracked): Promise<Evidence> {
    const { id, model, state } = rollout;
    const present = presentWave(state);
    if (present === undefined) return noEvidence;
    const version = deps.evidenceVersion?.(model);
    const variants = await deps.variantCount(rollout);
    const there = variants > 1 ? progress.variants(present.wave).map(({ name }) => name) : [];
    const key = version === undefined ? undefined : `${version} ${present.wave} ${progress.given.size} ${there}`;
    const known = judged.get(id);
    if (known !== undefined && known.key !== undefined && known.key === key) return known.evidence;
    const found = await evidenceOf(deps.evidence, rollout, { progress, variants });
    judged.set(id, { evidence: found, key });
    return found;
  }

  async function furtherGates(rollout: Rollout, { progress }: Tracked): Promise<readonly GateVerdict[]> {
    const present = presentWave(rollout.state);
    if (deps.gates === undefined || present === undefined) return [];
    return deps.gates({ rollout, wave: present.wave, progress });
  }

  async function step(rollout: Rollout): Promise<void> {
    const tracked = await track(rollout);
    const given = { state: rollout.state, planned: rollout.plannedAt != null, now: now(), listeningSince };
    const plan = planOf(tracked.progress, { ...given, evidence: noEvidence });
    if (plan !== undefined) {
      const at = await writePlan(deps, rollout, plan);
      if (at === undefined) return stateWritten();
      tracked.planned(plan, at);
      if (tracks.get(rollout.id) !== tracked) forget(rollout.id);
      rollout = { ...rollout, plannedAt: at, state: plan.restart ?? rollout.state };
      if (round !== undefined) round.open = round.open.map((each) => (each.id === rollout.id ? rollout : each));
      if (plan.restart !== undefined) deps.notify({ type: 'rollout', id: rollout.id, state: rollout.state.phase });
      return step(rollout);
    }
    const isJudged = rollout.state.phase === 'running' || rollout.state.phase === 'awaiting_approval';
    const decision = decideOn(tracked.progress, {
      ...given,
      evidence: isJudged ? await evidence(rollout, tracked) : noEvidence,
      gates: isJudged ? await furtherGates(rollout, tracked) : [],
    });
    await carryOut(rollout, tracked, decision);
  }

  async function carryOut(rollout: Rollout, tracked: Tracked, decision: Decision): Promise<void> {
    if (isIdle(rollout, decision)) return;
    const version = await deps.registry.version(rollout.model, rollout.version);
    const { claims } = await thisRound();
    const { progress } = tracked;
    const tries = (id: string) => isTrial(progress.subject, progress.member(id)?.wave ?? 0);
    const withdrawn = decision.revert.filter(tries);
    const fallbacks = await fallbacksOf({ ...deps, reader: database.read }, rollout, {
      deviceIds: decision.revert.filter((id) => !tries(id)),
      claims: claims.get(rollout.model) ?? noClaims,
      labels: (id) => tracked.progress.view(id)?.labels,
    });
    const at = await writeDecision(deps, { rollout, decision, version, fallbacks, withdrawn });
    if (at === undefined) return stateWritten();
    const activated = tracked.decided(decision, at);
    deps.tracing?.activated(rollout, activated);
    // Somebody else may have begun to follow it from what was stored before.
    if (tracks.get(rollout.id) !== tracked) forget(rollout.id);
    const touched = [...decision.assign, ...decision.revert, ...(decision.moved ?? [])];
    for (const id of touched) unpublished.add(id);
    if (!isDeepStrictEqual(decision.state, rollout.state)) stateWritten();
    else if (touched.length > 0) bell.ring();
    await attempt(rollout.id, publish);
    deps.notify({ type: 'rollout', id: rollout.id, state: decision.state.phase });
  }

  async function follow(): Promise<void> {
    const { claims } = await thisRound();
    const devices = await fleet.devices();
    const asked = following;
    following = new Set();
    for (const { rollout, deviceIds } of followers(claims, devices, asked)) {
      const version = await deps.registry.version(rollout.model, rollout.version);
      await assignFollowers(deps, rollout, { version, deviceIds });
      for (const id of deviceIds) unpublished.add(id);
      deps.notify({ type: 'rollout', id: rollout.id, state: 'completed' });
    }
  }

  async function publish(): Promise<void> {
    const ids = [...unpublished];
    const told = (each: readonly string[]) => {
      for (const id of each) unpublished.delete(id);
    };
    try {
      await fleet.publishDesired(ids);
      told(ids);
    } catch (error) {
      if (error instanceof Untold) told(ids.filter((id) => !error.deviceIds.has(id)));
      throw error;
    }
  }

  async function loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await database.writable(signal);
      await attempt('all', look);
      await pause(breathMs, signal);
      await bell.rest(
        (active || unpublished.size > 0 ? lookEveryMs : Math.max(idleMs, lookEveryMs)) - breathMs,
        signal,
      );
    }
  }

  return {
    look,
    wake: bell.ring,
    stateWritten,
    /** That what was kept of a rollout holds no more. */
    forget,

    /** Devices whose desired state an operator's word has changed. */
    async tell(ids: readonly string[]): Promise<void> {
      for (const id of ids) unpublished.add(id);
      await attempt('publishing', publish);
    },

    /** Where a rollout that is not over stands now, and its gates. */
    async see(rollout: Rollout): Promise<Seen> {
      const tracked = await track(rollout);
      const at = presentWave(rollout.state);
      if (at === undefined) return { tracked, gates: [] };
      const gates = await furtherGates(rollout, tracked);
      const judgement = { progress: tracked.progress, evidence: await evidence(rollout, tracked), gates };
      return { tracked, gates: gatesOf(judgement, at).gates };
    },

    /** Publishes again what may not have reached the broker before a restart, then looks on until closed. */
    async start(): Promise<void> {
      for (const { id } of await store.inPhases(database.read, openPhases)) {
        for (const { deviceId } of await store.members(database.read, id)) unpublished.add(deviceId);
      }
      deps.tracing?.wake();
      running = loop(stopping.signal);
    },

    /** Resolves once the look under way is done. */
    async close(): Promise<void> {
      stopping.abort();
      await running;
      await deps.tracing?.close();
    },
  };
}

/** Completed rollouts with the devices that are to follow them. `asked`: only these are looked at. */
function followers(
  claims: ReadonlyMap<string, Claims>,
  devices: ReadonlyMap<string, Candidate>,
  asked: ReadonlySet<string> | undefined,
): { rollout: Rollout; deviceIds: string[] }[] {
  const found = new Map<string, { rollout: Rollout; deviceIds: string[] }>();
  for (const id of asked ?? devices.keys()) {
    const device = devices.get(id);
    if (device === undefined || device.conflictSince !== null) continue;
    for (const [model, own] of claims) {
      const owner = device.desired.get(model)?.rolloutId ?? device.keptWord ?? undefined;
      const rollout = followedBy(own, { labels: device.labels, owner });
      if (rollout === undefined) continue;
      const following = found.get(rollout.id) ?? { rollout, deviceIds: [] };
      following.deviceIds.push(id);
      found.set(rollout.id, following);
    }
  }
  return [...found.values()];
}

function isIdle(rollout: Rollout, { state, assign, revert, moved, observed, endings, note }: Decision): boolean {
  const nothing = assign.length + revert.length + observed.length + endings.length === 0;
  return nothing && note === undefined && moved === undefined && isDeepStrictEqual(rollout.state, state);
}
