// What one device makes of a rollout, from what it reports and from what was seen of it before.
import type { RolloutDevice, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { ModelReport } from '@edgeloop/shared/messages';

/** A device that a rollout has given its version to. Instants are by this server's clock. */
export interface Member {
  wave: number;
  assignedAt: number;
  /** Whether it was online when last looked at, and since when that has been so. */
  online: boolean;
  connectionSince: number;
  /** When it was first seen to serve the version; null before, and when it starts over. */
  servingSince: number | null;
}

/** `release` says which bytes; the version is a name for people. */
interface Wanted {
  version: number;
  release: string;
  rolloutId: string;
}

/** What is known of a device that matches the selector or is a member. */
export interface DeviceView {
  id: string;
  /** Whether its labels match the selector now. */
  matches: boolean;
  /** The newer rollout that has it or claims it: this one takes it no more. */
  claimedBy: string | null;
  online: boolean;
  lastSeenAt: number | null;
  /** What it says of this model. */
  report: ModelReport | null;
  /** What stands in its way by its own word, newest last. */
  problems: readonly string[];
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

/** `away`: offline for so long that it need not be waited for. */
export type DeviceStanding = Pick<RolloutDevice, 'state' | 'detail'> & { away: boolean };

/** How long a device may be offline before it counts as such: after a restart of this server all are, for a moment. */
export const offlineGraceMs = 60_000;

/** Whether the device should run the version by this rollout's word still. */
export function isOwned(subject: Pick<Subject, 'id'>, device: DeviceView): boolean {
  return device.member !== null && device.desired?.rolloutId === subject.id;
}

/** What to remember of a member from now on, from what it reports now. */
export function observe(subject: Subject, device: DeviceView, member: Member, now: number): Member {
  const { online } = device;
  const connectionSince = online === member.online ? member.connectionSince : now;
  const servingSince = isOwned(subject, device) ? servingFrom(device, member, now) : member.servingSince;
  return { ...member, online, connectionSince, servingSince };
}

function servingFrom({ report, desired }: DeviceView, member: Member, now: number): number | null {
  if (report !== null && runs(report, desired) && isSettling(report)) return member.servingSince ?? now;
  // It begins anew with the version, as after losing its disk. Any other loss is a failure, which needs the memory.
  const again = report?.candidate?.version === desired?.version && report?.candidate?.state !== 'failed';
  return again ? null : member.servingSince;
}

/** Whether these very bytes answer. Agents of before do not say which, and are believed by the number. */
function runs({ active }: ModelReport, wanted: Wanted | null): boolean {
  if (active === null || active.version !== wanted?.version) return false;
  return active.release === undefined || active.release === wanted.release;
}

/** The active version answers requests, and nothing other is on its way. */
function isSettling({ active, candidate }: ModelReport): boolean {
  return candidate === null || (candidate.state === 'probation' && candidate.version === active?.version);
}

/**
 * Whether a device is offline, beyond a short break. The break counts from when it was last seen, so that who has been
 * away for days is not waited for anew in each wave; before this server listened it saw nobody.
 */
export function isAway({ online, lastSeenAt }: DeviceView, { now, listeningSince }: Clock): boolean {
  // An instant in the future is of a clock that was wrong.
  const seenAt = lastSeenAt === null || lastSeenAt > now ? listeningSince : Math.max(lastSeenAt, listeningSince);
  return !online && now - seenAt >= offlineGraceMs;
}

/** Where a member stands. `member` is what `observe` gave. */
export function standing(subject: Subject, device: DeviceView, member: Member, clock: Clock): DeviceStanding {
  return { ...placed(subject, device, member, clock.now), away: isAway(device, clock) };
}

type Placed = Pick<RolloutDevice, 'state' | 'detail'>;

function placed(subject: Subject, device: DeviceView, member: Member, now: number): Placed {
  const failure = failureOf(subject, device, member);
  if (failure !== undefined) return { state: 'failed', detail: failure };
  if (member.servingSince !== null) return servingStanding(subject, device, member.servingSince, now);
  if (!device.online) return { state: 'offline', detail: 'gets the version when it returns' };
  const timeoutMs = subject.plan.deployTimeoutSeconds * 1000;
  const since = Math.max(member.assignedAt, member.connectionSince);
  const detail = progressOf(device);
  if (now - since < timeoutMs) return { state: 'deploying', detail };
  return { state: 'timed_out', detail: `not serving after ${subject.plan.deployTimeoutSeconds} s online (${detail})` };
}

function servingStanding(subject: Subject, device: DeviceView, since: number, now: number): Placed {
  const { bakeSeconds } = subject.plan;
  const seenUntil = device.online ? now : Math.min(now, device.lastSeenAt ?? since);
  const baked = seenUntil - since >= bakeSeconds * 1000;
  const probation = device.report?.candidate?.state === 'probation';
  if (baked && !probation) return { state: 'healthy', detail: `serving version ${subject.version}` };
  if (!device.online) return { state: 'offline', detail: 'went offline before it had served long enough' };
  const left = Math.max(0, Math.ceil((since + bakeSeconds * 1000 - now) / 1000));
  return { state: 'baking', detail: left > 0 ? `serving, ${left} s to go` : 'serving, on probation' };
}

function failureOf(subject: Subject, { report, desired }: DeviceView, member: Member): string | undefined {
  const candidate = report?.candidate;
  if (candidate?.state === 'failed' && candidate.rolloutId === subject.id && candidate.version === subject.version) {
    return candidate.error === undefined ? 'failed' : describeError(candidate.error);
  }
  if (member.servingSince === null || (report !== null && runs(report, desired))) return undefined;
  const active = report?.active ?? null;
  if (active === null) return 'lost the version after serving it';
  return otherBytes(active, desired) ?? `fell back to version ${active.version}`;
}

/** Whether the device runs what it should after a rollback, or cannot. */
export function isRestored({ report, desired }: DeviceView): boolean {
  if (desired === null) return (report?.active ?? null) === null;
  if (report !== null && runs(report, desired)) return true;
  return report?.candidate?.state === 'failed' && report.candidate.version === desired.version;
}

/** How far a device has come with what it should run, and what keeps it. */
export function progressOf({ online, report, desired, problems }: DeviceView): string {
  if (!online) return 'offline';
  const active = report?.active ?? null;
  if (desired === null) return active === null ? 'runs nothing' : `still runs version ${active.version}`;
  const candidate = report?.candidate;
  const own = candidate?.version === desired.version && candidate.rolloutId === desired.rolloutId;
  const step = own ? candidate.state : 'told to fetch';
  const why = own && candidate.error !== undefined ? describeError(candidate.error) : undefined;
  const doing = why === undefined ? step + complaints(problems) : `${step}: ${why}`;
  const other = active === null ? undefined : otherBytes(active, desired);
  return other === undefined ? doing : `${other}; ${doing}`;
}

/** Set when it runs the number that it should with bytes that it should not: a restored registry gave it twice. */
function otherBytes({ version, release }: NonNullable<ModelReport['active']>, wanted: Wanted | null) {
  if (version !== wanted?.version || release === undefined || release === wanted.release) return undefined;
  const short = (digest: string) => `${digest.slice(0, 8)}…`;
  return `runs other bytes under the number ${version}: release ${short(release)}, wanted ${short(wanted.release)}`;
}

/** Longest text of a device's own that is taken over. */
const wordsKept = 300;

function describeError({ code, message }: { code: string; message: string }): string {
  return clipped(`${code}: ${message}`);
}

function complaints(problems: readonly string[]): string {
  return problems.length === 0 ? '' : clipped(`; the device says: ${problems.slice(-2).join('; ')}`);
}

function clipped(text: string): string {
  return text.length <= wordsKept ? text : `${text.slice(0, wordsKept)}…`;
}
