// What is known of a model on this device, and what may happen to it. How the one follows from the other stands in
// `transitions.ts`; the driver performs the one step that a state asks for and tells the outcome.
import { Measured } from '@edgeloop/shared/acceptance';
import { Instant, ModelName, ModelVersion, Sha256 } from '@edgeloop/shared/identifiers';
import { Beside, DesiredModel, Held } from '@edgeloop/shared/messages';
import { z } from 'zod';
import { Failure } from '../failure.ts';

/** Which bytes: the version is a name for people, and after a restored registry the same number may name others. */
const Release = z.object({
  version: ModelVersion,
  release: Sha256,
  /** Of a version with several files: which one is used here, and why that. */
  variant: z.string().optional(),
  variantWhy: z.string().optional(),
  /** Before it answered, where that was asked for. */
  measured: Measured.optional(),
});
/** What was found out about a candidate on this device. */
const Found = Release.omit({ version: true, release: true });
export type Found = z.infer<typeof Found>;
export type Release = z.infer<typeof Release>;

const common = {
  target: DesiredModel,
  since: Instant,
  /** How often the machine, the network or somebody else ended a step of this attempt. */
  tries: z.number().int().default(0),
  /** Why it does not go on at present. */
  error: Failure.optional(),
  /** For whom or what it waits. */
  held: Held.optional(),
  found: Found.optional(),
  /** When software on the device first held back this attempt. */
  holdSince: Instant.optional(),
};
const deaths = {
  /** Deaths of the serving process that may be this model's doing, since the attempt began. */
  deaths: z.number().int(),
  /** The same of the agent itself. */
  boots: z.number().int(),
  /** How often its process was killed from outside. */
  kills: z.number().int().default(0),
};

const Candidate = z.discriminatedUnion('state', [
  /** `because`: what was on this disk before was damaged there. */
  z.object({
    ...common,
    state: z.literal('fetching'),
    because: z.string().optional(),
    /** Time without anything new on this disk though the control plane answers. */
    stalledMs: z.number().default(0),
  }),
  z.object({ ...common, state: z.literal('verifying') }),
  /** `loading` is on disk before the serving process touches the model, so that a death there is laid to it. */
  z.object({ ...common, ...deaths, state: z.literal('warming'), step: z.enum(['proving', 'loading']) }),
  z.object({ ...common, ...deaths, state: z.literal('probation') }),
  z.object({ ...common, state: z.literal('failed'), error: Failure }),
]);
export type Candidate = z.infer<typeof Candidate>;

/** A version on its way, and what it may come to stand beside or replace. */
const Course = z.object({
  name: ModelName,
  desired: DesiredModel.nullable(),
  /** What answers requests; during probation the candidate's release. */
  active: Release.extend({ since: Instant }).nullable(),
  /** The release that last passed probation: what a failing one is replaced by. */
  lastGood: Release.nullable(),
  /** What was that before: what takes over when the last good release turns out to be none. */
  previousGood: Release.nullable().default(null),
  candidate: Candidate.nullable(),
  /** Not tried again on the same rollout's word. Agents of before did not note the release. */
  refused: z.array(
    z.object({ version: ModelVersion, release: Sha256.optional(), rolloutId: z.string(), error: Failure }),
  ),
});
type Course = z.infer<typeof Course>;

/**
 * What runs beside the active release, or is on its way to: it takes the very steps of a candidate, and stays in its probation as
 * long as it runs. It never becomes the last good one.
 */
export const BesideState = Course.extend({ order: Beside });
export type BesideState = z.infer<typeof BesideState>;

export const ModelState = Course.extend({ beside: BesideState.nullable().default(null) });
export type ModelState = z.infer<typeof ModelState>;

export type ModelEvent =
  | { kind: 'desired'; model: DesiredModel | null }
  /** Fetching failed for now and goes on. `stalledMs`: time that went by without anything coming; 0 when something came. */
  | { kind: 'delayed'; error: Failure; stalledMs?: number }
  /** A step was ended by what is not the model's doing, and is tried again. `counts`: towards the bound of this. */
  | { kind: 'setback'; error: Failure; counts: boolean }
  /** The next step may not begin yet; and, later, it may. */
  | { kind: 'held'; held: Held }
  | { kind: 'freed' }
  | { kind: 'fetched'; found?: Found }
  | { kind: 'verified' }
  | { kind: 'proved'; found?: Found }
  | { kind: 'activated' }
  /** The candidate is no good: bytes, proof, load, or too many failed requests in probation. */
  | { kind: 'failed'; error: Failure }
  /**
   * A process died that ran models. `crashed`: by a fault of its own, not by being killed; `served`: after answers of the
   * candidate; `suspects`: releases that ran, undefined when nobody knows.
   */
  | { kind: 'died'; crashed: boolean; served: boolean; detail: string; suspects: readonly string[] | undefined }
  /** A release ended the serving process too often, in its probation or long after it. */
  | { kind: 'quarantined'; release: string; error: Failure }
  /** The agent started again after an end that was no orderly stop. */
  | { kind: 'rebooted' }
  /** Probation is over. */
  | { kind: 'endured' }
  /** The active release cannot be loaded any more though its files are what they were. */
  | { kind: 'lost'; error: Failure }
  /** The files of a release were changed on this disk. It is as good as before once they are fetched again. */
  | { kind: 'damaged'; release: string; error: Failure }
  | { kind: 'repaired'; release: string }
  /** Of what runs beside it. */
  | { kind: 'beside'; event: Exclude<ModelEvent, { kind: 'beside' | 'desired' }> };

/** What the driver has to do next for a model. */
export type Step = 'fetch' | 'verify' | 'prove' | 'load' | 'watch' | 'rest';

export function newModelState(name: string): ModelState {
  return { ...newCourse(name), beside: null };
}

function newCourse(name: string): Course {
  return { name, desired: null, active: null, lastGood: null, previousGood: null, candidate: null, refused: [] };
}

/** Of a version that was ordered just now. */
export function newBeside(name: string, order: Beside): BesideState {
  return { ...newCourse(name), order };
}

/** Whether the model is at rest, so that something may run beside it: what answers is what should. */
export function isAtRest({ candidate, active, desired }: ModelState): boolean {
  return candidate === null && active !== null && active.release === desired?.release;
}

export function stepOf({ candidate }: Pick<ModelState, 'candidate'>): Step {
  switch (candidate?.state) {
    case undefined:
    case 'failed':
      return 'rest';
    case 'fetching':
      return 'fetch';
    case 'verifying':
      return 'verify';
    case 'warming':
      return candidate.step === 'proving' ? 'prove' : 'load';
    case 'probation':
      return 'watch';
  }
}

/** A release that has not proved itself is loaded into a process of its own. */
export function isOnTrial({ candidate, lastGood }: ModelState, release: string): boolean {
  const isTried = candidate?.state === 'warming' || candidate?.state === 'probation';
  return isTried && candidate.target.release === release && lastGood?.release !== release;
}

/**
 * Releases that the serving process must hold, in the order in which they are loaded: what it would fall back to during a
 * probation, then what answers. Of two with one number only the one that answers can be held.
 */
export function releasesToHold({ active, lastGood, candidate }: ModelState): Release[] {
  if (active === null) return [];
  const fallback = candidate?.state === 'probation' && lastGood !== null && lastGood.version !== active.version;
  return fallback ? [releaseOf(lastGood), releaseOf(active)] : [releaseOf(active)];
}

/** Releases whose files must stay on disk. */
export function releasesToKeep(state: ModelState): Release[] {
  const { active, lastGood, previousGood, beside } = state;
  const kept = [active, lastGood, previousGood, comingIn(state), beside && comingIn(beside)].filter(
    (each) => each !== null,
  );
  return [...new Map(kept.map((each) => [each.release, releaseOf(each)])).values()];
}

function comingIn({ candidate }: Course): Release | null {
  return candidate === null || candidate.state === 'failed' ? null : candidate.target;
}

/** Of what says more. */
export function releaseOf({ version, release, variant, variantWhy, measured }: Release): Release {
  const found = Object.entries({ variant, variantWhy, measured }).filter(([, value]) => value !== undefined);
  return { version, release, ...Object.fromEntries(found) };
}
