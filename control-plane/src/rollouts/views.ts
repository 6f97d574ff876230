// Gathers what a decision is made of: the rollout's row and members, the fleet's facts, and the evidence.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { matches, parseSelector } from '@edgeloop/shared/selector';
import type { Reader } from '../database/open.ts';
import type { Candidate, Fleet } from '../fleet/fleet.ts';
import { type DeviceView, isOwned } from './device-state.ts';
import type { Evidence, RequestCounts } from './gates.ts';
import { claimantOf, claimsOn } from './precedence.ts';
import type { Look } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';

/** Requests that `version` answered on each of the devices since it was assigned; those of other bytes do not count. */
export type EvidenceSource = (asked: {
  model: string;
  version: number;
  release?: string | undefined;
  assigned: { deviceId: string; since: number }[];
}) => Promise<RequestCounts>;

export interface LookDeps {
  store: RolloutStore;
  fleet: Fleet;
  evidence: EvidenceSource;
  reader: Reader;
  now: () => number;
  /** When this process began to listen to devices. */
  listeningSince: number;
}

/** What every look of one round shares. */
export interface Round {
  /** All devices that may connect. */
  candidates: readonly Candidate[];
  /** Rollouts that run, are paused or are completed. */
  started: readonly Rollout[];
}

/** Everything `decide` needs to know of one rollout. */
export async function lookAt(deps: LookDeps, rollout: Rollout, round: Round): Promise<Look> {
  const devices = await deviceViews(deps, rollout, round);
  const { now, listeningSince } = deps;
  const evidence = await evidenceOf(deps, rollout, devices);
  return { subject: rollout, state: rollout.state, devices, evidence, now: now(), listeningSince };
}

async function deviceViews(deps: LookDeps, rollout: Rollout, round: Round): Promise<DeviceView[]> {
  const { id: rolloutId, model, plan } = rollout;
  const { candidates } = round;
  const selector = parseSelector(plan.selector);
  const claims = claimsOn(model, round.started);
  const rows = new Map((await deps.store.members(deps.reader, rolloutId)).map((row) => [row.deviceId, row]));
  const matching = new Set(candidates.filter(({ labels }) => matches(selector, labels)).map(({ id }) => id));
  const concerned = candidates.filter(({ id }) => rows.has(id) || matching.has(id));
  const ids = concerned.map(({ id }) => id);
  const wanted = await deps.fleet.desiredOf(deps.reader, ids, model);
  return concerned.map(({ id, labels, status, lastSeenAt, reported }) => {
    const desired = wanted.get(id) ?? null;
    return {
      id,
      matches: matching.has(id),
      claimedBy: claimantOf(rolloutId, claims, { labels, owner: desired?.rolloutId }),
      online: status === 'online',
      lastSeenAt,
      report: reported?.models.find(({ name }) => name === model) ?? null,
      problems: reported?.problems ?? [],
      desired,
      member: rows.get(id) ?? null,
    };
  });
}

async function evidenceOf({ evidence }: LookDeps, rollout: Rollout, devices: readonly DeviceView[]): Promise<Evidence> {
  const { state, model, version } = rollout;
  const running = state.phase === 'paused' ? state.resume : state;
  const none = { requests: 0, failed: 0 };
  if (running.phase !== 'running') return { wave: none, all: none };
  const owned = devices.filter((device) => isOwned(rollout, device));
  const release = owned[0]?.desired?.release;
  const counts = (wave: number | undefined) => {
    const assigned = owned.flatMap(({ id, member }) =>
      member === null || (wave !== undefined && member.wave !== wave)
        ? []
        : [{ deviceId: id, since: member.assignedAt }],
    );
    return assigned.length === 0 ? Promise.resolve(none) : evidence({ model, version, release, assigned });
  };
  return { wave: await counts(running.wave), all: await counts(undefined) };
}
