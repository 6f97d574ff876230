// What becomes of a rollout next: a pure function of what is stored, what devices report and what they answered. Looking
// again with the same input gives the same decision, so a restart at any instant changes nothing but the time.
import {
  type GateVerdict,
  kindOf,
  presentWave,
  type RolloutDevice,
  type RolloutState,
  type RolloutWave,
} from '@edgeloop/shared/api/rollouts';
import { approvalDue, beginning, goingOn, waitingFor } from './approvals.ts';
import {
  type Clock,
  type DeviceView,
  isRestored,
  isTrial,
  type Member,
  progressOf,
  runsDesired,
  type Subject,
} from './device-state.ts';
import { countKinds, failureKindOf, withKinds } from './failure-kinds.ts';
import {
  answerGates,
  countable,
  type Evidence,
  failedDevicesGate,
  failedVariantGate,
  holds,
  shadowGates,
  stops,
  type Tally,
  tally,
} from './gates.ts';
import { deviceCounts, Progress } from './progress.ts';
import { admitted, batch } from './throttle.ts';
import { type PlannedMember, planWaves, waveWord } from './waves.ts';

/** What a decision is made on beside the progress. */
export interface Given extends Clock {
  state: RolloutState;
  /** Whether waves were decided before. */
  planned: boolean;
  evidence: Evidence;
  /** Verdicts of further gates on the present wave. */
  gates?: readonly GateVerdict[];
}

export interface Look extends Given {
  subject: Subject;
  /** Devices that match or are members; those that were removed from the fleet are left out. */
  devices: readonly DeviceView[];
}

/** How a device ended. */
export interface Ending {
  deviceId: string;
  outcome: RolloutDevice['state'];
  detail: string;
}

export interface Decision {
  state: RolloutState;
  /** Devices that now get the version, in the state's wave. */
  assign: string[];
  /** Devices that now go back to what last completed on them, or run the version beside their own no more. */
  revert: string[];
  /** Devices whose wave, in which they only tried the version, is over: they go on to their next. */
  moved?: string[];
  /** Members of which something new is to be remembered. */
  observed: { deviceId: string; member: Member }[];
  /** How devices have ended, for good. */
  endings: Ending[];
  /** The wave that this look was about, as it is to be kept. */
  wave?: Omit<RolloutWave, 'startedAt' | 'endedAt'>;
  gates: GateVerdict[];
  /** What to tell people, when more happened than the state says. */
  note?: string;
}

type Running = Extract<RolloutState, { phase: 'running' }>;
interface Seen extends Given {
  progress: Progress;
}

/** Devices one by one: for tests and for those who look once. */
export function progressOn({ subject, devices, ...clock }: Pick<Look, 'subject' | 'devices' | keyof Clock>): Progress {
  const progress = new Progress(subject);
  for (const device of devices) progress.update(device, clock);
  return progress;
}

export interface Plan {
  members: PlannedMember[];
  /** Set when the rollout begins with another wave: nobody is left in those that there were, or in the first. */
  restart?: RolloutState;
}

/**
 * Waves to be decided now; undefined when there is nothing to decide. A device that comes to match later joins the last wave;
 * when that has begun, it follows once the rollout has completed.
 */
export function planOf(progress: Progress, { state: whole, planned, now }: Given): Plan | undefined {
  const state = whole.phase === 'paused' ? undefined : presentWave(whole);
  if (state === undefined) return undefined;
  const { subject, unplanned } = progress;
  const last = subject.plan.waves.length - 1;
  // While an approval is waited for, waves stay as they are.
  if (planned && (whole.phase === 'awaiting_approval' || !isDeserted(progress, state))) {
    if (unplanned.size === 0 || state.wave >= last) return undefined;
    return { members: [...unplanned].map((deviceId) => ({ deviceId, wave: last, rank: 0 })) };
  }
  if (unplanned.size === 0 && (!planned || progress.ready === 0)) return undefined;
  if (!planned && progress.given.size > 0) return { members: planRest(progress, state.wave) };
  const members = planWaves(subject, progress.plannable(planned));
  // A group that nobody is in makes no wave.
  const wave = members[0]?.wave ?? 0;
  if (!planned && wave === state.wave) return { members };
  // What was approved for a wave stays so; waves that are decided anew from the first on ask anew.
  const from = wave < state.wave ? -1 : state.wave;
  const restart = goingOn(subject.plan, { from, to: wave, now, after: state });
  if (restart.phase !== 'running' || state.step !== 'backtesting') return { members, restart };
  return { members, restart: { ...restart, step: state.step } };
}

/** Nobody has the version, and the wave that was to have it is empty: whoever is left is spread over all waves again. */
function isDeserted(progress: Progress, { wave }: Running): boolean {
  return progress.given.size === 0 && progress.returned.size === 0 && progress.readyIn(wave) === 0;
}

/** Of a rollout that a former program began: those told keep their wave, the others come into the present one or later. */
function planRest(progress: Progress, present: number): PlannedMember[] {
  const planned = planWaves(progress.subject, [...progress.views()]);
  return planned
    .filter(({ deviceId }) => progress.unplanned.has(deviceId))
    .map((each) => ({ ...each, wave: Math.max(each.wave, present) }));
}

export function decide(look: Look): Decision {
  return decideOn(progressOn(look), look);
}

export function decideOn(progress: Progress, given: Given): Decision {
  const seen: Seen = { ...given, progress };
  const decision = stay(seen);
  switch (given.state.phase) {
    case 'running':
      return run(seen, given.state, decision);
    case 'awaiting_approval':
      return given.state.after === undefined ? { ...decision, observed: [] } : watch(seen, given.state.after, decision);
    case 'paused':
      return isTakenOver(progress) ? supersede(seen, decision) : { ...decision, observed: [] };
    case 'rolling_back':
      return rollBack(seen, given.state, decision);
    default:
      return { ...decision, observed: [] };
  }
}

function stay({ state, progress }: Seen): Decision {
  const observed = [...progress.observed].map(([deviceId, member]) => ({ deviceId, member }));
  return { state, assign: [], revert: [], observed, endings: [], gates: [] };
}

function run(seen: Seen, state: Running, decision: Decision): Decision {
  const { progress } = seen;
  if (isTakenOver(progress)) return supersede(seen, decision);
  // Their wave is over, in which they only tried the version: first all go on to their next.
  const tried = progress.triedBefore(state.wave);
  if (tried.length > 0) return { ...decision, moved: tried };
  const { gates, wave, all } = gatesOf(seen, state);
  const now: Decision = { ...decision, gates };
  const failed = gates.find(stops);
  if (failed !== undefined) return fail(seen, state, now, failed);
  if (progress.successor !== undefined) return { ...now, gates: cededGates(gates, progress.successor) };

  const before = gates.find(({ gate }) => gate === 'backtest');
  if (before !== undefined && holds(before) && progress.isUntold) return holdBack(seen, state, now, before);
  if (state.step === 'backtesting') return run(seen, step(state, 'deploying', seen.now), decision);
  const ready = progress.readyIn(state.wave);
  const empty = isEmpty(progress, state.wave);
  // What another rollout has let go of is taken again at once; what came late waits for a later wave.
  if (progress.returned.size > 0 || (state.step === 'deploying' && ready > 0) || (empty && ready > 0))
    return deploy(seen, step(state, 'deploying', seen.now), now);
  if (empty && all.healthy === 0 && nextWave(progress, state.wave) === undefined)
    return { ...now, state: step(state, 'deploying', seen.now) };
  const next = stepOf(progress, { wave: state.wave, tally: wave });
  if (next !== 'judging' && !empty) return { ...now, state: step(state, next, seen.now) };

  if (empty || !gates.some(holds)) return advance(seen, state, now);
  return judge(seen, step(state, 'judging', seen.now), now);
}

/** While an approval is waited for nobody is told, and what the waves before have is judged on. */
function watch(seen: Seen, after: Running, decision: Decision): Decision {
  const { progress } = seen;
  if (isTakenOver(progress)) return supersede(seen, decision);
  const { gates } = gatesOf(seen, after);
  const failed = gates.find(stops);
  if (failed !== undefined) return fail(seen, after, { ...decision, gates }, failed);
  return { ...decision, gates: progress.successor === undefined ? gates : cededGates(gates, progress.successor) };
}

/** Tells nobody while the backtest is under way, and pauses when it says nothing. */
function holdBack(seen: Seen, state: Running, decision: Decision, gate: GateVerdict): Decision {
  const held = step(state, 'backtesting', seen.now);
  if (gate.verdict !== 'inconclusive') return { ...decision, state: held };
  const reason = `before the first wave: ${gate.detail}`;
  const wave = waveOf(seen, state.wave, 'inconclusive', decision.gates);
  return { ...decision, wave, state: { phase: 'paused', reason, resume: held } };
}

/** Waits for verdicts, and pauses when they do not come. */
function judge(seen: Seen, judging: Running, decision: Decision): Decision {
  const { evidenceTimeoutSeconds } = seen.progress.subject.plan.gates;
  if (seen.now - judging.since < evidenceTimeoutSeconds * 1000) return { ...decision, state: judging };
  const waiting = decision.gates.filter(holds).map(({ detail }) => detail);
  const named = namedFailures(seen);
  const which = waveWord(seen.progress.subject.plan, judging.wave);
  const reason = `no verdict on ${which} within ${evidenceTimeoutSeconds} s: ${waiting.join('; ')}${named}`;
  const state: RolloutState = { phase: 'paused', reason, resume: judging };
  return { ...decision, state, wave: waveOf(seen, judging.wave, 'inconclusive', decision.gates) };
}

/** The gates of the wave under way, or of the one at which it paused. */
export function gatesOf(seen: Pick<Seen, 'progress' | 'evidence' | 'gates'>, { wave: index }: Running) {
  const { progress } = seen;
  const { plan } = progress.subject;
  const { gates: bounds } = plan;
  const wave = tally(progress.wave(index));
  const all = tally(progress.all);
  const last = nextWave(progress, index) === undefined;
  const judged = !last || countable(wave) > 0;
  const variants = progress.variants(index).map((each) => ({
    ...{ name: each.name, wave: tally(each.wave), all: tally(each.all) },
  }));
  const failed = failedVariantGate(bounds, { wave, all, variants }) ?? failedDevicesGate(bounds, { wave, all, last });
  const { unable = 0 } = deviceCounts(progress.wave(index));
  const told = unable === 0 ? failed : { ...failed, detail: `${failed.detail}; ${unable} cannot take part` };
  const devices = withKinds(told, kindsOf(progress));
  const field = seen.gates ?? [];
  // Nobody is answered with what only runs in the shadow.
  const answers =
    kindOf(plan.waves[index]) === 'shadow'
      ? shadowGates(plan, field, progress.wave(index))
      : answerGates(plan, { evidence: seen.evidence, field, judged });
  return { gates: [devices, ...answers], wave, all };
}

function kindsOf(progress: Progress) {
  const failed = [...progress.failed].map((id) => progress.view(id));
  return countKinds(failed.map((view) => view && failureKindOf(view)));
}

function isEmpty(progress: Progress, wave: number): boolean {
  return Object.keys(progress.wave(wave)).length === 0;
}

/** The next wave that takes a device; undefined when none is left to take. */
function nextWave(progress: Progress, wave: number): number | undefined {
  const coming = [progress.firstReady(), progress.againAfter(wave)].filter((each) => each !== undefined);
  const next = coming.length === 0 ? undefined : Math.max(Math.min(...coming), wave + 1);
  return next !== undefined && next < progress.subject.plan.waves.length ? next : undefined;
}

function stepOf(progress: Progress, { wave, tally: { pending } }: { wave: number; tally: Tally }): Running['step'] {
  if (pending === 0) return 'judging';
  return progress.wave(wave).baking === pending ? 'baking' : 'deploying';
}

function step(state: Running, next: Running['step'], now: number): Running {
  return next === state.step ? state : { ...state, step: next, since: now };
}

/** Tells those whose turn it is, as many as may be told now. */
function deploy({ progress, now }: Seen, state: Running, decision: Decision): Decision {
  return { ...decision, state, assign: admitted(progress, state.wave, now) };
}

function advance(seen: Seen, state: Running, decision: Decision): Decision {
  const { progress, now } = seen;
  const next = nextWave(progress, state.wave);
  const wave = waveOf(seen, state.wave, 'passed', decision.gates);
  const { plan } = progress.subject;
  const due = approvalDue(plan, { from: state.wave, to: next ?? plan.waves.length - 1 });
  if (due !== undefined) return { ...decision, wave, state: waitingFor(plan, { wave: due, now, after: state }) };
  if (next === undefined) {
    return { ...decision, wave, state: { phase: 'completed', at: now }, endings: endingsAtCompletion(seen) };
  }
  return deploy(seen, beginning(next, now), { ...decision, wave });
}

function fail(seen: Seen, state: Running, decision: Decision, gate: GateVerdict): Decision {
  const named = gate.gate === 'failed_devices' ? namedFailures(seen) : '';
  const when = gate.gate === 'backtest' ? 'before the first wave' : waveWord(seen.progress.subject.plan, state.wave);
  const reason = `${when}: ${gate.detail}${named}`;
  const wave = waveOf(seen, state.wave, 'failed', decision.gates);
  if (seen.progress.subject.plan.onFailure === 'pause') {
    return { ...decision, wave, state: { phase: 'paused', reason, resume: state } };
  }
  const revert = batchOf(seen.progress);
  const endings = failuresOf(seen);
  return { ...decision, wave, state: { phase: 'rolling_back', since: seen.now, reason }, revert, endings };
}

/** Those that go back now; the others at the next looks. */
function batchOf({ given }: Progress): string[] {
  return [...given].sort().slice(0, batch);
}

/** A wave as it stands now. */
function waveOf(
  { progress }: Pick<Seen, 'progress'>,
  wave: number,
  outcome: RolloutWave['outcome'],
  gates: GateVerdict[],
): NonNullable<Decision['wave']> {
  return { wave, outcome, gates, counts: deviceCounts(progress.wave(wave)) };
}

/** Devices that failed, with the words for it, before what they say is about something else. */
export function failuresOf({ progress, now }: Pick<Seen, 'progress' | 'now'>): Ending[] {
  return [...progress.failed].flatMap((deviceId) => {
    const stands = progress.standing(deviceId, now);
    return stands === undefined ? [] : [{ deviceId, outcome: stands.state, detail: stands.detail }];
  });
}

function namedFailures(seen: Seen): string {
  const first = failuresOf(seen).slice(0, 3);
  return first.map(({ deviceId, detail }) => ` — ${deviceId}: ${detail}`).join('');
}

/** Who is still offline follows later, and who came later as well: they have not ended. */
function endingsAtCompletion({ progress, now }: Seen): Ending[] {
  return [...progress.given].flatMap((deviceId) => {
    const stands = progress.standing(deviceId, now);
    const ended = stands?.state === 'healthy' || stands?.state === 'failed' || stands?.state === 'timed_out';
    return ended ? [{ deviceId, outcome: stands.state, detail: stands.detail }] : [];
  });
}

function rollBack(seen: Seen, state: Extract<RolloutState, { phase: 'rolling_back' }>, decision: Decision): Decision {
  const { progress, now } = seen;
  if (progress.given.size > 0) return { ...decision, revert: batchOf(progress), endings: failuresOf(seen) };
  const missing = progress.missing(seen);
  const over = now - state.since >= progress.subject.plan.deployTimeoutSeconds * 1000;
  if (missing.length > 0 && !over) return decision;
  const endings = endingsOfMembers(progress, (view) => rolledBackEnding(view, progress.subject));
  const rolledBack: Decision = { ...decision, state: { phase: 'rolled_back', at: now, reason: state.reason }, endings };
  if (missing.length === 0) return rolledBack;
  const named = missing.slice(0, 20).map((device) => `${device.id} (${progressOf(device)})`);
  return { ...rolledBack, note: `not confirmed by ${named.join(', ')}` };
}

function rolledBackEnding(view: DeviceView, subject: Subject): Omit<Ending, 'deviceId'> {
  const { desired, member } = view;
  if (member?.assignedAt == null) return { outcome: 'unreached', detail: 'its wave had not begun' };
  if (view.claimedBy !== null && view.claimedBy === desired?.rolloutId) return takenOver(view);
  if (isTrial(subject, member.wave) && isRestored(view))
    return { outcome: 'rolled_back', detail: `runs version ${desired?.version} alone again` };
  const to = desired === null ? 'runs no version of the model' : `runs version ${desired.version} again`;
  if (runsDesired(view) || (desired === null && (view.report?.active ?? null) === null))
    return { outcome: 'rolled_back', detail: to };
  const goal = desired === null ? 'no version' : `version ${desired.version}`;
  return { outcome: 'unreached', detail: `told to go back to ${goal}, and has not confirmed it (${progressOf(view)})` };
}

function takenOver({ claimedBy, desired }: DeviceView): Omit<Ending, 'deviceId'> {
  const runs = desired === null ? '' : `: should run version ${desired.version}`;
  return { outcome: 'taken_over', detail: `taken over by the rollout ${claimedBy ?? desired?.rolloutId}${runs}` };
}

/** Endings of members that have none yet. */
export function endingsOfMembers(
  progress: Progress,
  ending: (view: DeviceView) => Omit<Ending, 'deviceId'> | undefined,
): Ending[] {
  const endings: Ending[] = [];
  for (const view of progress.views()) {
    const ended = view.member?.outcome === null ? ending(view) : undefined;
    if (ended !== undefined) endings.push({ deviceId: view.id, ...ended });
  }
  return endings;
}

/** Until another rollout has taken the last device, what this one has given is judged, and taken back when it fails. */
function isTakenOver(progress: Progress): boolean {
  return progress.successor !== undefined && progress.given.size === 0;
}

function cededGates(gates: readonly GateVerdict[], successor: string): GateVerdict[] {
  const detail = `all devices are left to the newer rollout ${successor}`;
  return gates.map((each) => (each.gate === 'failed_devices' ? { ...each, verdict: 'waiting', detail } : each));
}

function supersede(seen: Seen, decision: Decision): Decision {
  const { progress, now, state } = seen;
  const endings = endingsOfMembers(progress, (view) =>
    view.member?.assignedAt == null
      ? { outcome: 'unreached', detail: `left to the newer rollout ${view.claimedBy ?? progress.successor}` }
      : takenOver(view),
  );
  const by = progress.successor ?? '';
  const superseded: Decision = { ...decision, state: { phase: 'superseded', at: now, by }, endings, observed: [] };
  const running = presentWave(state);
  // What has passed before an approval has passed.
  if (running === undefined || state.phase === 'awaiting_approval') return superseded;
  return { ...superseded, wave: waveOf(seen, running.wave, 'stopped', []) };
}
