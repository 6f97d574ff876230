import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type JudgedVerdict, nextStep, type OpenStatus } from './alert-state.ts';

const verdict = fc.constantFrom<JudgedVerdict>('suspicious', 'unsettled', 'calm');

/** Feeds windows one after the other, oldest first; returns the state after each. */
function life(verdicts: readonly JudgedVerdict[]): ('none' | OpenStatus)[] {
  let status: OpenStatus | undefined;
  return verdicts.map((_, i) => {
    const newestFirst = verdicts.slice(0, i + 1).reverse();
    status = settle(status, newestFirst);
    return status ?? 'none';
  });
}
function settle(from: OpenStatus | undefined, verdicts: readonly JudgedVerdict[]): OpenStatus | undefined {
  let status = from;
  for (let i = 0; i < 5; i++) {
    const step = nextStep({ status, verdicts, replaced: false });
    if (step.kind === 'keep') return status;
    if (step.kind === 'resolve') return undefined;
    status = step.kind === 'open' ? 'pending' : 'firing';
  }
  throw new Error('the state does not settle');
}

test('it opens at the first suspicious window, fires at the second of three, ends with two calm ones', () => {
  const [s, u, c] = ['suspicious', 'unsettled', 'calm'] as const;
  expect(life([c, s, c, s, c, u, u, c, c])).toEqual([
    ...['none', 'pending', 'pending', 'firing', 'firing', 'firing', 'firing', 'firing', 'none'],
  ]);
  expect(life([s, c, c, s, s])).toEqual(['pending', 'pending', 'none', 'pending', 'firing']);
  expect(life([s, u, u, u])).toEqual(['pending', 'pending', 'pending', 'none']);
});

test('it fires only while 2 of the last 3 windows are suspicious, and never ends a firing one without 2 calm of 3', () => {
  fc.assert(
    fc.property(fc.array(verdict, { maxLength: 40 }), (verdicts) => {
      const states = life(verdicts);
      for (const [i, state] of states.entries()) {
        const last = verdicts.slice(Math.max(0, i - 2), i + 1);
        const count = (of: JudgedVerdict) => last.filter((each) => each === of).length;
        const before = states[i - 1] ?? 'none';
        if (count('suspicious') >= 2) expect(state).toBe('firing');
        if (state === 'firing' && before !== 'firing') expect(count('suspicious')).toBeGreaterThanOrEqual(2);
        if (before === 'firing' && state === 'none') expect(count('calm')).toBeGreaterThanOrEqual(2);
        if (verdicts[i] === 'calm' && verdicts[i - 1] === 'calm') expect(state).toBe('none');
      }
    }),
  );
});

test('looking twice at the same windows changes nothing', () => {
  const status = fc.constantFrom<OpenStatus | undefined>(undefined, 'pending', 'firing');
  fc.assert(
    fc.property(status, fc.array(verdict, { minLength: 1, maxLength: 5 }), (from, verdicts) => {
      const once = settle(from, verdicts);
      expect(settle(once, verdicts)).toBe(once);
    }),
  );
});

test('a replaced version has no open alert', () => {
  const verdicts: JudgedVerdict[] = ['suspicious', 'suspicious'];
  expect(nextStep({ status: 'firing', verdicts, replaced: true })).toEqual({ kind: 'resolve', reason: 'replaced' });
  expect(nextStep({ status: undefined, verdicts, replaced: true })).toEqual({ kind: 'keep' });
});
