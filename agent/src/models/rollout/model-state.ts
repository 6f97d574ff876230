// How a model's state on this device follows from what happens: a pure function, so that every order of events can be
// tried. The driver performs the one step a state asks for and tells the outcome.
import { Instant, ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { DesiredModel } from '@edgeloop/shared/messages';
import { z } from 'zod';
import { Failure } from '../failure.ts';

const common = { target: DesiredModel, since: Instant };
/** Deaths of the serving process and of the agent itself since the attempt began. */
const deaths = { deaths: z.number().int(), boots: z.number().int() };

const Candidate = z.discriminatedUnion('state', [
  z.object({ ...common, state: z.literal('fetching'), error: Failure.optional() }),
  z.object({ ...common, state: z.literal('verifying') }),
  /** `loading` is on disk before the serving process touches the model, so that a death there is laid to it. */
  z.object({ ...common, ...deaths, state: z.literal('warming'), step: z.enum(['proving', 'loading']) }),
  z.object({ ...common, ...deaths, state: z.literal('probation') }),
  z.object({ ...common, state: z.literal('failed'), error: Failure }),
]);
type Candidate = z.infer<typeof Candidate>;

export const ModelState = z.object({
  name: ModelName,
  desired: DesiredModel.nullable(),
  /** What answers requests; during probation the candidate's version. */
  active: z.object({ version: ModelVersion, since: Instant }).nullable(),
  /** The version that last passed probation: what a failing one is replaced by. */
  lastGood: ModelVersion.nullable(),
  /** What was that before: what takes over when the last good version turns out to be none. */
  previousGood: ModelVersion.nullable().default(null),
  candidate: Candidate.nullable(),
  /** Not tried again on the same rollout's word. */
  refused: z.array(z.object({ version: ModelVersion, rolloutId: z.string(), error: Failure })),
});
export type ModelState = z.infer<typeof ModelState>;

export type ModelEvent =
  | { kind: 'desired'; model: DesiredModel | null }
  /** Fetching failed for now and goes on. */
  | { kind: 'delayed'; error: Failure }
  | { kind: 'fetched' }
  | { kind: 'verified' }
  | { kind: 'proved' }
  | { kind: 'activated' }
  /** The candidate is no good: bytes, proof, load, or too many failed requests in probation. */
  | { kind: 'failed'; error: Failure }
  /** The serving process died. `crashed`: by a fault of its own, not by being killed; `served`: after answers of the candidate. */
  | { kind: 'died'; crashed: boolean; served: boolean; detail: string }
  /** A version ended the serving process too often, in its probation or long after it. */
  | { kind: 'quarantined'; version: number; error: Failure }
  /** The agent started again after an end that was no orderly stop. */
  | { kind: 'rebooted' }
  /** Probation is over. */
  | { kind: 'endured' }
  /** The active version's files cannot be loaded any more. */
  | { kind: 'lost'; error: Failure };

/** What the driver has to do next for a model. */
export type Step = 'fetch' | 'verify' | 'prove' | 'load' | 'watch' | 'rest';

const deathsAllowed = 1;
const bootsAllowed = 2;
const refusedKept = 20;

export function newModelState(name: string): ModelState {
  return { name, desired: null, active: null, lastGood: null, previousGood: null, candidate: null, refused: [] };
}

export function stepOf({ candidate }: ModelState): Step {
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

/** The state after `event` at `now`. An event that does not fit the state changes nothing. */
export function next(state: ModelState, event: ModelEvent, now: number): ModelState {
  const { candidate } = state;
  switch (event.kind) {
    case 'desired':
      return want(state, event.model, now);
    case 'delayed':
      return candidate?.state === 'fetching' ? { ...state, candidate: { ...candidate, error: event.error } } : state;
    case 'fetched':
      return candidate?.state === 'fetching' ? enter(state, { ...basis(candidate, now), state: 'verifying' }) : state;
    case 'verified':
      return candidate?.state === 'verifying' ? enter(state, proving(candidate, now)) : state;
    case 'proved':
      return candidate?.state === 'warming' && candidate.step === 'proving'
        ? enter(state, { ...candidate, step: 'loading' })
        : state;
    case 'activated':
      return candidate?.state === 'warming' && candidate.step === 'loading' ? activate(state, candidate, now) : state;
    case 'failed':
      return fail(state, event.error, now);
    case 'died':
      return survive(state, event, now);
    case 'quarantined':
      return quarantine(state, event, now);
    case 'rebooted':
      return reboot(state, now);
    case 'endured':
      return candidate?.state === 'probation' ? endure(state, candidate.target.version) : state;
    case 'lost':
      return lose(state, event.error, now);
  }
}

function want(state: ModelState, model: DesiredModel | null, now: number): ModelState {
  if (model === null) return newModelState(state.name);
  const wanted = { ...state, desired: model };
  const { candidate } = state;
  if (candidate !== null && isSame(candidate.target, model)) return wanted;
  if (state.active?.version === model.version)
    return { ...wanted, candidate: candidate?.state === 'probation' ? { ...candidate, target: model } : null };
  const refused = state.refused.find((each) => isSame(each, model));
  if (refused !== undefined) return enter(wanted, { target: model, since: now, state: 'failed', error: refused.error });
  return enter(wanted, { target: model, since: now, state: 'fetching' });
}

function activate(state: ModelState, candidate: Extract<Candidate, { state: 'warming' }>, now: number): ModelState {
  const { target } = candidate;
  const active = { version: target.version, since: now };
  if (target.version === state.lastGood) return { ...state, active, candidate: null };
  const { deaths, boots } = candidate;
  return { ...state, active, candidate: { target, since: now, state: 'probation', deaths, boots } };
}

function fail(state: ModelState, error: Failure, now: number): ModelState {
  const { candidate } = state;
  if (candidate === null || candidate.state === 'failed') return state;
  return refuse(candidate.state === 'probation' ? fallBack(state, now) : state, candidate.target, { error, now });
}

function refuse(state: ModelState, target: DesiredModel, { error, now }: { error: Failure; now: number }): ModelState {
  const others = state.refused.filter((each) => !isSame(each, target)).slice(-(refusedKept - 1));
  const refused = [...others, { version: target.version, rolloutId: target.rolloutId, error }];
  return { ...state, candidate: { target, since: now, state: 'failed', error }, refused };
}

function endure(state: ModelState, version: number): ModelState {
  const previousGood = state.lastGood === version ? state.previousGood : state.lastGood;
  return { ...state, lastGood: version, previousGood, candidate: null };
}

/** Probation may be long over: the last good version other than this one takes its place. */
function quarantine(
  state: ModelState,
  { version, error }: Extract<ModelEvent, { kind: 'quarantined' }>,
  now: number,
): ModelState {
  const { candidate, active, desired, lastGood, previousGood } = state;
  const tried = candidate?.state === 'warming' || candidate?.state === 'probation';
  if (tried && candidate.target.version === version) return fail(state, error, now);
  if (active?.version !== version) return state;
  const good = lastGood === version ? previousGood : lastGood;
  const fallen = {
    ...state,
    active: good === null ? null : { version: good, since: now },
    lastGood: good,
    previousGood: good === previousGood ? null : previousGood,
  };
  // A newer version that is on its way goes on.
  return desired?.version === version && candidate === null ? refuse(fallen, desired, { error, now }) : fallen;
}

function fallBack(state: ModelState, now: number): ModelState {
  return { ...state, active: state.lastGood === null ? null : { version: state.lastGood, since: now } };
}

function survive(state: ModelState, event: Extract<ModelEvent, { kind: 'died' }>, now: number): ModelState {
  const { candidate } = state;
  if (candidate?.state === 'probation' || (candidate?.state === 'warming' && candidate.step === 'loading')) {
    const counted = { ...candidate, deaths: candidate.deaths + 1 };
    const first = candidate.state === 'warming' || !event.served;
    if ((event.crashed && first) || counted.deaths > deathsAllowed) {
      const when = candidate.state === 'warming' ? 'while it was loaded' : 'in its probation';
      return fail(state, { code: 'model_rejected', message: `the serving process died ${when}: ${event.detail}` }, now);
    }
    // Proven once more before the next load: the machine may have been short of something.
    return enter(state, counted.state === 'warming' ? { ...counted, step: 'proving' } : counted);
  }
  // A version that was superseded within its probation has nobody to watch it: it does not get a second death.
  const unproven = state.active !== null && state.lastGood !== null && state.active.version !== state.lastGood;
  return unproven && event.crashed ? fallBack(state, now) : state;
}

function reboot(state: ModelState, now: number): ModelState {
  const { candidate } = state;
  if (candidate?.state !== 'probation' && candidate?.state !== 'warming') return state;
  if (candidate.state === 'warming' && candidate.step === 'proving') return state;
  const boots = candidate.boots + 1;
  if (boots > bootsAllowed)
    return fail(
      state,
      { code: 'model_rejected', message: `the agent itself ended ${boots} times while trying it` },
      now,
    );
  if (candidate.state === 'warming') return enter(state, { ...candidate, boots, step: 'proving' });
  return enter(state, { ...candidate, boots, since: now });
}

function lose(state: ModelState, error: Failure, now: number): ModelState {
  if (state.candidate?.state === 'probation') return fail(state, error, now);
  const fallen =
    state.lastGood === state.active?.version ? { ...state, active: null, lastGood: null } : fallBack(state, now);
  return want(fallen, state.desired, now);
}

function enter(state: ModelState, candidate: Candidate): ModelState {
  return { ...state, candidate };
}

function basis({ target }: Candidate, now: number) {
  return { target, since: now };
}

function proving(candidate: Candidate, now: number): Candidate {
  return { ...basis(candidate, now), state: 'warming', step: 'proving', deaths: 0, boots: 0 };
}

type Attempt = { version: number; rolloutId: string };

function isSame(a: Attempt, b: Attempt): boolean {
  return a.version === b.version && a.rolloutId === b.rolloutId;
}

/** Versions that the serving process must hold: what answers and, while that is on probation, what it would fall back to. */
export function versionsToHold({ active, lastGood, candidate }: ModelState): number[] {
  if (active === null) return [];
  const fallback = candidate?.state === 'probation' && lastGood !== null ? [lastGood] : [];
  return [...new Set([active.version, ...fallback])];
}

/** Versions whose files must stay on disk. */
export function versionsToKeep(state: ModelState): number[] {
  const coming = state.candidate === null || state.candidate.state === 'failed' ? [] : [state.candidate.target.version];
  const good = [state.lastGood, state.previousGood].filter((version) => version !== null);
  return [...new Set([...versionsToHold(state), ...good, ...coming])];
}
