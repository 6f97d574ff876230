import type { DesiredModel } from '@edgeloop/shared/messages';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ModelEvent, ModelState, newModelState, next, stepOf, versionsToKeep } from './model-state.ts';

function wanted(version: number, rolloutId = `r${version}`): DesiredModel {
  return { name: 'm', version, release: 'a'.repeat(64), signature: '', rolloutId };
}

const error = { code: 'integrity' as const, message: 'bad' };
const bring: ModelEvent[] = [{ kind: 'fetched' }, { kind: 'verified' }, { kind: 'proved' }, { kind: 'activated' }];
const crash: ModelEvent = { kind: 'died', crashed: true, served: false, detail: 'SIGFPE' };
const kill: ModelEvent = { kind: 'died', crashed: false, served: true, detail: 'SIGKILL' };

function after(...events: (ModelEvent | number)[]): ModelState {
  return events.reduce<ModelState>(
    (state, event, at) =>
      next(state, typeof event === 'number' ? { kind: 'desired', model: wanted(event) } : event, at),
    newModelState('m'),
  );
}

const good = [1, ...bring, { kind: 'endured' as const }];

describe('the state of a model on a device', () => {
  it('goes from fetching to active and past probation', () => {
    const state = after(...good);
    expect(state).toMatchObject({ active: { version: 1 }, lastGood: 1, candidate: null });
    expect(stepOf(state)).toBe('rest');
  });

  it('falls back to the last good version when the new one crashes at its first run', () => {
    const state = after(...good, 2, ...bring, crash);
    expect(state).toMatchObject({
      active: { version: 1 },
      lastGood: 1,
      candidate: { state: 'failed', target: { version: 2 } },
    });
  });

  it('forgives one kill in probation and no second one', () => {
    expect(after(...good, 2, ...bring, kill)).toMatchObject({
      active: { version: 2 },
      candidate: { state: 'probation' },
    });
    expect(after(...good, 2, ...bring, kill, kill)).toMatchObject({
      active: { version: 1 },
      candidate: { state: 'failed' },
    });
  });

  it('fails a version that kills its process while it is loaded, without touching what answers', () => {
    const state = after(...good, 2, ...bring.slice(0, 3), crash);
    expect(state).toMatchObject({ active: { version: 1, since: 4 }, candidate: { state: 'failed' } });
  });

  it('does not try a failed version again until another rollout asks', () => {
    const failed = after(...good, 2, { kind: 'failed', error });
    expect(stepOf(next(failed, { kind: 'desired', model: wanted(2) }, 9))).toBe('rest');
    const back = next(
      next(failed, { kind: 'desired', model: wanted(1) }, 9),
      { kind: 'desired', model: wanted(2) },
      10,
    );
    expect(back.candidate).toMatchObject({ state: 'failed', error });
    expect(stepOf(next(back, { kind: 'desired', model: wanted(2, 'again') }, 11))).toBe('fetch');
  });

  it('counts an agent that ended while trying, and gives up at the third time', () => {
    const boot: ModelEvent = { kind: 'rebooted' };
    expect(after(...good, 2, ...bring, boot, boot)).toMatchObject({ candidate: { state: 'probation', boots: 2 } });
    expect(after(...good, 2, ...bring, boot, boot, boot)).toMatchObject({
      active: { version: 1 },
      candidate: { state: 'failed' },
    });
  });

  it('needs no probation to return to the last good version', () => {
    expect(after(...good, 2, ...bring, 1, ...bring)).toMatchObject({
      active: { version: 1 },
      lastGood: 1,
      candidate: null,
    });
  });

  it('fetches the active version anew when its files are lost', () => {
    const state = after(...good, { kind: 'lost', error });
    expect(state).toMatchObject({
      active: null,
      lastGood: null,
      candidate: { state: 'fetching', target: { version: 1 } },
    });
  });

  it('goes back to the former good version when one is quarantined long after its probation', () => {
    const quarantined: ModelEvent = { kind: 'quarantined', version: 2, error };
    const second = after(...good, 2, ...bring, { kind: 'endured' });
    expect(versionsToKeep(second)).toEqual([2, 1]);
    const state = next(second, quarantined, 99);
    expect(state).toMatchObject({
      active: { version: 1, since: 99 },
      lastGood: 1,
      candidate: { state: 'failed', target: { version: 2 }, error },
    });
    // The same word changes nothing, another rollout does.
    expect(stepOf(next(state, { kind: 'desired', model: wanted(2) }, 100))).toBe('rest');
    expect(stepOf(next(state, { kind: 'desired', model: wanted(2, 'again') }, 100))).toBe('fetch');
  });

  it('serves nothing rather than a quarantined version that has no predecessor', () => {
    const state = after(...good, { kind: 'quarantined', version: 1, error });
    expect(state).toMatchObject({ active: null, lastGood: null, candidate: { state: 'failed' } });
  });

  it('goes on with a newer version while the active one is quarantined', () => {
    const state = after(...good, 2, { kind: 'quarantined', version: 1, error });
    expect(state).toMatchObject({ active: null, candidate: { state: 'fetching', target: { version: 2 } } });
    expect(stepOf(state)).toBe('fetch');
  });

  it('forgets a model that is no longer desired', () => {
    expect(after(...good, { kind: 'desired', model: null })).toEqual(newModelState('m'));
  });
});

const anyEvent: fc.Arbitrary<ModelEvent> = fc.oneof(
  fc
    .record({ version: fc.integer({ min: 1, max: 4 }), rollout: fc.constantFrom('a', 'b') })
    .map(({ version, rollout }): ModelEvent => ({ kind: 'desired', model: wanted(version, rollout) })),
  { weight: 8, arbitrary: fc.constantFrom<ModelEvent>(...bring) },
  fc.constantFrom<ModelEvent>(
    crash,
    kill,
    { kind: 'rebooted' },
    { kind: 'endured' },
    { kind: 'failed', error },
    { kind: 'lost', error },
    { kind: 'delayed', error },
    { kind: 'quarantined', version: 1, error },
    { kind: 'quarantined', version: 2, error },
  ),
);

describe('whatever happens in whatever order', () => {
  it('keeps its invariants', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let state = newModelState('m');
        const endured = new Set<number>();
        for (const [at, event] of events.entries()) {
          const before = state;
          state = next(state, event, at);
          ModelState.parse(state);
          if (event.kind === 'endured' && before.candidate?.state === 'probation')
            endured.add(before.candidate.target.version);
          const { candidate, active, lastGood } = state;
          // Only what passed probation is ever fallen back to.
          if (lastGood !== null) expect(endured.has(lastGood)).toBe(true);
          if (candidate?.state === 'probation') expect(active?.version).toBe(candidate.target.version);
          if (candidate !== null && candidate.state !== 'failed') {
            const { version, rolloutId } = candidate.target;
            expect(state.refused.some((each) => each.version === version && each.rolloutId === rolloutId)).toBe(false);
          }
          if (active !== null) expect(versionsToKeep(state)).toContain(active.version);
          if (lastGood !== null) expect(versionsToKeep(state)).toContain(lastGood);
          // An answering version is only ever exchanged, never taken away, as long as a good one is known.
          if (
            before.active !== null &&
            before.lastGood !== null &&
            event.kind !== 'lost' &&
            event.kind !== 'quarantined'
          )
            expect(active).not.toBeNull();
        }
      }),
      { numRuns: 500 },
    );
  });
});
