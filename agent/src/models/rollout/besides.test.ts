// What runs beside a model on this device, as states follow from what happens.
import type { Beside, DesiredModel } from '@edgeloop/shared/messages';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isAtRest,
  type ModelEvent,
  type ModelState,
  newModelState,
  releasesToHold,
  releasesToKeep,
} from './model-state.ts';
import { reportOf } from './report.ts';
import { next } from './transitions.ts';

const good = 'a'.repeat(64);
const fresh = 'b'.repeat(64);
const committed: DesiredModel = { name: 'm', version: 1, release: good, signature: '', rolloutId: 'r1' };
const beside: Beside = { version: 2, release: fresh, signature: '', rolloutId: 'r2', mode: 'shadow' };
const shadowed: DesiredModel = { ...committed, beside };
const serving: ModelState = {
  ...newModelState('m'),
  ...{ desired: committed, active: { version: 1, release: good, since: 0 }, lastGood: { version: 1, release: good } },
};

type Own = Extract<ModelEvent, { kind: 'beside' }>['event'];
const told = (state: ModelState, model: DesiredModel | null = shadowed) => next(state, { kind: 'desired', model }, 1);
const all = (state: ModelState, ...events: Own[]) =>
  events.reduce((so, event) => next(so, { kind: 'beside', event }, 2), state);
const steps: Own[] = [{ kind: 'fetched' }, { kind: 'verified' }, { kind: 'proved' }, { kind: 'activated' }];
const besideOf = (state: ModelState) => reportOf(state).beside;

describe('a version beside what answers', () => {
  it('takes the steps of a candidate, and changes nothing of what answers', () => {
    const running = all(told(serving), ...steps);
    expect(besideOf(running)).toMatchObject({ version: 2, release: fresh, rolloutId: 'r2', state: 'running' });
    const { active, lastGood, candidate } = running;
    expect({ active, lastGood, candidate }).toMatchObject({
      active: serving.active,
      lastGood: serving.lastGood,
      candidate: null,
    });
    expect(releasesToHold(running)).toEqual([{ version: 1, release: good }]);
    expect(releasesToKeep(running).map(({ release }) => release)).toEqual([good, fresh]);
    expect(isAtRest(running)).toBe(true);
  });

  it('is the very same state when an event changes nothing', () => {
    const ordered = told(serving);
    expect(all(ordered, { kind: 'freed' })).toBe(ordered);
    expect(all(ordered, { kind: 'activated' })).toBe(ordered);
  });

  it('goes on where it was when only its share changes, and is gone when it is wanted no more', () => {
    const running = all(told(serving), ...steps);
    const changed = told(running, { ...committed, beside: { ...beside, processorShare: 0.5 } });
    expect(besideOf(changed)?.state).toBe('running');
    expect(changed.beside?.order.processorShare).toBe(0.5);
    expect(told(changed, committed).beside).toBeNull();
  });

  it('that failed is not tried again on the same word, neither beside nor in its place', () => {
    const error = { code: 'model_rejected' as const, message: 'golden sample 0', kind: 'golden' as const };
    const failed = all(told(serving), { kind: 'fetched' }, { kind: 'verified' }, { kind: 'failed', error });
    expect(besideOf(failed)).toMatchObject({ state: 'failed', error });
    const withdrawn = told(failed, committed);
    expect(besideOf(told(withdrawn))).toMatchObject({ state: 'failed', error });
    const { mode: _, ...target } = beside;
    expect(reportOf(told(withdrawn, { name: 'm', ...target })).candidate).toMatchObject({ state: 'failed', error });
    const again = { ...committed, beside: { ...beside, rolloutId: 'r2.2' } };
    expect(besideOf(told(withdrawn, again))).toMatchObject({ state: 'fetching', rolloutId: 'r2.2' });
  });

  it('that crashes is refused at once; one that was killed from outside runs again', () => {
    const running = all(told(serving), ...steps);
    const died = { kind: 'died' as const, served: false, detail: 'SIGFPE', suspects: [fresh] };
    expect(besideOf(all(running, { ...died, crashed: true }))).toMatchObject({
      state: 'failed',
      error: { kind: 'crash' },
    });
    expect(besideOf(all(running, { ...died, crashed: false }))?.state).toBe('running');
  });

  it('never answers, nor becomes good, whatever happens in whatever order', () => {
    const error = { code: 'model_rejected' as const, message: 'no' };
    const own = fc.constantFrom<Own>(
      ...steps,
      ...([{ kind: 'failed', error }, { kind: 'rebooted' }, { kind: 'freed' }, { kind: 'delayed', error }] as const),
      { kind: 'damaged', release: fresh, error },
      { kind: 'died', crashed: true, served: true, detail: '', suspects: [fresh] },
      { kind: 'setback', error, counts: true },
    );
    const orders = fc.constantFrom<DesiredModel>(committed, shadowed, {
      ...committed,
      beside: { ...beside, mode: 'split' },
    });
    const events = fc.oneof(
      own.map((event): ModelEvent => ({ kind: 'beside', event })),
      orders.map((model): ModelEvent => ({ kind: 'desired', model })),
    );
    fc.assert(
      fc.property(fc.array(events, { maxLength: 40 }), (history) => {
        let state = serving;
        for (const event of history) {
          state = next(state, event, 5);
          expect(state.active).toEqual(serving.active);
          expect([state.lastGood, state.previousGood, state.candidate]).toEqual([serving.lastGood, null, null]);
          // Whatever is stored is read again.
          expect(JSON.parse(JSON.stringify(state))).toMatchObject({ name: 'm' });
        }
      }),
    );
  });
});
