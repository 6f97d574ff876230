// What is told of a model's state: to the control plane, and to callers who ask for a model.
import type { ModelReport } from '@edgeloop/shared/messages';
import type { KnownModel } from '../../process/ipc.ts';
import type { ModelState } from './model-state.ts';

export function reportOf({ name, active, lastGood, candidate }: ModelState): ModelReport {
  if (candidate === null) return { name, active, lastGood, candidate };
  const { target, since, state } = candidate;
  const error = 'error' in candidate ? candidate.error : undefined;
  return {
    name,
    active,
    lastGood,
    candidate: { version: target.version, rolloutId: target.rolloutId, state, since, error },
  };
}

/** What is known of a model beside what the serving process holds; it leaves out what it has loaded. */
export function knownOf({ name, active, candidate }: ModelState): KnownModel[] {
  const coming = { name, state: 'LOADING' as const, reason: 'it is being loaded' };
  const answering = active === null ? [] : [{ ...coming, version: active.version }];
  if (candidate === null || candidate.target.version === active?.version) return answering;
  const { version } = candidate.target;
  if (candidate.state !== 'failed') return [...answering, { ...coming, version, reason: `it is ${candidate.state}` }];
  return [...answering, { name, version, state: 'UNAVAILABLE', reason: candidate.error.message }];
}
