import type { DesiredModel } from '@edgeloop/shared/messages';
import { expect, it } from 'vitest';
import { type ModelEvent, newModelState } from './model-state.ts';
import { knownOf } from './report.ts';
import { next } from './transitions.ts';

const release = 'a'.repeat(64);
const model: DesiredModel = { name: 'm', version: 1, release, signature: '', rolloutId: 'r' };
const arrived: ModelEvent[] = [
  { kind: 'desired', model },
  { kind: 'fetched' },
  { kind: 'verified' },
  { kind: 'proved' },
  { kind: 'activated' },
];
const damaged: ModelEvent = { kind: 'damaged', release, error: { code: 'integrity', message: 'changed on disk' } };
const delayed: ModelEvent = { kind: 'delayed', error: { code: 'unavailable', message: 'no network' } };

function soonAfter(...events: ModelEvent[]): (boolean | undefined)[] {
  return knownOf(events.reduce((state, event) => next(state, event, 0), newModelState('m'))).map(({ soon }) => soon);
}

it('lets callers wait for what was good before its files were damaged, as long as nothing delays it', () => {
  const good = [...arrived, { kind: 'endured' } as const, damaged];
  expect(soonAfter(...good)).toEqual([true]);
  expect(soonAfter(...good, { kind: 'fetched' })).toEqual([true]);
  expect(soonAfter(...good, { kind: 'fetched' }, { kind: 'verified' })).toEqual([true]);
  expect(soonAfter(...good, delayed)).toEqual([false]);
});

it('lets nobody wait for what never answered', () => {
  expect(soonAfter({ kind: 'desired', model })).toEqual([false]);
  expect(soonAfter(...arrived, damaged)).toEqual([false]);
});
