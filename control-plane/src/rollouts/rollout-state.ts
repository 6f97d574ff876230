// What becomes of a rollout next: a pure function of what is stored, what devices report and what they answered. Looking
// again with the same input gives the same decision, so a restart at any instant changes nothing but the time.
import type { GateVerdict, RolloutDevice, RolloutState } from '@edgeloop/shared/api/rollouts';
import {
  type DeviceStanding,
  type DeviceView,
  isAway,
  isOwned,
  isRestored,
  type Member,
  observe,
  type Subject,
  standing,
} from './device-state.ts';
import { countable, type Evidence, errorRateGate, failedDevicesGate, type Tally, tally } from './gates.ts';
import { waveOfRank, waveOrder, waveSize } from './waves.ts';

export interface Look {
  subject: Subject;
  state: RolloutState;
  /** Devices that match or are members; those that were removed from the fleet are left out. */
  devices: readonly DeviceView[];
  evidence: Evidence;
  now: number;
  /** A newer rollout that has started on one of the devices. */
  successor?: string | undefined;
}

export interface Decision {
  state: RolloutState;
  /** Devices that now get the version, in the state's wave. */
  assign: string[];
  /** Devices that now get back what they should have run before. */
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
type Seen = DeviceView & { member: Member; standing: DeviceStanding };

export function decide(look: Look): Decision {
  const decision = stay(look);
  switch (look.state.phase) {
    case 'running':
      return run(look, look.state, decision);
    case 'paused':
      if (look.successor !== undefined) return supersede(look, decision, look.successor);
      return { ...decision, gates: gatesOf(look, look.state.resume).gates, observed: changedMembers(look) };
    case 'rolling_back':
      return rollBack(look, look.state, decision);
    default:
      return decision;
  }
}

function stay(look: Look): Decision {
  return { state: look.state, assign: [], revert: [], observed: [], verdicts: verdictsOf(look), gates: [] };
}

function run(look: Look, state: Running, decision: Decision): Decision {
  if (look.successor !== undefined) return supersede(look, decision, look.successor);
  const { gates, wave, all, inWave } = gatesOf(look, state);
  const now = { ...decision, gates, observed: changedMembers(look) };
  const failed = gates.find(({ verdict }) => verdict === 'failed');
  if (failed !== undefined) return fail(look, state, now, failed);

  const more = topUp(look, state.wave);
  const empty = inWave.length === 0;
  if (empty && (more.length > 0 || all.healthy === 0)) return deploy(look, step(state, 'deploying', look.now), now);
  const step_ = stepOf(inWave, wave);
  if (step_ !== 'judging' && !empty) return deploy(look, step(state, step_, look.now), now);

  if (empty || gates.every(({ verdict }) => verdict === 'passed')) return advance(look, state, now);
  const judging = step(state, 'judging', look.now);
  const waiting = gates.filter(({ verdict }) => verdict === 'waiting').map(({ detail }) => detail);
  const { evidenceTimeoutSeconds } = look.subject.plan.gates;
  if (look.now - judging.since < evidenceTimeoutSeconds * 1000) return { ...now, state: judging };
  const reason = `no verdict on wave ${state.wave + 1} within ${evidenceTimeoutSeconds} s: ${waiting.join('; ')}`;
  return { ...now, state: { phase: 'paused', reason, resume: judging } };
}

function gatesOf(look: Look, { wave: index }: Running) {
  const { gates: bounds, offlineDevices } = look.subject.plan;
  const members = seenMembers(look);
  const inWave = members.filter(({ member }) => member.wave === index);
  const wave = tally(standingsOf(inWave), offlineDevices);
  const all = tally(standingsOf(members), offlineDevices);
  const last = nextWave(look, index) === undefined;
  const judged = !last || countable(wave) > 0;
  const gates = [failedDevicesGate(bounds, { wave, all, last }), errorRateGate(bounds, look.evidence, judged)];
  return { gates, wave, all, inWave };
}

function stepOf(inWave: readonly Seen[], wave: Tally): Running['step'] {
  if (wave.pending === 0) return 'judging';
  const baking = inWave.filter(({ standing }) => standing.state === 'baking').length;
  return baking === wave.pending ? 'baking' : 'deploying';
}

function step(state: Running, next: Running['step'], now: number): Running {
  return next === state.step ? state : { ...state, step: next, since: now };
}

/** The wave takes more devices as long as it is deploying: some may have left, and others come. */
function deploy(look: Look, state: Running, decision: Decision): Decision {
  return { ...decision, state, assign: state.step === 'deploying' ? topUp(look, state.wave) : [] };
}

function advance(look: Look, state: Running, decision: Decision): Decision {
  const wave = nextWave(look, state.wave);
  if (wave === undefined) return { ...decision, state: { phase: 'completed', at: look.now } };
  return deploy(look, { phase: 'running', wave, step: 'deploying', since: look.now }, decision);
}

function fail(look: Look, state: Running, decision: Decision, gate: GateVerdict): Decision {
  const failed = decision.verdicts.filter((device) => device.state === 'failed' || device.state === 'timed_out');
  const named = failed.slice(0, 3).map(({ deviceId, detail }) => ` — ${deviceId}: ${detail}`);
  const reason = `wave ${state.wave + 1}: ${gate.detail}${gate.gate === 'failed_devices' ? named.join('') : ''}`;
  if (look.subject.plan.onFailure === 'pause') {
    return { ...decision, state: { phase: 'paused', reason, resume: state } };
  }
  return { ...decision, state: { phase: 'rolling_back', since: look.now, reason }, revert: ownedBy(look) };
}

function rollBack(look: Look, state: Extract<RolloutState, { phase: 'rolling_back' }>, decision: Decision): Decision {
  const revert = ownedBy(look);
  const observed = changedMembers(look);
  if (revert.length > 0) return { ...decision, revert, observed };
  const missing = membersOf(look).filter((device) => !isRestored(device) && !isAway(device.member, look.now));
  const over = look.now - state.since >= look.subject.plan.deployTimeoutSeconds * 1000;
  if (missing.length > 0 && !over) return { ...decision, observed };
  const rolledBack: Decision = { ...decision, state: { phase: 'rolled_back', at: look.now, reason: state.reason } };
  if (missing.length === 0) return rolledBack;
  return {
    ...rolledBack,
    note: `not confirmed by ${missing
      .map(({ id }) => id)
      .slice(0, 20)
      .join(', ')}`,
  };
}

function supersede(look: Look, decision: Decision, by: string): Decision {
  return { ...decision, state: { phase: 'superseded', at: look.now, by } };
}

function ownedBy(look: Look): string[] {
  return look.devices.filter((device) => isOwned(look.subject, device)).map(({ id }) => id);
}

/** Devices that the wave still has room for, in the order of waves. */
function topUp(look: Look, wave: number): string[] {
  const matching = look.devices.filter(({ matches }) => matches);
  const members = new Set(matching.filter(({ member }) => member !== null).map(({ id }) => id));
  const room = waveSize(look.subject.plan.waves, wave, matching.length) - members.size;
  const ids = waveOrder(
    look.subject.model,
    matching.map(({ id }) => id),
  );
  return ids.filter((id) => !members.has(id)).slice(0, Math.max(0, room));
}

/** The next wave that takes a device; undefined when all have the version. */
function nextWave(look: Look, wave: number): number | undefined {
  const { waves } = look.subject.plan;
  return waves.map((_, i) => i).find((i) => i > wave && topUp(look, i).length > 0);
}

/** Members that run the version by this rollout's word; what others have taken over no longer counts. */
function seenMembers(look: Look): Seen[] {
  return membersOf(look)
    .filter((device) => isOwned(look.subject, device))
    .map((device) => ({ ...device, standing: standing(look.subject, device, device.member, look.now) }));
}

/** All that were ever given the version, as they are now. */
function membersOf(look: Look): (DeviceView & { member: Member })[] {
  return look.devices.flatMap((device) => {
    if (device.member === null) return [];
    return [{ ...device, member: observe(look.subject, device, device.member, look.now) }];
  });
}

function standingsOf(members: readonly Seen[]): DeviceStanding[] {
  return members.map((member) => member.standing);
}

function changedMembers(look: Look): Decision['observed'] {
  const stored = new Map(look.devices.map(({ id, member }) => [id, member]));
  return membersOf(look)
    .filter(({ id, member }) => {
      const before = stored.get(id);
      return before?.online !== member.online || before.servingSince !== member.servingSince;
    })
    .map(({ id, member }) => ({ deviceId: id, member }));
}

function verdictsOf(look: Look): RolloutDevice[] {
  const { waves } = look.subject.plan;
  const members = new Map(seenMembers(look).map((seen) => [seen.id, seen]));
  const matching = look.devices.filter(({ matches }) => matches).map(({ id }) => id);
  const ranks = new Map(waveOrder(look.subject.model, matching).map((id, rank) => [id, rank]));
  return look.devices.flatMap((device): RolloutDevice[] => {
    const deviceId = device.id;
    const seen = members.get(deviceId);
    if (seen !== undefined) {
      const { state, detail } = seen.standing;
      return [{ deviceId, wave: seen.member.wave, state, detail }];
    }
    if (device.member !== null)
      return [{ deviceId, wave: device.member.wave, state: 'waiting', detail: released(device) }];
    if (!device.matches) return [];
    const wave = waveOfRank(waves, ranks.get(deviceId) ?? 0, matching.length);
    return [{ deviceId, wave, state: 'waiting', detail: device.online ? 'its wave has not begun' : 'offline' }];
  });
}

function released({ desired }: DeviceView): string {
  return desired === null ? 'should run no version now' : `should run version ${desired.version} by another word now`;
}
