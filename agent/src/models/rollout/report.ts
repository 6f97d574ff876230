// What is told of a model's state: to the control plane, and to callers who ask for a model.
import type { ModelReport } from '@edgeloop/shared/messages';
import type { KnownModel } from '../../process/ipc.ts';
import type { Failure } from '../failure.ts';
import { type BesideState, type ModelState, releasesToHold } from './model-state.ts';

/** `suspended`: why what is to run beside it does not at present. */
export function reportOf({ name, active, lastGood, candidate, beside }: ModelState, suspended?: string): ModelReport {
  const besideIt = beside === null ? {} : { beside: besideReport(beside, suspended) };
  const former = { name, active, lastGood: lastGood?.version ?? null, ...besideIt };
  if (candidate === null) return { ...former, candidate };
  const { target, since, state, held, found } = candidate;
  const { version, release, rolloutId } = target;
  const error = errorOf(candidate);
  return { ...former, candidate: { version, release, variant: found?.variant, rolloutId, state, since, error, held } };
}

function besideReport({ order, candidate }: BesideState, suspended: string | undefined): ModelReport['beside'] {
  if (candidate === null) return undefined;
  const { version, release, rolloutId } = order;
  const { since, held, found } = candidate;
  const variant = found?.variant === undefined ? {} : { variant: found.variant };
  const about = { version, release, ...variant, rolloutId, since, ...(held && { held }) };
  const error = errorOf(candidate);
  if (candidate.state === 'failed') return { ...about, state: 'failed', error };
  if (suspended !== undefined)
    return { ...about, state: 'suspended', error: { code: 'unavailable', message: suspended } };
  const state = candidate.state === 'probation' ? 'running' : candidate.state;
  return { ...about, state, ...(error && { error }) };
}

/** Why it is fetched again stays beside why that does not go on. */
function errorOf(candidate: NonNullable<ModelState['candidate']>): Failure | undefined {
  const { error } = candidate;
  if (candidate.state !== 'fetching' || candidate.because === undefined) return error;
  const { because } = candidate;
  if (error === undefined) return { code: 'integrity', message: `${because}; it is fetched again` };
  return { code: error.code, message: `${because}; fetching it again is delayed: ${error.message}` };
}

/** What is known of a model beside what the serving process holds; it leaves out what it has loaded. */
export function knownOf(state: ModelState): KnownModel[] {
  const { name, candidate } = state;
  const coming = { name, state: 'LOADING' as const, reason: 'it is being loaded' };
  const held = releasesToHold(state).map(({ version }) => ({ ...coming, version, soon: true }));
  if (candidate === null || held.some(({ version }) => version === candidate.target.version)) return held;
  const { version } = candidate.target;
  if (candidate.state === 'failed')
    return [...held, { name, version, state: 'UNAVAILABLE', reason: candidate.error.message }];
  const soon = (candidate.state === 'warming' && candidate.step === 'loading') || comesBack(state);
  return [...held, { ...coming, version, reason: `it is ${candidate.state}`, soon }];
}

/** It was good before its files were damaged on this disk, and nothing delays that it is fetched again. */
function comesBack({ candidate, lastGood }: ModelState): boolean {
  return candidate !== null && candidate.target.release === lastGood?.release && candidate.error === undefined;
}
