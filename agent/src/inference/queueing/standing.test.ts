import { describe, expect, it } from 'vitest';
import { createStanding, type Moment } from './standing.ts';

const lone: Moment = { waiting: 1, bytes: 64, joined: true, elsewhere: 0 };

/** A model with so many runs of a length, whose probation is over unless said otherwise. */
function standing({ runs = 200, runMs = 0.01, bytes = 64, ageMs = 10_000 } = {}) {
  let nowMs = 1000;
  const model = createStanding(() => nowMs);
  const learn = (count: number, ms: number, size = bytes, here = false) => {
    for (let i = 0; i < count; i++) model.learn(size, ms, here);
  };
  learn(runs, runMs);
  nowMs += ageMs;
  const wait = (ms: number): void => {
    nowMs += ms;
  };
  return { ...model, learn, wait };
}

describe('whether a model runs in the thread that answers HTTP', () => {
  it.each([
    ['too few runs', { runs: 199 }],
    ['too short a time', { ageMs: 9999 }],
    ['runs that take long', { runMs: 0.21 }],
  ])('not after %s', (_, history) => {
    expect(standing(history).runsHere(lone)).toBe(false);
    expect(standing(history).isProven()).toBe(false);
  });

  it('once it has proved itself, for few callers with no larger inputs than were quick', () => {
    const model = standing({ bytes: 256 });
    expect(model.runsHere({ ...lone, bytes: 256 })).toBe(true);
    expect(model.runsHere({ ...lone, bytes: 257 })).toBe(false);
    expect(model.runsHere({ ...lone, waiting: 16, bytes: 256 })).toBe(true);
    expect(model.runsHere({ ...lone, waiting: 17, bytes: 256 })).toBe(false);
    expect(model.runsHere({ ...lone, waiting: 3, joined: false })).toBe(true);
    expect(model.runsHere({ ...lone, waiting: 4, joined: false })).toBe(false);
    expect(model.runsHere({ ...lone, elsewhere: 1 })).toBe(false);
    expect(standing({ bytes: 200_000 }).runsHere({ ...lone, bytes: 100_000 })).toBe(false);
  });

  it('with inputs of a size that was quick, though larger ones take long', () => {
    const model = standing();
    model.learn(1, 5, 1000);
    expect(model.runsHere(lone)).toBe(true);
    expect(model.runsHere({ ...lone, bytes: 1000 })).toBe(false);
  });

  it('also on a busy machine, where some runs take longer, and not when most do', () => {
    const model = standing();
    for (let i = 0; i < 100; i++) model.learn(1, i % 10 === 0 ? 3 : 0.01, 64, true);
    expect(model.runsHere(lone)).toBe(true);
    model.learn(20, 0.5);
    expect(model.runsHere(lone)).toBe(false);
    model.learn(100, 0.01);
    expect(model.runsHere(lone)).toBe(true);
  });

  it('no more after it held up everybody, until it has proved itself again', () => {
    const model = standing();
    model.learn(1, 20, 64, true);
    expect(model.runsHere(lone)).toBe(false);
    model.learn(200, 0.01);
    model.wait(9999);
    expect(model.runsHere(lone)).toBe(false);
    model.wait(1);
    expect(model.runsHere(lone)).toBe(true);
  });

  it('is nothing that a run in another thread takes away', () => {
    const model = standing();
    model.learn(1, 2000, 64, false);
    expect(model.runsHere(lone)).toBe(true);
  });
});
