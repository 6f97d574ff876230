import { describe, expect, it } from 'vitest';
import { createTally, isFailing, isFailingWithFew } from './tally.ts';

const of = (version: number, release = 'a') => ({ name: 'm', version, release });
const counts = (version: number, succeeded: number, failed = 0, release = 'a') => ({
  ...of(version, release),
  succeeded,
  failed,
});

describe('the tally of a version in probation', () => {
  it('goes on over a death of the serving process, whose counts begin at 0', () => {
    const tally = createTally();
    tally.update([counts(1, 10, 1)], 0);
    tally.restarted(0);
    tally.update([counts(1, 3)], 0);
    expect(tally.of(of(1))).toEqual({ succeeded: 13, failed: 1 });
  });

  it('begins anew for a version that was unloaded and comes back', () => {
    const tally = createTally();
    tally.update([counts(1, 100)], 0);
    tally.update([counts(2, 1)], 0);
    tally.forget(of(1));
    tally.update([counts(1, 5)], 0);
    expect(tally.of(of(1))).toEqual({ succeeded: 5, failed: 0 });
  });

  it('tells releases apart that have the same number', () => {
    const tally = createTally();
    tally.update([counts(1, 100, 50)], 0);
    tally.forget(of(1, 'b'));
    tally.update([counts(1, 5, 0, 'b')], 0);
    expect(tally.of(of(1, 'b'))).toEqual({ succeeded: 5, failed: 0 });
  });

  it('is too bad only with evidence and beyond the share', () => {
    expect(isFailing({ succeeded: 0, failed: 19 })).toBe(false);
    expect(isFailing({ succeeded: 19, failed: 1 })).toBe(false);
    expect(isFailing({ succeeded: 18, failed: 2 })).toBe(true);
  });
});

it.each([
  [0, 0, false],
  [0, 1, false],
  [0, 2, false],
  [0, 3, true],
  [2, 3, false],
  [1, 4, true],
  [7, 3, false],
  [6, 4, false],
  [5, 5, true],
  // With so many it was judged before.
  [16, 4, false],
])('of few requests, %i answered and %i failed: beyond chance %s', (succeeded, failed, expected) => {
  expect(isFailingWithFew({ succeeded, failed })).toBe(expected);
});
