import { describe, expect, it } from 'vitest';
import { deathOf } from './death.ts';

const running = [
  { name: 'a', version: 1 },
  { name: 'b', version: 2 },
  { name: 'a', version: 1 },
];
const inFlight = () => running;
const never = () => {
  throw new Error('it must not be asked');
};

describe('the death of a serving process', () => {
  it('by a crash is laid to whatever was in flight, each version once', () => {
    expect(deathOf({ code: null, signal: 'SIGSEGV' }, undefined, inFlight)).toEqual({
      crashed: true,
      detail: 'it was ended by SIGSEGV',
      suspects: running.slice(0, 2),
    });
    expect(deathOf({ code: 7, signal: null }, undefined, inFlight)).toMatchObject({
      crashed: true,
      detail: 'it ended with exit code 7',
    });
  });

  it('from outside or by an orderly end is nobody’s doing', () => {
    expect(deathOf({ code: null, signal: 'SIGKILL' }, undefined, never)).toMatchObject({
      crashed: false,
      suspects: [],
    });
    expect(deathOf({ code: 0, signal: null }, undefined, never)).toMatchObject({ crashed: false, suspects: [] });
  });

  it('by a bound is laid to what the bound knows of, and has its words', () => {
    const killed = { code: null, signal: 'SIGKILL' as const };
    const stuck = { detail: 'a run did not return', suspects: [{ name: 'c', version: 3 }] };
    expect(deathOf(killed, stuck, never)).toEqual({ crashed: true, ...stuck });
    expect(deathOf(killed, { detail: 'it used too much' }, inFlight)).toMatchObject({ suspects: running.slice(0, 2) });
    const inThread = (of: string) => (of === 'http-thread' ? running.slice(1, 2) : running);
    const silent = { detail: 'it said nothing', suspects: 'http-thread' as const };
    expect(deathOf(killed, silent, inThread)).toMatchObject({ crashed: true, suspects: [{ name: 'b', version: 2 }] });
  });
});
