// What becomes of a rollout next: a pure function of what is stored, what devices report and what they answered. Looking
// again with the same input gives the same decision, so a restart at any instant changes nothing but the time.
import type { GateVerdict, RolloutDevice, RolloutState } from '@edgeloop/shared/api/rollouts';
import {
  type Clock,
  type DeviceStanding,
  type DeviceView,
  isAway,
  isRestored,
  type Member,
  progressOf,
  type Subject,
} from './device-state.ts';
import { countable, type Evidence, errorRateGate, failedDevicesGate, type Tally, tally } from './gates.ts';
import { nextWave, type StandingMember, type Standings, standingsOf, topUp, verdictsOf } from './standings.ts';

export interface Look extends Clock {
  subject: Subject;
  state: RolloutState;
  /** Devices that match or are members; those that were removed from the fleet are left out. */
  devices: readonly DeviceView[];
  evidence: Evidence;
}

export interface Decision {
  state: RolloutState;
  /** Devices that now get the version, in the state's wave. */
  assign: string[];
  /** Devices that now go back to what last completed on them. */
  revert: string[];
  /** Members of which something new is to be remembered. */
  observed: { deviceId: string; member: Member }[];
  /** Every device and where it stands. */
  verdicts: RolloutDevice[];
  gates: GateVerdict[];
  /** What to tell people, when more happened than the state says. */
  note?: string;
}

type Running = Extract<RolloutState, { phase: 'running' }>;
/** What a look was given and what it sees in that. */
type Seen = Look & Standings;

export function decide(look: Look): Decision {
  const seen: Seen = { ...look, ...standingsOf(look.subject, look.devices, look) };
  const decision = stay(seen);
  switch (look.state.phase) {
    case 'running':
      return run(seen, look.state, decision);
    case 'paused':
      if (isTakenOver(seen)) return supersede(seen, decision, seen.successor);
      return { ...decision, gates: gatesOf(seen, look.state.resume).gates, observed: changedMembers(seen) };
    case 'rolling_back':
      return rollBack(seen, look.state, decision);
    default:
      return decision;
  }
}

function stay(seen: Seen): Decision {
  const { state, subject, devices } = seen;
  return { state, assign: [], revert: [], observed: [], verdicts: verdictsOf(subject, devices, seen), gates: [] };
}

function run(seen: Seen, state: Running, decision: Decision): Decision {
  if (isTakenOver(seen)) return supersede(seen, decision, seen.successor);
  const { gates, wave, all, inWave } = gatesOf(seen, state);
  const now = { ...decision, gates, observed: changedMembers(seen) };
  const failed = gates.find(({ verdict }) => verdict === 'failed');
  if (failed !== undefined) return fail(seen, state, now, failed);
  if (seen.successor !== undefined) return { ...now, gates: cededGates(gates, seen.successor) };

  const more = topUp(seen.subject.plan.waves, state.wave, seen);
  const empty = inWave.length === 0;
  // What a newer rollout has let go of is taken again at once; what came late waits for the next wave.
  const again = more.some((id) => seen.returned.has(id));
  if (again || (empty && (more.length > 0 || all.healthy === 0)))
    return deploy(seen, step(state, 'deploying', seen.now), now);
  const step_ = stepOf(inWave, wave);
  if (step_ !== 'judging' && !empty) return deploy(seen, step(state, step_, seen.now), now);

  if (empty || gates.every(({ verdict }) => verdict === 'passed')) return advance(seen, state, now);
  const judging = step(state, 'judging', seen.now);
  const waiting = gates.filter(({ verdict }) => verdict === 'waiting').map(({ detail }) => detail);
  const { evidenceTimeoutSeconds } = seen.subject.plan.gates;
  if (seen.now - judging.since < evidenceTimeoutSeconds * 1000) return { ...now, state: judging };
  const named = namedFailures(now.verdicts).join('');
  const reason = `no verdict on wave ${state.wave + 1} within ${evidenceTimeoutSeconds} s: ${waiting.join('; ')}${named}`;
  return { ...now, state: { phase: 'paused', reason, resume: judging } };
}

function gatesOf(seen: Seen, { wave: index }: Running) {
  const { gates: bounds, offlineDevices, waves } = seen.subject.plan;
  const inWave = seen.owned.filter(({ member }) => member.wave === index);
  const wave = tally(standingsIn(inWave), offlineDevices);
  const all = tally(standingsIn(seen.owned), offlineDevices);
  const last = nextWave(waves, index, seen) === undefined;
  const judged = !last || countable(wave) > 0;
  const gates = [failedDevicesGate(bounds, { wave, all, last }), errorRateGate(bounds, seen.evidence, judged)];
  return { gates, wave, all, inWave };
}

function standingsIn(members: readonly StandingMember[]): DeviceStanding[] {
  return members.map(({ standing }) => standing);
}

function stepOf(inWave: readonly StandingMember[], wave: Tally): Running['step'] {
  if (wave.pending === 0) return 'judging';
  const baking = inWave.filter(({ standing }) => standing.state === 'baking').length;
  return baking === wave.pending ? 'baking' : 'deploying';
}

function step(state: Running, next: Running['step'], now: number): Running {
  return next === state.step ? state : { ...state, step: next, since: now };
}

/** The wave takes more devices as long as it is deploying: some may have left, and others come. */
function deploy(seen: Seen, state: Running, decision: Decision): Decision {
  const { waves } = seen.subject.plan;
  return { ...decision, state, assign: state.step === 'deploying' ? topUp(waves, state.wave, seen) : [] };
}

function advance(seen: Seen, state: Running, decision: Decision): Decision {
  const wave = nextWave(seen.subject.plan.waves, state.wave, seen);
  if (wave === undefined) return { ...decision, state: { phase: 'completed', at: seen.now } };
  return deploy(seen, { phase: 'running', wave, step: 'deploying', since: seen.now }, decision);
}

function fail(seen: Seen, state: Running, decision: Decision, gate: GateVerdict): Decision {
  const named = gate.gate === 'failed_devices' ? namedFailures(decision.verdicts).join('') : '';
  const reason = `wave ${state.wave + 1}: ${gate.detail}${named}`;
  if (seen.subject.plan.onFailure === 'pause') {
    return { ...decision, state: { phase: 'paused', reason, resume: state } };
  }
  return { ...decision, state: { phase: 'rolling_back', since: seen.now, reason }, revert: ownedBy(seen) };
}

function namedFailures(verdicts: readonly RolloutDevice[]): string[] {
  const failed = verdicts.filter(({ state }) => state === 'failed' || state === 'timed_out');
  return failed.slice(0, 3).map(({ deviceId, detail }) => ` — ${deviceId}: ${detail}`);
}

function rollBack(seen: Seen, state: Extract<RolloutState, { phase: 'rolling_back' }>, decision: Decision): Decision {
  const revert = ownedBy(seen);
  const observed = changedMembers(seen);
  if (revert.length > 0) return { ...decision, revert, observed };
  const missing = seen.members.filter(
    (device) => !isElsewhere(seen, device) && !isRestored(device) && !isAway(device, seen),
  );
  const over = seen.now - state.since >= seen.subject.plan.deployTimeoutSeconds * 1000;
  if (missing.length > 0 && !over) return { ...decision, observed };
  const rolledBack: Decision = { ...decision, state: { phase: 'rolled_back', at: seen.now, reason: state.reason } };
  if (missing.length === 0) return rolledBack;
  const named = missing.slice(0, 20).map((device) => `${device.id} (${progressOf(device)})`);
  return { ...rolledBack, note: `not confirmed by ${named.join(', ')}` };
}

/** A newer rollout has it, and waits for it. */
function isElsewhere({ subject }: Seen, { desired }: DeviceView): boolean {
  return desired !== null && desired.rolloutId > subject.id;
}

/** Until a newer rollout has taken the last device, what this one has given is judged, and taken back when it fails. */
function isTakenOver(seen: Seen): seen is Seen & { successor: string } {
  return seen.successor !== undefined && seen.owned.length === 0;
}

function cededGates(gates: readonly GateVerdict[], successor: string): GateVerdict[] {
  const detail = `all devices are left to the newer rollout ${successor}`;
  return gates.map((each) => (each.gate === 'failed_devices' ? { ...each, verdict: 'waiting', detail } : each));
}

function supersede(seen: Seen, decision: Decision, by: string): Decision {
  return { ...decision, state: { phase: 'superseded', at: seen.now, by } };
}

function ownedBy(seen: Seen): string[] {
  return seen.owned.map(({ id }) => id);
}

/** Members of which more is known than was stored. */
function changedMembers({ members }: Seen): Decision['observed'] {
  return members
    .filter(({ stored, member }) => stored.online !== member.online || stored.servingSince !== member.servingSince)
    .map(({ id, member }) => ({ deviceId: id, member }));
}
