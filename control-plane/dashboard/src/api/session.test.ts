import { describe, expect, it } from 'vitest';
import { keyInFragment } from './session.ts';

describe('keyInFragment', () => {
  it('finds the key of a printed link', () => {
    expect(keyInFragment('#key=el_abc-123')).toBe('el_abc-123');
    expect(keyInFragment('#tab=1&key=el%2Fabc')).toBe('el/abc');
  });

  it('takes nothing for a key that is not one', () => {
    expect(['', '#', '#key=', '#key=%20', '#wave-2'].map(keyInFragment)).toEqual(Array(5).fill(undefined));
  });
});
