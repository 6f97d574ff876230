// What the field says of two versions, as gates take it.
import type { QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import type { DeviceCounts } from './counts.ts';

/** What devices answered with one version, or with several that count as one. */
export interface Arm {
  /** Requests, hits are those that failed. */
  requests: DeviceCounts;
  /** Labels, hits are right predictions. */
  labels: DeviceCounts;
  /** Answered requests, hits are those slower than the gate's quantile of the device before. */
  slow: DeviceCounts;
  /** Milliseconds. */
  latencyMs: QuantileSketch;
  /** In multiples of that quantile. */
  latencyRatio: QuantileSketch;
  /** Predictions by class, a record a device. */
  classes: readonly Readonly<Record<string, number>>[];
  /** What it said in the shadow of another; unset where it said nothing so. */
  shadow?: ShadowArm | undefined;
}

/** What a version said in the shadow of the one that answered, on the same inputs. */
export interface ShadowArm {
  /** Rows and runs that failed; hits are those on which the two do not agree. */
  disagreements: DeviceCounts;
  /** Runs that failed, and answers that were not compared. */
  failed: number;
  skipped: number;
  /** Of scores, and milliseconds of a run: its own, and those of what answered. */
  difference: QuantileSketch;
  latencyMs: QuantileSketch;
  formerMs: QuantileSketch;
}

export interface Scope {
  over: 'wave' | 'all';
  /** The new version. */
  fresh: Arm;
  /** The old version on devices that have not got the new one, since the scope's beginning. */
  rest: Arm;
}

/** `wave` is undefined when no device of the present wave has it. */
export interface VariantScopes {
  name: string;
  wave: Scope | undefined;
  all: Scope;
}

export interface FieldEvidence {
  wave: Scope;
  all: Scope;
  /** The old version before the rollout. */
  lastPeriod: Arm;
  /** Whether any device of the rollout runs the old version still. */
  restRuns: boolean;
  /** Of a version with variants: each that devices have, and how many there are. */
  variants?: { of: number; each: readonly VariantScopes[] };
  /** Labels that the wave's devices will probably have within the time that is waited. */
  labelsExpected: number;
  /** The rest are the very devices that answer with the new version, too. */
  sameDevices?: boolean;
}

export interface FieldMember {
  deviceId: string;
  wave: number;
  /** When it was given the new version. */
  since: number;
  /** Which variant of it the device has, as soon as it says so. */
  variant?: string | undefined;
}

export interface FieldQuery {
  rolloutId: string;
  model: string;
  /** The new version. */
  version: number;
  /** Devices that were given it. */
  members: readonly FieldMember[];
  /** The wave under way. */
  wave: number;
  /** How many variants the new version has; unset when it has none. */
  variants?: number;
  /** Devices whose answers count. */
  matching: ReadonlySet<string>;
  /** Whether any of them runs another version still. */
  restRuns: boolean;
  /** Of the latency, 0 to 1. */
  quantile: number;
  /** How long labels are waited for. */
  patienceMs: number;
  /** The wave only tries the version: its devices answer with both, and are compared with themselves. */
  trial?: boolean;
}

/** What the new version is compared with. `none`: nothing has answered before it. */
export interface Baseline<T> {
  kind: 'rest' | 'last_period' | 'none';
  of: T;
  /** Why it is not the rest, in words; empty when it is, or where that is. */
  why: string;
}

type Beside = Pick<FieldEvidence, 'restRuns' | 'sameDevices'>;

/**
 * The rest in the same time, as soon as it has `minimum` evidence; until then the last period of the old version if that
 * has. Which one is chosen depends on how much there is, never on how good it is.
 */
export function baselineOf<T>(
  { rest, lastPeriod, restRuns, sameDevices }: { rest: T; lastPeriod: T } & Beside,
  { minimum, count }: { minimum: number; count: (of: T) => number },
): Baseline<T> {
  const enough = Math.max(1, minimum);
  const beside: Baseline<T> = {
    kind: 'rest',
    of: rest,
    why: sameDevices === true ? 'on the same devices in the same time' : '',
  };
  if (restRuns && count(rest) >= enough) return beside;
  if (count(lastPeriod) >= enough) {
    const why = restRuns ? 'the rest has answered too little yet' : 'no device runs the old version any more';
    return { kind: 'last_period', of: lastPeriod, why };
  }
  if (count(rest) > 0) return beside;
  return { kind: 'none', of: rest, why: 'nothing is known of an earlier version on these devices' };
}
