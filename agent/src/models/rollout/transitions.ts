// How a model's state on this device follows from what happens: a pure function, so that every order of events can be
// tried. The driver performs the one step a state asks for and tells the outcome.
import type { Beside, DesiredModel, FailureKind, Held } from '@edgeloop/shared/messages';
import type { Failure } from '../failure.ts';
import {
  type BesideState,
  type Candidate,
  type Found,
  type ModelEvent,
  type ModelState,
  newBeside,
  newModelState,
  releaseOf,
} from './model-state.ts';

const deathsAllowed = 1;
const bootsAllowed = 2;
/** Each disturbs what else runs there. */
const killsAllowed = 5;
/** With the driver's pauses between them, about a quarter of an hour. */
export const triesAllowed = 20;
/** Of fetching, while the control plane answers. */
export const stalledAtMostMs = 24 * 3_600_000;
const refusedKept = 20;

/** The state after `event` at `now`. An event that does not fit the state changes nothing. */
export function next(state: ModelState, event: ModelEvent, now: number): ModelState {
  const { candidate } = state;
  switch (event.kind) {
    case 'desired':
      return want(state, event.model, now);
    case 'delayed':
      return candidate?.state === 'fetching' ? delay(state, candidate, event, now) : state;
    case 'setback':
      return setBack(state, event, now);
    case 'held':
      return hold(state, event.held, now);
    case 'freed':
      return candidate?.held === undefined ? state : enter(state, { ...candidate, held: undefined });
    case 'fetched':
      return candidate?.state === 'fetching'
        ? enter(state, { ...basis(found(candidate, event.found), now), state: 'verifying' })
        : state;
    case 'verified':
      return candidate?.state === 'verifying' ? enter(state, proving(candidate, now)) : state;
    case 'proved':
      return candidate?.state === 'warming' && candidate.step === 'proving'
        ? enter(state, { ...found(candidate, event.found), error: undefined, step: 'loading' })
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
      return candidate?.state === 'probation' ? endure(state, candidate.target) : state;
    case 'lost':
      return lose(state, event.error, now);
    case 'damaged':
      return damage(state, event, now);
    case 'repaired':
      return repair(state, event.release, now);
    case 'beside':
      return goBeside(state, (own) => next(own, event.event, now));
  }
}

/** What runs beside takes a step. What it fails at holds for all tries on the same word. */
function goBeside(state: ModelState, step: (own: ModelState) => ModelState): ModelState {
  const { beside } = state;
  if (beside === null) return state;
  const { order, ...course } = beside;
  const before: ModelState = { ...course, beside: null };
  const then = step(before);
  if (then === before) return state;
  const { beside: _, refused, ...after } = then;
  const [failure] = refused;
  const own = { ...after, refused: [], order };
  if (failure === undefined) return { ...state, beside: own };
  return { ...state, beside: own, refused: withRefusal(state.refused, failure) };
}

/** Nothing is to run beside, or this: an order that only says how goes on where it was. */
function wantBeside(state: ModelState, now: number): BesideState | null {
  const order = state.desired?.beside;
  if (order === undefined || order.release === state.desired?.release) return null;
  const known = state.beside;
  const target = targetOf(state.name, order);
  const course = known !== null && isSame(known.order, order) ? { ...known, order } : newBeside(state.name, order);
  const refused = state.refused.find((each) => isSame(each, order));
  const candidate =
    refused === undefined ? (course.candidate ?? fetching(target, now)) : failed(target, refused.error, now);
  return { ...course, desired: target, candidate };
}

function targetOf(name: string, { mode: _, share: __, processorShare: ___, ...order }: Beside): DesiredModel {
  return { name, ...order };
}

function want(state: ModelState, model: DesiredModel | null, now: number): ModelState {
  if (model === null) return newModelState(state.name);
  const told = { ...state, desired: model };
  const wanted = { ...told, beside: wantBeside(told, now) };
  const { candidate } = state;
  if (candidate !== null && isSame(candidate.target, model)) return wanted;
  if (state.active?.release === model.release)
    return { ...wanted, candidate: candidate?.state === 'probation' ? { ...candidate, target: model } : null };
  const refused = state.refused.find((each) => isSame(each, model));
  if (refused !== undefined) return enter(wanted, failed(model, refused.error, now));
  return enter(wanted, fetching(model, now));
}

/** Nobody to reach is no reason to give up: the device may be away for long, and follows when it is back. */
function delay(
  state: ModelState,
  candidate: Extract<Candidate, { state: 'fetching' }>,
  { error, stalledMs: more }: Extract<ModelEvent, { kind: 'delayed' }>,
  now: number,
): ModelState {
  const stalledMs = more === 0 ? 0 : candidate.stalledMs + (more ?? 0);
  if (stalledMs <= stalledAtMostMs) return enter(state, { ...candidate, error, stalledMs });
  const hours = Math.round(stalledAtMostMs / 3_600_000);
  return fail(state, { code: 'unavailable', message: `nothing came for ${hours} hours: ${error.message}` }, now);
}

function activate(state: ModelState, candidate: Extract<Candidate, { state: 'warming' }>, now: number): ModelState {
  const { target, deaths, boots, kills, tries, found } = candidate;
  const active = { ...releaseOf({ ...target, ...found }), since: now };
  if (target.release === state.lastGood?.release) return { ...state, active, candidate: null };
  return {
    ...state,
    active,
    candidate: { target, since: now, state: 'probation', deaths, boots, kills, tries, found },
  };
}

function hold(state: ModelState, held: Held, now: number): ModelState {
  const { candidate } = state;
  if (candidate === null || candidate.state === 'failed') return state;
  if (candidate.held?.until === held.until && candidate.held.message === held.message) return state;
  const holdSince = candidate.holdSince ?? (held.by === 'hold' ? now : undefined);
  return enter(state, { ...candidate, held, holdSince });
}

function setBack(
  state: ModelState,
  { error, counts }: Extract<ModelEvent, { kind: 'setback' }>,
  now: number,
): ModelState {
  const { candidate } = state;
  if (candidate === null || candidate.state === 'failed' || candidate.state === 'fetching') return state;
  const tries = candidate.tries + (counts ? 1 : 0);
  return tries > triesAllowed ? giveUp(state, error, now) : enter(state, { ...candidate, tries, error });
}

/** For good on this word, and yet nothing is said against the model. */
function giveUp(state: ModelState, { message }: Failure, now: number): ModelState {
  const error = `not the model's doing, and yet it was tried ${triesAllowed + 1} times: ${message}`;
  return fail(state, { code: 'unavailable', message: error }, now);
}

function fail(state: ModelState, error: Failure, now: number): ModelState {
  const { candidate } = state;
  if (candidate === null || candidate.state === 'failed') return state;
  const told = { ...error, kind: error.kind ?? kindOf(candidate.state, error) };
  return refuse(candidate.state === 'probation' ? fallBack(state, now) : state, candidate.target, { error: told, now });
}

/** What a step that ended with an error was about. What is fetched is checked as it comes. */
function kindOf(step: Exclude<Candidate['state'], 'failed'>, { code }: Failure): FailureKind {
  switch (step) {
    case 'fetching':
      if (code === 'unsupported') return 'contract';
      return code === 'integrity' ? 'verify' : 'fetch';
    case 'verifying':
      return 'verify';
    case 'warming':
      return 'load';
    case 'probation':
      return 'probation';
  }
}

function refuse(state: ModelState, target: DesiredModel, { error, now }: { error: Failure; now: number }): ModelState {
  const refused = withRefusal(state.refused, { ...releaseOf(target), rolloutId: target.rolloutId, error });
  const { candidate } = state;
  const known = candidate?.target.release === target.release ? candidate.found : undefined;
  return { ...state, candidate: { ...failed(target, error, now), found: known }, refused };
}

function withRefusal(refused: ModelState['refused'], refusal: ModelState['refused'][number]): ModelState['refused'] {
  return [...refused.filter((each) => !isSame(each, refusal)).slice(-(refusedKept - 1)), refusal];
}

/** What was said against the release before is proved wrong. */
function endure(state: ModelState, target: DesiredModel): ModelState {
  const previousGood = state.lastGood?.release === target.release ? state.previousGood : state.lastGood;
  const refused = state.refused.filter(({ release }) => release !== target.release);
  const { active } = state;
  const good = active?.release === target.release ? releaseOf(active) : releaseOf(target);
  return { ...state, lastGood: good, previousGood, candidate: null, refused };
}

/** Probation may be long over: the last good release other than this one takes its place. */
function quarantine(
  state: ModelState,
  { release, error }: Extract<ModelEvent, { kind: 'quarantined' }>,
  now: number,
): ModelState {
  const { candidate, active, desired } = state;
  const tried = candidate?.state === 'warming' || candidate?.state === 'probation';
  if (tried && candidate.target.release === release) return fail(state, { ...error, kind: 'crash' }, now);
  if (active?.release !== release) return state;
  const fallen = dismiss(state, release, now);
  // A newer release that is on its way goes on.
  if (desired?.release !== release || candidate !== null) return fallen;
  return refuse(fallen, desired, { error: { ...error, kind: 'crash' }, now });
}

/** The active release is good no more: what was good before takes its place, if there is something. */
function dismiss(state: ModelState, release: string, now: number): ModelState {
  const { lastGood, previousGood } = state;
  const good = lastGood?.release === release ? previousGood : lastGood;
  return {
    ...state,
    active: good && { ...good, since: now },
    lastGood: good,
    previousGood: good === previousGood ? null : previousGood,
  };
}

function fallBack(state: ModelState, now: number): ModelState {
  return { ...state, active: state.lastGood && { ...state.lastGood, since: now } };
}

function survive(state: ModelState, event: Extract<ModelEvent, { kind: 'died' }>, now: number): ModelState {
  const { candidate, active, lastGood } = state;
  const isSuspect = (release: string | undefined) =>
    event.suspects === undefined || (release !== undefined && event.suspects.includes(release));
  const isTried = candidate?.state === 'probation' || (candidate?.state === 'warming' && candidate.step === 'loading');
  if (isTried && isSuspect(candidate.target.release)) return surviveTrial(state, candidate, event, now);
  // A release that was superseded within its probation has nobody to watch it: it does not get a second death.
  const unproven = active !== null && lastGood !== null && active.release !== lastGood.release && !isTried;
  return unproven && event.crashed && isSuspect(active.release) ? fallBack(state, now) : state;
}

function surviveTrial(
  state: ModelState,
  candidate: Extract<Candidate, { state: 'warming' | 'probation' }>,
  { crashed, served, detail, suspects }: Extract<ModelEvent, { kind: 'died' }>,
  now: number,
): ModelState {
  const when = candidate.state === 'warming' ? 'while it was loaded' : 'in its probation';
  // Proven once more before the next load: the machine may have been short of something.
  const again = (counted: typeof candidate): ModelState =>
    enter(state, counted.state === 'warming' ? { ...counted, step: 'proving' } : counted);
  if (!crashed) {
    const kills = candidate.kills + 1;
    if (kills <= killsAllowed) return again({ ...candidate, kills });
    const message = `its process was killed from outside ${kills} times ${when}; does it need more memory? ${detail}`;
    return fail(state, { code: 'unavailable', message, kind: 'crash' }, now);
  }
  const counted = { ...candidate, deaths: candidate.deaths + 1 };
  const atOnce = suspects !== undefined && (candidate.state === 'warming' || !served);
  if (!atOnce && counted.deaths <= deathsAllowed) return again(counted);
  return fail(
    state,
    { code: 'model_rejected', message: `the serving process died ${when}: ${detail}`, kind: 'crash' },
    now,
  );
}

function reboot(state: ModelState, now: number): ModelState {
  const { candidate } = state;
  if (candidate?.state !== 'probation' && candidate?.state !== 'warming') return state;
  if (candidate.state === 'warming' && candidate.step === 'proving') return state;
  const boots = candidate.boots + 1;
  if (boots > bootsAllowed)
    return fail(
      state,
      { code: 'model_rejected', message: `the agent itself ended ${boots} times while trying it`, kind: 'crash' },
      now,
    );
  if (candidate.state === 'warming') return enter(state, { ...candidate, boots, step: 'proving' });
  return enter(state, { ...candidate, boots, since: now });
}

function lose(state: ModelState, error: Failure, now: number): ModelState {
  const { active, candidate } = state;
  if (candidate?.state === 'probation') return fail(state, error, now);
  return active === null ? state : want(dismiss(state, active.release, now), state.desired, now);
}

function damage(
  state: ModelState,
  { release, error }: Extract<ModelEvent, { kind: 'damaged' }>,
  now: number,
): ModelState {
  const { candidate, active, lastGood, previousGood, desired } = state;
  const other = [lastGood, previousGood].find((good) => good !== null && good.release !== release) ?? null;
  const served = active?.release === release ? { ...state, active: other && { ...other, since: now } } : state;
  if (candidate !== null && candidate.state !== 'failed') {
    // What is fetched already needs nothing more.
    if (candidate.target.release !== release || candidate.state === 'fetching') return served;
    const tries = candidate.tries + 1;
    if (tries > triesAllowed) return giveUp(served, error, now);
    return enter(served, { ...fetching(candidate.target, now), tries, because: error.message });
  }
  if (desired?.release !== release || candidate !== null) return served;
  return enter(served, { ...fetching(desired, now), because: error.message });
}

/** The last good release answers again where another one had to. */
function repair(state: ModelState, release: string, now: number): ModelState {
  const { active, lastGood, previousGood, candidate } = state;
  if (lastGood?.release !== release || active?.release === release || candidate?.state === 'probation') return state;
  return active === null || active.release === previousGood?.release ? fallBack(state, now) : state;
}

function enter(state: ModelState, candidate: Candidate): ModelState {
  return { ...state, candidate };
}

function fetching(target: DesiredModel, since: number): Extract<Candidate, { state: 'fetching' }> {
  return { target, since, tries: 0, state: 'fetching', stalledMs: 0 };
}

function failed(target: DesiredModel, error: Failure, since: number): Candidate {
  return { target, since, tries: 0, state: 'failed', error };
}

function basis({ target, tries, found }: Candidate, now: number) {
  return { target, tries, since: now, found };
}

/** With what became known of it. */
function found<C extends Candidate>(candidate: C, more: Found | undefined): C {
  return more === undefined ? candidate : { ...candidate, found: { ...candidate.found, ...more } };
}

function proving(candidate: Candidate, now: number): Candidate {
  return { ...basis(candidate, now), state: 'warming', step: 'proving', deaths: 0, boots: 0, kills: 0 };
}

type Attempt = { version: number; release?: string | undefined; rolloutId: string };

/** Agents of before did not note the release that they refused. */
function isSame(a: Attempt, b: Attempt): boolean {
  const isOther = a.release !== undefined && b.release !== undefined && a.release !== b.release;
  return a.version === b.version && a.rolloutId === b.rolloutId && !isOther;
}
