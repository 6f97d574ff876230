// What one device makes of a rollout, from what it reports and from what was seen of it before.
import { kindOf, type RolloutDevice, type RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { type ModelReport, usualMaxHoldSeconds } from '@edgeloop/shared/messages';
import type { Labels } from '@edgeloop/shared/selector';
import type { Activation } from './activation.ts';
import { instant } from './instant.ts';

/** A device that a rollout has given its version to, or will. Instants are by this server's clock. */
export interface Member {
  wave: number;
  /** Its place in the order of waves; null for those of programs before there was one. */
  rank: number | null;
  /** Waves in which it comes again, in order: in `wave` it only tries the version beside its own. */
  later?: readonly number[];
  /** When it was told; null while its wave has not begun. */
  assignedAt: number | null;
  /** Which try it is, from 1. */
  attempt: number;
  /** Whether it was online when last looked at, and since when that has been so. */
  online: boolean;
  connectionSince: number;
  /** When it was first seen to serve the version; null before, and when it starts over. */
  servingSince: number | null;
  /** How it ended, for good; null while it has not. */
  outcome: RolloutDevice['state'] | null;
  detail: string | null;
  /** Of those that are traced. */
  activation?: Activation | null;
}

/** `release` says which bytes; the version is a name for people. */
interface Wanted {
  version: number;
  release: string;
  rolloutId: string;
  attempt?: number | undefined;
  /** What it should run beside that. */
  beside?: Omit<Wanted, 'beside'> | undefined;
}

/** What is known of a device that matches the selector or is a member. */
export interface DeviceView {
  id: string;
  labels: Labels;
  /** Whether its labels match the selector now. */
  matches: boolean;
  /** Another rollout that goes before this one and has it or claims it: this one takes it no more. */
  claimedBy: string | null;
  online: boolean;
  lastSeenAt: number | null;
  /** Ahead of this server, as after a restored backup: it is told nothing until an operator has decided. */
  conflicting: boolean;
  /** What it says of this model. */
  report: ModelReport | null;
  /** What stands in its way by its own word, newest last. */
  problems: readonly string[];
  /** Whether its agent can run a version beside another. */
  canRunBeside?: boolean;
  /** How far its clock is ahead of this server's, where it has measured that. */
  clockOffsetMs?: number;
  /** What it should run of this model, and by which rollout. */
  desired: Wanted | null;
  member: Member | null;
}

export interface Subject {
  id: string;
  model: string;
  version: number;
  plan: RolloutPlan;
}

export interface Clock {
  now: number;
  /** When this server began to listen to devices. */
  listeningSince: number;
}

/**
 * `away`: offline, or unable to take part, for so long that it is not waited for any more. `until`: when it stands otherwise by time
 * alone.
 */
export type DeviceStanding = Pick<RolloutDevice, 'state' | 'detail'> & { away: boolean; until: number | null };

/** Whether devices of the wave run the version beside their own only. */
export function isTrial({ plan }: Pick<Subject, 'plan'>, wave: number): boolean {
  return kindOf(plan.waves[wave]) !== 'serve';
}

/** Whether the device should run the version by this rollout's word still, or try it beside its own. */
export function isOwned(subject: Pick<Subject, 'id' | 'plan'>, { member, desired }: DeviceView): boolean {
  if (member === null || member.assignedAt === null) return false;
  return (isTrial(subject, member.wave) ? desired?.beside : desired)?.rolloutId === subject.id;
}

/** What to remember of a member from now on, from what it reports now; the same object when that is nothing new. */
export function observe(subject: Subject, device: DeviceView, member: Member, clock: Clock): Member {
  const { now } = clock;
  // A short break is none: who comes and goes has no more time than others.
  const online = device.online || (member.online && !isAway(device, clock, subject.plan));
  const from = isTrial(subject, member.wave) ? tryingFrom : servingFrom;
  const servingSince = isOwned(subject, device) ? from(device, member, now) : member.servingSince;
  if (online === member.online && servingSince === member.servingSince) return member;
  const connectionSince = online === member.online ? member.connectionSince : now;
  return { ...member, online, connectionSince, servingSince };
}

function servingFrom({ report, desired }: DeviceView, member: Member, now: number): number | null {
  if (report !== null && runs(report, desired) && isSettling(report)) return member.servingSince ?? now;
  // It begins anew with the version, as after losing its disk. Any other loss is a failure, which needs the memory.
  const again = report?.candidate?.version === desired?.version && report?.candidate?.state !== 'failed';
  return again ? null : member.servingSince;
}

/** Since when it runs the version beside its own; anew when it had to begin again. */
function tryingFrom({ report, desired }: DeviceView, member: Member, now: number): number | null {
  const beside = report?.beside;
  if (beside === undefined || beside.state === 'failed') return member.servingSince;
  return beside.state === 'running' && isWanted(beside, desired?.beside) ? (member.servingSince ?? now) : null;
}

/** Whether what a device says of one beside its own is about what it should run there, on this word. */
function isWanted(said: NonNullable<ModelReport['beside']>, wanted: Wanted['beside']): boolean {
  return wanted !== undefined && said.release === wanted.release && said.rolloutId === wordOf(wanted);
}

/** Whether these very bytes answer. Agents of before do not say which, and are believed by the number. */
function runs({ active }: ModelReport, wanted: Wanted | null): boolean {
  if (active === null || active.version !== wanted?.version) return false;
  return active.release === undefined || active.release === wanted.release;
}

/**
 * Which variant of the version the device runs, brings up or tries beside its own; undefined until it says so, and where there are
 * none.
 */
export function variantOf({ version }: Pick<Subject, 'version'>, { report }: Pick<DeviceView, 'report'>) {
  const { active, candidate, beside } = report ?? {};
  if (candidate?.version === version && candidate.variant !== undefined) return candidate.variant;
  if (active?.version === version) return active.variant;
  return beside?.version === version ? beside.variant : undefined;
}

/** Whether the device answers with what it should run. */
export function runsDesired({ report, desired }: Pick<DeviceView, 'report' | 'desired'>): boolean {
  return report !== null && desired !== null && runs(report, desired);
}

/** The active version answers requests, and nothing other is on its way. */
function isSettling({ active, candidate }: ModelReport): boolean {
  return candidate === null || (candidate.state === 'probation' && candidate.version === active?.version);
}

/**
 * From when on a device that is offline need not be waited for. A break counts from when it was last seen, so that who has
 * been away for days is not waited for anew in each wave; before this server listened it saw nobody.
 */
function awayFrom({ lastSeenAt }: DeviceView, { now, listeningSince }: Clock, plan: RolloutPlan): number {
  // An instant in the future is of a clock that was wrong.
  const seenAt = lastSeenAt === null || lastSeenAt > now ? listeningSince : Math.max(lastSeenAt, listeningSince);
  return seenAt + plan.offlineAfterSeconds * 1000;
}

/** Whether a device is offline, beyond a short break. */
export function isAway(device: DeviceView, clock: Clock, plan: RolloutPlan): boolean {
  return !device.online && clock.now >= awayFrom(device, clock, plan);
}

/** Where a member stands that was told. `member` is what `observe` gave. */
export function standing(subject: Subject, device: DeviceView, member: Member, clock: Clock): DeviceStanding {
  const placed = device.conflicting ? conflicting : place(subject, device, member, clock.now);
  const unable = placed.state === 'unable';
  if (device.online && !unable) return { ...placed, away: false };
  const missedFrom = unable ? Number.NEGATIVE_INFINITY : awayFrom(device, clock, subject.plan);
  const from = Math.max(missedFrom, waitedUntil(subject.plan, member));
  const away = clock.now >= from;
  if (away) return { ...placed, away, until: placed.until };
  // That its break is no short one is to be seen while it lasts.
  const next = clock.now < missedFrom ? missedFrom : from;
  return { ...placed, away, until: Math.min(next, placed.until ?? next) };
}

const usualWaitSeconds = 7 * 86_400;

/** Until when one that is not there is waited for; by when it was told, so that coming and going does not begin it anew. */
export function waitedUntil(
  { offlineDevices, offlineWaitSeconds = usualWaitSeconds }: RolloutPlan,
  { assignedAt }: Pick<Member, 'assignedAt'>,
): number {
  if (offlineDevices === 'skip' || assignedAt === null) return Number.NEGATIVE_INFINITY;
  return assignedAt + offlineWaitSeconds * 1000;
}

type Placed = Omit<DeviceStanding, 'away'>;

const conflicting: Placed = {
  state: 'conflicting',
  detail: 'ahead of this server, as after a restored backup: edgeloop devices resolve ID --follow or --keep',
  until: null,
};

function place(subject: Subject, device: DeviceView, member: Member, now: number): Placed {
  const trial = isTrial(subject, member.wave);
  const unable = trial ? inabilityOf(device) : undefined;
  if (unable !== undefined) return { state: 'unable', detail: unable, until: null };
  const failure = trial ? trialFailureOf(device) : failureOf(subject, device, member);
  if (failure !== undefined) return { state: 'failed', detail: failure, until: null };
  if (member.servingSince !== null) return servingStanding(subject, device, { since: member.servingSince, now });
  const { deployTimeoutSeconds } = subject.plan;
  const since = Math.max(member.assignedAt ?? now, member.connectionSince);
  // What its window or its own software holds back is not late, as long as that can be.
  const held = (trial ? device.report?.beside : ownCandidate(device))?.held?.until ?? 0;
  const heldUntil = Math.min(held, since + longestHoldMs(subject.plan));
  const until = Math.max(since, heldUntil) + deployTimeoutSeconds * 1000;
  const detail = trial ? trialProgressOf(device) : progressOf(device);
  // Who left before its time was over is not late: it is seen to be offline, or comes back after a short break and then is.
  const wasLate = member.online && Math.min(now, device.lastSeenAt ?? now) >= until;
  if (!device.online && !wasLate) return { state: 'offline', detail: 'gets the version when it returns', until: null };
  if (now < until) return { state: 'deploying', detail, until };
  const doing = trial ? 'not running' : 'not serving';
  return { state: 'timed_out', detail: `${doing} after ${deployTimeoutSeconds} s online (${detail})`, until: null };
}

const weekMs = 8 * 86_400_000; // With a day to spare: windows are by the device's clock.

/** Windows open once a week at least. */
function longestHoldMs({ windows, maxHoldSeconds = usualMaxHoldSeconds }: RolloutPlan): number {
  return maxHoldSeconds * 1000 + (windows === undefined ? 0 : weekMs);
}

/** Why the device can take no part in a wave that tries the version beside its own. */
function inabilityOf({ canRunBeside, report, desired }: DeviceView): string | undefined {
  if (canRunBeside === false) return 'its agent cannot run a version beside another; it takes part once it is updated';
  const beside = report?.beside;
  if (beside?.state !== 'suspended' || !isWanted(beside, desired?.beside)) return undefined;
  return `suspended: ${clipped(beside.error?.message ?? 'the device is short of something')}`;
}

function trialFailureOf({ report, desired }: DeviceView): string | undefined {
  const beside = report?.beside;
  if (beside?.state !== 'failed' || !isWanted(beside, desired?.beside)) return undefined;
  return beside.error === undefined ? 'failed' : describeError(beside.error);
}

function trialProgressOf({ online, report, desired, problems }: DeviceView): string {
  if (!online) return 'offline';
  const beside = report?.beside;
  if (beside === undefined || !isWanted(beside, desired?.beside)) return `told to fetch${complaints(problems)}`;
  const held = beside.held === undefined ? '' : ` (${clipped(beside.held.message)})`;
  return beside.error === undefined ? beside.state + held : `${beside.state}${held}: ${describeError(beside.error)}`;
}

function servingStanding(subject: Subject, device: DeviceView, { since, now }: { since: number; now: number }): Placed {
  const { plan, version } = subject;
  const beside = device.member !== null && isTrial(subject, device.member.wave);
  const doing = beside ? 'running beside' : 'serving';
  const bakedAt = since + plan.bakeSeconds * 1000;
  const seenUntil = device.online ? now : Math.min(now, device.lastSeenAt ?? since);
  const probation = !beside && device.report?.candidate?.state === 'probation';
  if (seenUntil >= bakedAt && !probation) {
    const detail = beside
      ? `running version ${version} beside version ${device.desired?.version}`
      : `serving version ${version}`;
    return { state: 'healthy', detail, until: null };
  }
  if (!device.online) return { state: 'offline', detail: 'went offline before it had served long enough', until: null };
  const left = Math.max(0, Math.ceil((bakedAt - now) / 1000));
  if (left === 0) {
    const { deployTimeoutSeconds } = plan;
    const until = bakedAt + deployTimeoutSeconds * 1000;
    if (now < until) return { state: 'baking', detail: 'serving, on probation', until };
    return {
      state: 'timed_out',
      detail: `still on probation ${deployTimeoutSeconds} s after it had served long enough`,
      until: null,
    };
  }
  return { state: 'baking', detail: `${doing}, ${left} s to go`, until: bakedAt };
}

function failureOf(subject: Subject, { report, desired }: DeviceView, member: Member): string | undefined {
  const candidate = report?.candidate;
  const word = wordOf({ rolloutId: subject.id, attempt: member.attempt });
  if (candidate?.state === 'failed' && candidate.rolloutId === word && candidate.version === subject.version) {
    return candidate.error === undefined ? 'failed' : describeError(candidate.error);
  }
  if (member.servingSince === null || (report !== null && runs(report, desired))) return undefined;
  const active = report?.active ?? null;
  if (active === null) return 'lost the version after serving it';
  return otherBytes(active, desired) ?? `fell back to version ${active.version}`;
}

/** On whose word a device runs a version, as it is told: another try is another word, for a device tries none twice. */
export function wordOf({ rolloutId, attempt }: { rolloutId: string; attempt?: number | undefined }): string {
  return attempt === undefined || attempt <= 1 ? rolloutId : `${rolloutId}.${attempt}`;
}

/** Whether the device has let go of what it should run beside its version no more. */
function isWithdrawn({ report, desired }: Pick<DeviceView, 'report' | 'desired'>): boolean {
  return report?.beside === undefined || isWanted(report.beside, desired?.beside);
}

/** Whether the device runs what it should after a rollback, or cannot. */
export function isRestored({ report, desired }: Pick<DeviceView, 'report' | 'desired'>): boolean {
  if (!isWithdrawn({ report, desired })) return false;
  if (desired === null) return (report?.active ?? null) === null;
  if (report !== null && runs(report, desired)) return true;
  return report?.candidate?.state === 'failed' && report.candidate.version === desired.version;
}

/** What it is bringing up, when that is what it should run. */
function ownCandidate({ report, desired }: Pick<DeviceView, 'report' | 'desired'>) {
  const candidate = report?.candidate;
  if (candidate == null || desired === null || candidate.version !== desired.version) return undefined;
  return candidate.rolloutId === wordOf(desired) ? candidate : undefined;
}

/** What it says it is at with the version that this rollout has given it, and since when by its clock. */
export function stepOf(subject: Pick<Subject, 'plan'>, { report, desired }: DeviceView, { wave }: Member) {
  if (!isTrial(subject, wave)) return ownCandidate({ report, desired });
  const beside = report?.beside;
  return beside !== undefined && isWanted(beside, desired?.beside) ? beside : undefined;
}

/** How far a device has come with what it should run, and what keeps it. */
export function progressOf({ online, report, desired, problems }: DeviceView): string {
  if (!online) return 'offline';
  const active = report?.active ?? null;
  if (desired === null) return active === null ? 'runs nothing' : `still runs version ${active.version}`;
  const own = ownCandidate({ report, desired });
  const held =
    own?.held === undefined ? '' : ` (${clipped(own.held.message)}, until ${untilWords(own.held.until)} by its clock)`;
  const step = own === undefined ? 'told to fetch' : own.state + held;
  const why = own?.error === undefined ? undefined : describeError(own.error);
  const doing = why === undefined ? step + complaints(problems) : `${step}: ${why}`;
  const other = active === null ? undefined : otherBytes(active, desired);
  return other === undefined ? doing : `${other}; ${doing}`;
}

/** A device may say any number. */
function untilWords(at: number): string {
  return at <= 8.64e15 ? instant(at) : 'no end';
}

/** Set when it runs the number that it should with bytes that it should not: a restored registry gave it twice. */
function otherBytes({ version, release }: NonNullable<ModelReport['active']>, wanted: Wanted | null) {
  if (version !== wanted?.version || release === undefined || release === wanted.release) return undefined;
  const short = (digest: string) => `${digest.slice(0, 8)}…`;
  return `runs other bytes under the number ${version}: release ${short(release)}, wanted ${short(wanted.release)}`;
}

/** Longest text of a device's own that is taken over. */
const wordsKept = 700;

function describeError({ code, message }: { code: string; message: string }): string {
  return clipped(`${code}: ${message}`);
}

function complaints(problems: readonly string[]): string {
  return problems.length === 0 ? '' : clipped(`; the device says: ${problems.slice(-2).join('; ')}`);
}

function clipped(text: string): string {
  return text.length <= wordsKept ? text : `${text.slice(0, wordsKept)}…`;
}
