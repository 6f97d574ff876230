// What one rollout's versions answered in the field, kept up as windows come in: a look costs what is new since the last.
import type { Window } from '@edgeloop/shared/telemetry';
import { plainVariant } from '@edgeloop/shared/variants';
import type { Counts } from '../gates/counts.ts';
import type { FieldEvidence, FieldMember, FieldQuery, Scope, VariantScopes } from '../gates/evidence.ts';
import { ArmTally } from './arm-tally.ts';
import type { LabelSums } from './field-store.ts';
import type { LastPeriod } from './last-period.ts';

export interface Seen {
  deviceId: string;
  window: Window;
}

interface WaveTally {
  wave: number;
  startedAt: number;
  fresh: ArmTally;
  rest: ArmTally;
  /** Of the new version, by variant. */
  variants: Map<string, ArmTally>;
}

const hourMs = 3_600_000;
const mostUnknown = 1000;

export class FieldTally {
  readonly startedAt: number;
  readonly #version: number;
  readonly #period: LastPeriod;
  readonly #fresh: ArmTally;
  /** The same by variant; windows that name none are of the plain file. */
  readonly #variants = new Map<string, ArmTally>();
  readonly #rest: ArmTally;
  readonly #last: ArmTally;
  #wave: WaveTally;
  /** Of devices that are not known to have been given the version: word of that may come with the next look. */
  #unknown: Seen[] = [];
  #sums: readonly LabelSums[] = [];

  constructor(query: FieldQuery, period: LastPeriod) {
    this.startedAt = startOf(query.members);
    this.#version = query.version;
    this.#period = period;
    this.#fresh = new ArmTally(period.latencyOf);
    this.#rest = new ArmTally(period.latencyOf);
    this.#last = new ArmTally(period.latencyOf);
    for (const { deviceId, window } of period.windows) this.#last.add(deviceId, window);
    this.#wave = this.#newWave(query);
  }

  /** Goes on to the wave of the query; returns whether it is another. */
  enter(query: FieldQuery): boolean {
    if (query.wave === this.#wave.wave) return false;
    this.#wave = this.#newWave(query);
    return true;
  }

  waveStartedAt(): number {
    return this.#wave.startedAt;
  }

  add(windows: readonly Seen[], query: FieldQuery): void {
    const members = new Map(query.members.map((member) => [member.deviceId, member]));
    const before = this.#unknown.splice(0);
    for (const { deviceId, window } of [...before, ...windows]) {
      if (window.version === this.#version) this.#addFresh(deviceId, window, members.get(deviceId));
      // What another version said in the shadow answered nobody.
      else if (query.matching.has(deviceId) && window.shadow === undefined)
        this.#addFormer(deviceId, window, query.trial === true ? (members.get(deviceId) ?? 'nobody') : undefined);
    }
  }

  setLabels(sums: readonly LabelSums[]): void {
    this.#sums = sums;
  }

  evidence(query: FieldQuery): FieldEvidence {
    const { members, wave, matching, restRuns, patienceMs, trial = false } = query;
    const waveOf = new Map(members.map((member) => [member.deviceId, member.wave]));
    const fresh = this.#sums.filter((each) => each.fresh && waveOf.has(each.deviceId));
    const former = this.#sums.filter((each) => !each.fresh && matching.has(each.deviceId));
    const isInWave = ({ deviceId }: LabelSums) => waveOf.get(deviceId) === wave;
    const inWave = fresh.filter(isInWave);
    const beside = trial ? former.filter(isInWave) : former;
    const scope = (
      over: Scope['over'],
      arms: { fresh: ArmTally; rest: ArmTally },
      labels: [LabelSums[], LabelSums[]],
    ) => ({
      over,
      fresh: arms.fresh.arm(labelsOf(labels[0], 'all')),
      rest: arms.rest.arm(labelsOf(labels[1], over)),
    });
    const waveDevices = members.filter((member) => member.wave === wave).length;
    const share = waveDevices / Math.max(1, matching.size);
    const variant = (name: string): VariantScopes => {
      const own = members.filter((member) => member.variant === name);
      const ids = new Set(own.map(({ deviceId }) => deviceId));
      const none = new ArmTally(this.#period.latencyOf);
      const labels = (sums: LabelSums[]) => sums.filter(({ deviceId }) => ids.has(deviceId));
      const onWave = { fresh: this.#wave.variants.get(name) ?? none, rest: this.#wave.rest };
      const onAll = { fresh: this.#variants.get(name) ?? none, rest: this.#rest };
      const isInWave = own.some((member) => member.wave === wave);
      return {
        name,
        wave: isInWave ? scope('wave', onWave, [labels(inWave), beside]) : undefined,
        all: scope('all', onAll, [labels(fresh), former]),
      };
    };
    const names = variantsOf(query);
    return {
      ...(names.length === 0 ? {} : { variants: { of: query.variants ?? names.length, each: names.map(variant) } }),
      wave: scope('wave', this.#wave, [inWave, beside]),
      all: scope('all', { fresh: this.#fresh, rest: this.#rest }, [fresh, former]),
      lastPeriod: this.#last.arm(added(this.#period.labels, former)),
      restRuns,
      sameDevices: trial,
      labelsExpected: (this.#period.labelsPerHour * share * patienceMs) / hourMs,
    };
  }

  #addFresh(deviceId: string, window: Window, member: FieldMember | undefined): void {
    if (member === undefined && this.#unknown.length < mostUnknown) this.#unknown.push({ deviceId, window });
    if (member === undefined || window.endedAt <= member.since) return;
    this.#fresh.add(deviceId, window);
    this.#variant(this.#variants, window).add(deviceId, window);
    if (member.wave !== this.#wave.wave) return;
    this.#wave.fresh.add(deviceId, window);
    this.#variant(this.#wave.variants, window).add(deviceId, window);
  }

  #variant(arms: Map<string, ArmTally>, { variant = plainVariant }: Window): ArmTally {
    const arm = arms.get(variant) ?? new ArmTally(this.#period.latencyOf);
    arms.set(variant, arm);
    return arm;
  }

  /** `beside`: only what this member answers while it tries the new version is compared with that; nothing of others. */
  #addFormer(deviceId: string, window: Window, beside: FieldMember | 'nobody' | undefined): void {
    if (window.startedAt < this.startedAt) return;
    this.#last.add(deviceId, window);
    this.#rest.add(deviceId, window);
    if (beside === 'nobody') return;
    if (window.startedAt >= (beside?.since ?? this.#wave.startedAt)) this.#wave.rest.add(deviceId, window);
  }

  #newWave({ wave, members }: FieldQuery): WaveTally {
    const startedAt = startOf(members.filter((member) => member.wave === wave));
    const { latencyOf } = this.#period;
    const variants = new Map<string, ArmTally>();
    return { wave, startedAt, fresh: new ArmTally(latencyOf), rest: new ArmTally(latencyOf), variants };
  }
}

/** Those that devices say they have, by name; none of a version without any. */
export function variantsOf({ variants, members }: Pick<FieldQuery, 'variants' | 'members'>): string[] {
  if (variants === undefined) return [];
  return [...new Set(members.flatMap(({ variant }) => variant ?? []))].sort();
}

/** When the first of them was given the version; never, when there are none. */
export function startOf(members: readonly FieldMember[]): number {
  return members.reduce((first, { since }) => Math.min(first, since), Number.POSITIVE_INFINITY);
}

function labelsOf(sums: readonly LabelSums[], over: Scope['over']): Map<string, Counts> {
  return new Map(sums.map((each) => [each.deviceId, each[over]]));
}

function added(before: ReadonlyMap<string, Counts>, since: readonly LabelSums[]): Map<string, Counts> {
  const sums = new Map(before);
  for (const { deviceId, all } of since) {
    const own = sums.get(deviceId) ?? { hits: 0, trials: 0 };
    sums.set(deviceId, { hits: own.hits + all.hits, trials: own.trials + all.trials });
  }
  return sums;
}
