// Gathers what a decision is made of: the rollout's row and members, the fleet's facts, and the evidence.
import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { matches, parseSelector } from '@edgeloop/shared/selector';
import type { Reader } from '../database/open.ts';
import type { Candidate, Fleet } from '../fleet/fleet.ts';
import type { DeviceView } from './device-state.ts';
import type { Evidence, RequestCounts } from './gates.ts';
import { type Claimed, successorOf } from './precedence.ts';
import type { Look } from './rollout-state.ts';
import type { RolloutStore } from './rollout-store.ts';

/** Requests that `version` answered on each of the devices since it was assigned. */
export type EvidenceSource = (asked: {
  model: string;
  version: number;
  assigned: { deviceId: string; since: number }[];
}) => Promise<RequestCounts>;

export interface LookDeps {
  store: RolloutStore;
  fleet: Fleet;
  evidence: EvidenceSource;
  reader: Reader;
  now: () => number;
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
  const devices = await deviceViews(deps, rollout, round.candidates);
  const members = new Set(devices.filter(({ member }) => member !== null).map(({ id }) => id));
  const owners = new Map(devices.map(({ id, desired }) => [id, desired?.rolloutId]));
  const claimed = round.candidates.map(({ id, labels }): Claimed => ({ id, labels, owner: owners.get(id) }));
  return {
    subject: rollout,
    state: rollout.state,
    devices,
    evidence: await evidenceOf(deps, rollout, devices),
    now: deps.now(),
    successor: successorOf(rollout, round.started, { devices: claimed, members }),
  };
}

async function deviceViews(deps: LookDeps, rollout: Rollout, candidates: readonly Candidate[]): Promise<DeviceView[]> {
  const selector = parseSelector(rollout.plan.selector);
  const rows = new Map((await deps.store.members(deps.reader, rollout.id)).map((row) => [row.deviceId, row]));
  const matching = new Set(candidates.filter(({ labels }) => matches(selector, labels)).map(({ id }) => id));
  const concerned = candidates.filter(({ id }) => rows.has(id) || matching.has(id));
  const ids = concerned.map(({ id }) => id);
  const desired = await deps.fleet.desiredOf(deps.reader, ids, rollout.model);
  return concerned.map((candidate) => ({
    id: candidate.id,
    matches: matching.has(candidate.id),
    online: candidate.status === 'online',
    lastSeenAt: candidate.lastSeenAt,
    report: candidate.reported?.models.find(({ name }) => name === rollout.model) ?? null,
    desired: desired.get(candidate.id) ?? null,
    member: rows.get(candidate.id) ?? null,
  }));
}

async function evidenceOf({ evidence }: LookDeps, rollout: Rollout, devices: readonly DeviceView[]): Promise<Evidence> {
  const { state, model, version } = rollout;
  const running = state.phase === 'paused' ? state.resume : state;
  const none = { requests: 0, failed: 0 };
  if (running.phase !== 'running') return { wave: none, all: none };
  const counts = (wave: number | undefined) => {
    const assigned = devices.flatMap(({ id, member }) =>
      member === null || (wave !== undefined && member.wave !== wave)
        ? []
        : [{ deviceId: id, since: member.assignedAt }],
    );
    return assigned.length === 0 ? Promise.resolve(none) : evidence({ model, version, assigned });
  };
  return { wave: await counts(running.wave), all: await counts(undefined) };
}
