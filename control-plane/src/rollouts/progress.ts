// How far a rollout has come: where each device stands, and counts of that which are kept rather than counted anew, so that a
// look at it costs what has changed since the last one. It follows from the views that it is given and the time alone: fed one
// by one or all at once, in any order, it says the same.
import type { DeviceCounts, RolloutDevice } from '@edgeloop/shared/api/rollouts';
import { followActivation, isFailure, tracedDevices } from './activation.ts';
import {
  type Clock,
  type DeviceStanding,
  type DeviceView,
  isAway,
  isOwned,
  isRestored,
  isTrial,
  type Member,
  observe,
  type Subject,
  standing,
  stepOf,
  variantOf,
} from './device-state.ts';
import { Due } from './due.ts';
import { labelValue, type PlannedMember, planWaves } from './waves.ts';

/**
 * `given`: runs or is to run the version by this rollout's word. `ready`: has a wave, and may be given the version.
 * `unplanned`: matches, and has no wave yet. `barred`: matches, and another rollout or a conflict keeps it. `nowhere`: is to try the
 * version beside its own, and has none; it comes again in a later wave. `other`: none of it.
 */
type Kind = 'given' | 'ready' | 'unplanned' | 'barred' | 'nowhere' | 'other';

interface Entry {
  view: DeviceView;
  /** As it is to be remembered from now on. */
  member: Member | null;
  kind: Kind;
  /** Of those given. */
  standing: DeviceStanding | null;
  /** By it, devices of one value of the label of `maxUnavailable` are counted. */
  value: string;
}

/**
 * States of devices that were given the version; `away` are those offline that are not waited for, `awaited` those unable to take part
 * that are.
 */
type Counted = RolloutDevice['state'] | 'away' | 'awaited';
export type Counts = Partial<Record<Counted, number>>;

/** Within this time before now devices that were told count for the rate. */
const rateMs = 60_000;

export class Progress {
  readonly subject: Subject;
  readonly #entries = new Map<string, Entry>();
  readonly #due = new Due();
  readonly #waves = new Map<number, Counts>();
  readonly #all: Counts = {};
  /** The same of those that say which variant of the version they have. */
  readonly #variants = new Map<string, { waves: Map<number, Counts>; all: Counts }>();
  /** By wave, and in it by value, so that a value of which none may be told now costs nothing. */
  readonly #ready = new Map<number, Map<string, Set<string>>>();
  /** Members by the wave in which they come again, and the one in which they are. */
  readonly #again = new Map<string, number>();
  /** Members that only try the version beside their own, by wave: given it, or not yet. */
  readonly #trying = new Map<number, Set<string>>();
  readonly #claims = new Map<string, number>();
  readonly #underWay = new Map<string, number>();
  /** Devices told by instant, the latest of which say how much of the rate is used. */
  readonly #told = new Map<number, number>();
  #unclaimed = 0;
  #listeningSince = 0;
  readonly given = new Set<string>();
  readonly unplanned = new Set<string>();
  /** Those of the ready that had the version before: another rollout has let go of them. */
  readonly returned = new Set<string>();
  /** Given, and failed or timed out. */
  readonly failed = new Set<string>();
  readonly conflicting = new Set<string>();
  /** Members that do not run yet what they should by another word now. */
  readonly #unrestored = new Set<string>();
  /** Members of which more is known than was stored. */
  readonly observed = new Map<string, Member>();
  readonly #traced: boolean;
  /** Devices that are traced however they end, by wave. */
  readonly #shown = new Map<number, Set<string>>();

  /** `traced`: how devices take the version up is to be kept. */
  constructor(subject: Subject, { traced = false }: { traced?: boolean } = {}) {
    this.subject = subject;
    this.#traced = traced;
  }

  /** Takes up what is known of a device now. */
  update(view: DeviceView, clock: Clock): void {
    const known = this.#entries.get(view.id);
    if (known !== undefined) this.#count(known, -1);
    this.#listeningSince = clock.listeningSince;
    const entry = this.#entryOf(view, clock);
    this.#entries.set(view.id, entry);
    this.#count(entry, 1);
    const { standing: stands } = entry;
    if (stands?.until != null) this.#due.add(stands.until, view.id);
    else if (stands === null && entry.member !== null && !view.online && !isAway(view, clock, this.subject.plan))
      this.#due.add(clock.now + this.subject.plan.offlineAfterSeconds * 1000, view.id);
  }

  /** One that left the fleet, or that neither matches nor was ever given the version. */
  remove(id: string): void {
    const known = this.#entries.get(id);
    if (known !== undefined) this.#count(known, -1);
    this.#entries.delete(id);
    this.observed.delete(id);
  }

  /** Looks again at those who stand otherwise by time alone. */
  tick(clock: Clock): void {
    for (const id of this.#due.take(clock.now)) {
      const entry = this.#entries.get(id);
      if (entry !== undefined) this.update(entry.view, clock);
    }
  }

  /** That what was observed has been stored. */
  remembered(stored: readonly { deviceId: string; member: Member }[]): void {
    for (const { deviceId, member } of stored) {
      if (this.observed.get(deviceId) === member) this.observed.delete(deviceId);
    }
  }

  #entryOf(view: DeviceView, clock: Clock): Entry {
    const { subject } = this;
    const stored = view.member;
    const former = this.#entries.get(view.id);
    // What was seen and not stored yet is not seen anew.
    const known = this.observed.get(view.id) ?? stored;
    const base = known !== null && stored !== null && sameRow(known, stored, former?.view.member) ? known : stored;
    const observed = base === null ? null : observe(subject, view, base, clock);
    const stands = observed !== null && isOwned(subject, view) ? standing(subject, view, observed, clock) : null;
    const member = stands === null || observed === null ? observed : this.#follow(view, observed, stands, clock);
    if (member !== null && member !== stored) this.observed.set(view.id, member);
    else this.observed.delete(view.id);
    const value = labelValue(view.labels, subject.plan.maxUnavailable?.label);
    return { view, member, kind: stands === null ? this.#kindOf(view) : 'given', standing: stands, value };
  }

  /** With what a trace is to show of it. */
  #follow(view: DeviceView, member: Member, stands: DeviceStanding, { now }: Clock): Member {
    const former = member.activation ?? null;
    if (!this.#traced || !this.#isShown(view.id, member, stands)) return member;
    const step = stepOf(this.subject, view, member);
    const activation = followActivation(former, { view, standing: stands, step, now });
    return activation === former ? member : { ...member, activation };
  }

  #isShown(id: string, { wave, activation }: Member, { state }: DeviceStanding): boolean {
    const shown = this.#shown.get(wave) ?? new Set<string>();
    this.#shown.set(wave, shown);
    if (activation != null || shown.size < tracedDevices) shown.add(id);
    return shown.has(id) || isFailure(state);
  }

  #kindOf(view: DeviceView): Kind {
    const { member, desired } = view;
    const kind = kindOf(view);
    // Beside nothing it cannot run.
    const nowhere = kind === 'ready' && desired === null && member !== null && isTrial(this.subject, member.wave);
    return nowhere ? 'nowhere' : kind;
  }

  #count(entry: Entry, by: 1 | -1): void {
    const { view, member, kind, standing: stands, value } = entry;
    const keep = (set: Set<string>, holds: boolean) => {
      if (by === 1 && holds) set.add(view.id);
      else set.delete(view.id);
    };
    keep(this.given, kind === 'given');
    keep(this.unplanned, kind === 'unplanned');
    keep(this.returned, kind === 'ready' && member?.assignedAt != null);
    keep(this.conflicting, view.conflicting && (kind === 'given' || kind === 'barred'));
    keep(this.failed, stands?.state === 'failed' || stands?.state === 'timed_out');
    const elsewhere = view.claimedBy !== null && view.claimedBy === view.desired?.rolloutId;
    keep(this.#unrestored, member?.assignedAt != null && kind !== 'given' && !elsewhere && !isRestored(view));
    if (kind === 'ready') this.#keepReady(view.id, { wave: member?.wave ?? 0, value, by });
    if (member !== null && isTrial(this.subject, member.wave))
      keep(this.#tryingIn(member.wave), member.outcome === null);
    const [again] = member?.later ?? [];
    if (again !== undefined && (kind === 'given' || kind === 'ready' || kind === 'nowhere'))
      bump(this.#again, `${member?.wave} ${again}`, by);
    const counts = view.matches || kind === 'given';
    if (counts && view.claimedBy !== null) bump(this.#claims, view.claimedBy, by);
    else if (counts && !view.conflicting) this.#unclaimed += by;
    if (stands === null || member === null) return;
    const state = countedAs(stands);
    add(this.wave(member.wave), state, by);
    add(this.#all, state, by);
    const variant = variantOf(this.subject, view);
    if (variant !== undefined) this.#countVariant(variant, { wave: member.wave, state, by });
    if (state === 'deploying' || state === 'baking' || state === 'offline') bump(this.#underWay, value, by);
    if (member.assignedAt !== null) bump(this.#told, member.assignedAt, by);
  }

  #keepReady(id: string, { wave, value, by }: { wave: number; value: string; by: 1 | -1 }): void {
    const values = this.#ready.get(wave) ?? new Map<string, Set<string>>();
    this.#ready.set(wave, values);
    const ids = values.get(value) ?? new Set<string>();
    values.set(value, ids);
    if (by === 1) ids.add(id);
    else ids.delete(id);
    if (ids.size === 0) values.delete(value);
  }

  #tryingIn(wave: number): Set<string> {
    const known = this.#trying.get(wave);
    if (known !== undefined) return known;
    const made = new Set<string>();
    this.#trying.set(wave, made);
    return made;
  }

  /** Members of waves before this one that only tried the version. */
  triedBefore(wave: number): string[] {
    return [...this.#trying].flatMap(([own, ids]) => (own < wave ? [...ids] : []));
  }

  /** The earliest wave in which devices of this one come again. */
  againAfter(wave: number): number | undefined {
    const waves = [...this.#again.keys()].map((key) => key.split(' ').map(Number));
    const own = waves.flatMap(([from, to]) => (from === wave && to !== undefined ? [to] : []));
    return own.length === 0 ? undefined : Math.min(...own);
  }

  /** Devices of a wave that were given the version, by where they stand. */
  wave(wave: number): Counts {
    const known = this.#waves.get(wave);
    if (known !== undefined) return known;
    const made: Counts = {};
    this.#waves.set(wave, made);
    return made;
  }

  #countVariant(name: string, { wave, state, by }: { wave: number; state: Counted; by: 1 | -1 }): void {
    const known = this.#variants.get(name) ?? { waves: new Map<number, Counts>(), all: {} };
    this.#variants.set(name, known);
    const counts = known.waves.get(wave) ?? {};
    known.waves.set(wave, counts);
    add(counts, state, by);
    add(known.all, state, by);
  }

  /** By variant: where devices stand that have it. */
  variants(wave: number): { name: string; wave: Counts; all: Counts }[] {
    const each = [...this.#variants].map(([name, { waves, all }]) => ({ name, wave: waves.get(wave) ?? {}, all }));
    return each.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get all(): Counts {
    return this.#all;
  }

  /** Devices up to and with this wave that may be given the version now, in the order of waves, while their value is not `full`. */
  *readyUpTo(wave: number, full: (value: string) => boolean): Generator<string> {
    for (const each of [...this.#ready.keys()].sort((a, b) => a - b)) {
      if (each > wave) continue;
      for (const [value, ids] of this.#ready.get(each) ?? []) {
        for (const id of ids) {
          if (full(value)) break;
          yield id;
        }
      }
    }
  }

  /** The earliest wave with devices that may be given the version. */
  firstReady(): number | undefined {
    const waves = [...this.#ready].flatMap(([wave, values]) => (values.size > 0 ? [wave] : []));
    return waves.length === 0 ? undefined : Math.min(...waves);
  }

  readyIn(wave: number): number {
    let sum = 0;
    for (const ids of this.#ready.get(wave)?.values() ?? []) sum += ids.size;
    return sum;
  }

  get ready(): number {
    let sum = 0;
    for (const wave of this.#ready.keys()) sum += this.readyIn(wave);
    return sum;
  }

  /** The newest rollout that takes this one's devices, when these are all that it has or could have. */
  get successor(): string | undefined {
    if (this.#unclaimed > 0) return undefined;
    const newer = [...this.#claims.keys()].filter((id) => id > this.subject.id).sort();
    return newer.at(-1);
  }

  /** Devices that were told and have not ended, by the value of the label of `maxUnavailable`. */
  underWay(value: string): number {
    return this.#underWay.get(value) ?? 0;
  }

  value(id: string): string {
    return this.#entries.get(id)?.value ?? '';
  }

  toldLately(now: number): number {
    let sum = 0;
    for (const [at, count] of this.#told) if (at > now - rateMs) sum += count;
    return sum;
  }

  lastToldAt(): number | undefined {
    const instants = [...this.#told.keys()];
    return instants.length === 0 ? undefined : Math.max(...instants);
  }

  /** Members that do not run what they were given back, and are there to be waited for. */
  missing(clock: Clock): DeviceView[] {
    const views = [...this.#unrestored].flatMap((id) => this.#entries.get(id)?.view ?? []);
    return views.filter((view) => !view.conflicting && !isAway(view, clock, this.subject.plan));
  }

  /** No device was ever told. */
  get isUntold(): boolean {
    return this.given.size === 0 && this.returned.size === 0 && Object.keys(this.#all).length === 0;
  }

  view(id: string): DeviceView | undefined {
    return this.#entries.get(id)?.view;
  }

  member(id: string): Member | null {
    return this.#entries.get(id)?.member ?? null;
  }

  /** Where one stands that was given the version, with words as of now. */
  standing(id: string, now: number): DeviceStanding | undefined {
    const entry = this.#entries.get(id);
    if (entry?.kind !== 'given' || entry.member === null) return undefined;
    return standing(this.subject, entry.view, entry.member, { now, listeningSince: this.#listeningSince });
  }

  *views(): Generator<DeviceView> {
    for (const { view } of this.#entries.values()) yield view;
  }

  /** Devices without a wave, or with `again` all that may be given the version: what a first plan is made of. */
  plannable(again: boolean): DeviceView[] {
    const chosen: DeviceView[] = [];
    for (const { view, kind } of this.#entries.values())
      if (view.member === null ? view.matches : again && kind === 'ready') chosen.push(view);
    return chosen;
  }

  /** The waves that each device without one would come into, were it planned now. */
  preview(): Map<string, Pick<PlannedMember, 'wave' | 'later'>> {
    return new Map(
      planWaves(this.subject, this.plannable(false)).map(({ deviceId, ...planned }) => [deviceId, planned]),
    );
  }
}

/** Whether what was observed of a row still belongs to it: an assignment in between begins anew. */
function sameRow(observed: Member, stored: Member, former: Member | null | undefined): boolean {
  if (former === null || former === undefined) return true;
  const { assignedAt, attempt, wave } = observed;
  return assignedAt === stored.assignedAt && attempt === stored.attempt && wave === stored.wave;
}

function kindOf({ matches, claimedBy, conflicting, member }: DeviceView): Kind {
  if (!matches) return 'other';
  if (claimedBy !== null || conflicting) return 'barred';
  if (member === null) return 'unplanned';
  return member.outcome === null ? 'ready' : 'other';
}

function countedAs({ state, away }: DeviceStanding): Counted {
  if (state === 'offline' && away) return 'away';
  return state === 'unable' && !away ? 'awaited' : state;
}

function bump<K>(map: Map<K, number>, key: K, by: number): void {
  const sum = (map.get(key) ?? 0) + by;
  if (sum === 0) map.delete(key);
  else map.set(key, sum);
}

function add(counts: Counts, key: Counted, by: number): void {
  const sum = (counts[key] ?? 0) + by;
  if (sum === 0) delete counts[key];
  else counts[key] = sum;
}

/** As people and the API see it: who is away is offline. */
export function deviceCounts({ away = 0, awaited = 0, ...counts }: Counts): DeviceCounts {
  const all: DeviceCounts = { ...counts };
  if (away > 0) all.offline = (counts.offline ?? 0) + away;
  if (awaited > 0) all.unable = (counts.unable ?? 0) + awaited;
  return all;
}
