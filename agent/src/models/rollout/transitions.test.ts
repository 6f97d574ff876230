import type { DesiredModel } from '@edgeloop/shared/messages';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anyModelState } from './former-state.ts';
import { type ModelEvent, ModelState, newModelState, releasesToHold, releasesToKeep, stepOf } from './model-state.ts';
import { next, stalledAtMostMs, triesAllowed } from './transitions.ts';

/** The release that stands behind a number, or another one that was given the same number. */
const digest = (version: number, given = 'a') => given.repeat(63) + String(version);

function wanted(version: number, rolloutId = `r${version}`, given = 'a'): DesiredModel {
  return { name: 'm', version, release: digest(version, given), signature: '', rolloutId };
}

const error = { code: 'integrity' as const, message: 'bad' };
const bring: ModelEvent[] = [{ kind: 'fetched' }, { kind: 'verified' }, { kind: 'proved' }, { kind: 'activated' }];
const crash: ModelEvent = { kind: 'died', crashed: true, served: false, detail: 'SIGFPE', suspects: [digest(2)] };
const kill: ModelEvent = { kind: 'died', crashed: false, served: true, detail: 'SIGKILL', suspects: undefined };

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
    expect(state).toMatchObject({ active: { version: 1 }, lastGood: { version: 1 }, candidate: null });
    expect(stepOf(state)).toBe('rest');
  });

  it('falls back to the last good version when the new one crashes at its first run', () => {
    const state = after(...good, 2, ...bring, crash);
    expect(state).toMatchObject({
      active: { version: 1 },
      lastGood: { version: 1 },
      candidate: { state: 'failed', target: { version: 2 } },
    });
  });

  it('says at what it failed', () => {
    const kindOf = (...events: (ModelEvent | number)[]) => {
      const { candidate } = after(...good, 2, ...events);
      return candidate?.state === 'failed' ? candidate.error.kind : candidate?.state;
    };
    const failed: ModelEvent = { kind: 'failed', error };
    expect(kindOf(failed)).toBe('verify');
    expect(kindOf({ kind: 'failed', error: { ...error, code: 'not_found' } })).toBe('fetch');
    expect(kindOf(...bring.slice(0, 1), failed)).toBe('verify');
    expect(kindOf(...bring.slice(0, 2), failed)).toBe('load');
    expect(kindOf(...bring.slice(0, 2), { kind: 'failed', error: { ...error, kind: 'golden' } })).toBe('golden');
    expect(kindOf(...bring, failed)).toBe('probation');
    expect(kindOf(...bring, crash)).toBe('crash');
  });

  it('is not blamed for being killed from outside, and yet that has a bound', () => {
    const kills = (count: number) => after(...good, 2, ...bring, ...Array<ModelEvent>(count).fill(kill));
    expect(kills(5)).toMatchObject({ active: { version: 2 }, candidate: { state: 'probation' } });
    expect(kills(6)).toMatchObject({
      active: { version: 1 },
      candidate: { state: 'failed', error: { code: 'unavailable', message: expect.stringMatching(/from outside/) } },
    });
  });

  it('is forgiven one death of its process that nobody can be named for', () => {
    const unknown: ModelEvent = { ...crash, suspects: undefined };
    expect(after(...good, 2, ...bring, unknown).candidate?.state).toBe('probation');
    expect(after(...good, 2, ...bring, unknown, unknown).candidate?.state).toBe('failed');
  });

  it('is not blamed for a death that another one is named for', () => {
    const other: ModelEvent = { ...crash, suspects: [digest(1)] };
    const loading = after(...good, 2, ...bring.slice(0, 3));
    expect(next(loading, other, 99)).toEqual(loading);
  });

  it('is tried again when the machine ended a step, from the step that it ended, with a bound', () => {
    const setback: ModelEvent = { kind: 'setback', error: { code: 'internal', message: 'EIO' }, counts: true };
    for (const steps of [1, 2, 3]) {
      const before = after(...good, 2, ...bring.slice(0, steps));
      const often = Array<ModelEvent>(triesAllowed)
        .fill(setback)
        .reduce((state, event) => next(state, event, 9), before);
      expect(stepOf(often)).toBe(stepOf(before));
      expect(often.candidate?.error?.message).toBe('EIO');
      expect(next(often, setback, 9).candidate).toMatchObject({
        state: 'failed',
        error: { code: 'unavailable', message: expect.stringMatching(/^not the model's doing/) },
      });
      // No room may last for days.
      const full: ModelEvent = { kind: 'setback', error: { code: 'insufficient_storage', message: '' }, counts: false };
      expect(stepOf(next(often, full, 9))).toBe(stepOf(before));
    }
  });

  it('is another candidate when its number is given again, beside which the former one is kept', () => {
    const again: ModelEvent = { kind: 'desired', model: wanted(1, 'again', 'b') };
    const tried = after(...good, again, ...bring);
    expect(tried).toMatchObject({
      active: { version: 1, release: digest(1, 'b') },
      lastGood: { version: 1, release: digest(1) },
      candidate: { state: 'probation' },
    });
    expect(releasesToHold(tried)).toEqual([{ version: 1, release: digest(1, 'b') }]);
    expect(releasesToKeep(tried).map(({ release }) => release)).toEqual([digest(1, 'b'), digest(1)]);
    const failed = next(tried, { kind: 'failed', error }, 9);
    expect(failed).toMatchObject({ active: { release: digest(1) }, candidate: { state: 'failed' } });
    // Also on the word on which the other one was refused.
    const other = next(failed, { kind: 'desired', model: wanted(1, 'again', 'c') }, 10);
    expect(stepOf(other)).toBe('fetch');
  });

  it('lets another good release answer while damaged files are fetched again, and returns', () => {
    const second = after(...good, 2, ...bring, { kind: 'endured' });
    const damaged = next(second, { kind: 'damaged', release: digest(2), error }, 99);
    expect(damaged).toMatchObject({
      active: { version: 1, since: 99 },
      lastGood: { version: 2 },
      candidate: { state: 'fetching', target: { version: 2 }, because: 'bad' },
      refused: [],
    });
    const back = bring.reduce((state, event) => next(state, event, 100), damaged);
    expect(back).toMatchObject({ active: { version: 2 }, lastGood: { version: 2 }, candidate: null });
  });

  it('lets a release answer again that was repaired while something else is desired', () => {
    const third = after(...good, 2, ...bring, { kind: 'endured' }, 3, { kind: 'failed', error });
    const damaged = next(third, { kind: 'damaged', release: digest(2), error }, 99);
    expect(damaged).toMatchObject({ active: { version: 1 }, candidate: { state: 'failed', target: { version: 3 } } });
    const repaired = next(damaged, { kind: 'repaired', release: digest(2) }, 100);
    expect(repaired.active).toMatchObject({ version: 2, since: 100 });
  });

  it('is read as former agents wrote it: what their numbers stand for lies on disk', () => {
    const former = {
      name: 'm',
      desired: wanted(2),
      active: { version: 2, since: 7 },
      lastGood: 1,
      previousGood: 9,
      candidate: { target: wanted(2), since: 7, state: 'probation', deaths: 1, boots: 0 },
      refused: [{ version: 3, rolloutId: 'r3', error }],
    };
    const state = anyModelState((_, version) => (version === 9 ? undefined : digest(version))).parse(former);
    expect(state).toMatchObject({
      active: { version: 2, release: digest(2), since: 7 },
      lastGood: { version: 1, release: digest(1) },
      previousGood: null,
      candidate: { state: 'probation', deaths: 1, kills: 0, tries: 0 },
    });
    // Refused by number and word, whatever release that was.
    expect(next(state, { kind: 'desired', model: wanted(3) }, 9).candidate?.state).toBe('failed');
    expect(anyModelState(() => undefined).parse(state)).toEqual(state);
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
      lastGood: { version: 1 },
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
    const quarantined: ModelEvent = { kind: 'quarantined', release: digest(2), error };
    const second = after(...good, 2, ...bring, { kind: 'endured' });
    expect(releasesToKeep(second).map(({ version }) => version)).toEqual([2, 1]);
    const state = next(second, quarantined, 99);
    expect(state).toMatchObject({
      active: { version: 1, since: 99 },
      lastGood: { version: 1 },
      candidate: { state: 'failed', target: { version: 2 }, error: { ...error, kind: 'crash' } },
    });
    // The same word changes nothing, another rollout does.
    expect(stepOf(next(state, { kind: 'desired', model: wanted(2) }, 100))).toBe('rest');
    expect(stepOf(next(state, { kind: 'desired', model: wanted(2, 'again') }, 100))).toBe('fetch');
  });

  it('serves nothing rather than a quarantined version that has no predecessor', () => {
    const state = after(...good, { kind: 'quarantined', release: digest(1), error });
    expect(state).toMatchObject({ active: null, lastGood: null, candidate: { state: 'failed' } });
  });

  it('goes on with a newer version while the active one is quarantined', () => {
    const state = after(...good, 2, { kind: 'quarantined', release: digest(1), error });
    expect(state).toMatchObject({ active: null, candidate: { state: 'fetching', target: { version: 2 } } });
    expect(stepOf(state)).toBe('fetch');
  });

  it('forgets a model that is no longer desired', () => {
    expect(after(...good, { kind: 'desired', model: null })).toEqual(newModelState('m'));
  });
});

const anyRelease = fc
  .record({ version: fc.integer({ min: 1, max: 3 }), given: fc.constantFrom('a', 'b') })
  .map(({ version, given }) => digest(version, given));
const releases = (of: fc.Arbitrary<string>) => fc.option(fc.uniqueArray(of, { maxLength: 2 }), { nil: undefined });

/** What we, the machine or somebody else did. */
const outside: fc.Arbitrary<ModelEvent> = fc.oneof(
  fc.constantFrom<ModelEvent>(
    { kind: 'delayed', error },
    { kind: 'setback', error: { code: 'insufficient_storage', message: 'full' }, counts: false },
    { kind: 'setback', error: { code: 'internal', message: 'EIO' }, counts: true },
    { ...kill, detail: 'SIGTERM' },
  ),
  anyRelease.map((release): ModelEvent => ({ kind: 'damaged', release, error })),
  anyRelease.map((release): ModelEvent => ({ kind: 'repaired', release })),
);

const asked = fc
  .record({
    version: fc.integer({ min: 1, max: 3 }),
    rollout: fc.constantFrom('x', 'y'),
    given: fc.constantFrom('a', 'b'),
  })
  .map(({ version, rollout, given }): ModelEvent => ({ kind: 'desired', model: wanted(version, rollout, given) }));

const anyEvent: fc.Arbitrary<ModelEvent> = fc.oneof(
  { weight: 2, arbitrary: asked },
  { weight: 8, arbitrary: fc.constantFrom<ModelEvent>(...bring) },
  { weight: 2, arbitrary: outside },
  fc.constantFrom<ModelEvent>(
    { kind: 'rebooted' },
    { kind: 'endured' },
    { kind: 'failed', error },
    { kind: 'lost', error: { ...error, code: 'model_rejected' } },
  ),
  fc
    .record({ crashed: fc.boolean(), served: fc.boolean(), suspects: releases(anyRelease) })
    .map((death): ModelEvent => ({ kind: 'died', detail: 'it died', ...death })),
  anyRelease.map((release): ModelEvent => ({ kind: 'quarantined', release, error })),
);

/** What has to hold after every step, whatever came before. */
function check(before: ModelState, event: ModelEvent, state: ModelState, endured: ReadonlySet<string>): void {
  const { candidate, active, lastGood } = state;
  // What is written is read again as it was.
  expect(ModelState.parse(JSON.parse(JSON.stringify(state)))).toEqual(JSON.parse(JSON.stringify(state)));
  const kept = releasesToKeep(state).map(({ release }) => release);
  // Only what passed probation is ever fallen back to.
  if (lastGood !== null) expect(endured).toContain(lastGood.release);
  if (candidate?.state === 'probation') expect(active?.release).toBe(candidate.target.release);
  else if (active !== null && candidate?.state === 'failed' && candidate.target.release === active.release)
    expect(endured).toContain(active.release);
  if (candidate !== null && candidate.state !== 'failed') {
    const { release, rolloutId } = candidate.target;
    expect(state.refused.some((each) => each.release === release && each.rolloutId === rolloutId)).toBe(false);
  }
  for (const each of releasesToHold(state)) expect(kept).toContain(each.release);
  if (lastGood !== null) expect(kept).toContain(lastGood.release);
  const numbers = releasesToHold(state).map(({ version }) => version);
  expect(new Set(numbers).size).toBe(numbers.length);
  // An answering version is only ever exchanged, never taken away, as long as another good one is known.
  const another = [before.lastGood, before.previousGood].some(
    (good) => good !== null && good.release !== before.active?.release,
  );
  if (before.active !== null && another && before.lastGood !== null) expect(active).not.toBeNull();
  // Another release under a number is not what was refused or runs under it.
  if (event.kind === 'desired' && event.model !== null && active?.release !== event.model.release)
    if (!state.refused.some((each) => each.release === event.model?.release))
      expect(candidate).toMatchObject({ target: { release: event.model.release } });
}

describe('whatever happens in whatever order', () => {
  it('keeps its invariants', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let state = newModelState('m');
        const endured = new Set<string>();
        for (const [at, event] of events.entries()) {
          const before = state;
          state = next(state, event, at);
          if (event.kind === 'endured' && before.candidate?.state === 'probation')
            endured.add(before.candidate.target.release);
          check(before, event, state, endured);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('refuses nothing for what we, the machine or somebody else did, within the bounds', () => {
    const steps = fc.oneof(fc.constantFrom<ModelEvent>(...bring), outside);
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 40 }), (events) => {
        let state = after(...good, { kind: 'desired', model: wanted(2) });
        let [kills, tries] = [0, 0];
        for (const [at, event] of events.entries()) {
          kills += event.kind === 'died' ? 1 : 0;
          tries += event.kind === 'setback' || event.kind === 'damaged' ? 1 : 0;
          if (kills > 5 || tries > triesAllowed) return;
          state = next(state, event, at);
          expect(state.refused).toEqual([]);
          expect(state.candidate?.state).not.toBe('failed');
        }
      }),
    );
  });
});

describe('fetching', () => {
  const delayed = (stalledMs?: number): ModelEvent => ({
    ...{ kind: 'delayed', error: { code: 'forbidden', message: 'not part of what this device should run' } },
    ...(stalledMs === undefined ? {} : { stalledMs }),
  });
  const half = stalledAtMostMs / 2;

  it('ends with the last reason when nothing comes for long though there is somebody to ask', () => {
    expect(after(1, delayed(half), delayed(half)).candidate).toMatchObject({ state: 'fetching', stalledMs: 2 * half });
    const { candidate } = after(1, delayed(half), delayed(half), delayed(1));
    expect(candidate).toMatchObject({
      state: 'failed',
      error: { kind: 'fetch', message: 'nothing came for 24 hours: not part of what this device should run' },
    });
  });

  it('goes on while something comes, and however long nobody can be asked', () => {
    const coming = after(1, delayed(half), delayed(half), delayed(0), delayed(half));
    expect(coming.candidate).toMatchObject({ state: 'fetching', stalledMs: half });
    const away = Array.from({ length: 100 }, () => delayed());
    expect(after(1, delayed(half), ...away).candidate).toMatchObject({ state: 'fetching', stalledMs: half });
  });
});
