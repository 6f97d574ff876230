import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conflictOf, type Instances, spoken } from './instances.ts';

const hour = 3_600_000;

function after(...words: [instance: string, at: number][]): Instances | null {
  return words.reduce<Instances | null>((known, [instance, at]) => spoken(known, instance, at), null);
}

describe('the starts that speak under one identity', () => {
  it('are one device as long as none comes back after another', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 60 }), (repeats) => {
        const words = repeats.flatMap((times, start) => Array.from({ length: times }, () => `start ${start}`));
        const known = words.reduce<Instances | null>((before, word, at) => spoken(before, word, at), null);
        expect(conflictOf(known, words.length)).toBeNull();
      }),
    );
  });

  it('are two when one comes back, each time counted', () => {
    expect(conflictOf(after(['a', 1], ['b', 2], ['a', 3]), 3)).toEqual({ since: 3, takeovers: 1 });
    expect(conflictOf(after(['a', 1], ['b', 2], ['a', 3], ['b', 4], ['b', 5], ['a', 6]), 7)).toEqual({
      since: 3,
      takeovers: 3,
    });
    // One of both was restarted meanwhile.
    expect(conflictOf(after(['a', 1], ['b', 2], ['a2', 3], ['b', 4], ['a2', 5]), 6)).toEqual({
      since: 4,
      takeovers: 2,
    });
  });

  it('are found however many starts take turns, up to as many as are remembered', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 16 }), fc.integer({ min: 2, max: 4 }), (devices, rounds) => {
        const words = Array.from({ length: devices * rounds }, (_, at) => `device ${at % devices}`);
        const known = words.reduce<Instances | null>((before, word, at) => spoken(before, word, at), null);
        expect(conflictOf(known, words.length)).toEqual({ since: devices, takeovers: devices * (rounds - 1) });
      }),
    );
  });

  it('are one again an hour after the last came back, and a later return begins anew', () => {
    const known = after(['a', 1], ['b', 2], ['a', 3]);
    expect(conflictOf(known, 3 + hour)).not.toBeNull();
    expect(conflictOf(known, 4 + hour)).toBeNull();
    expect(conflictOf(spoken(known, 'b', 5 + hour), 6 + hour)).toEqual({ since: 5 + hour, takeovers: 1 });
  });
});
