import { expect, it } from 'vitest';
import { type Activation, followActivation, type Seen } from './activation.ts';

const now = 10_000;

function seen(state: Seen['standing']['state'], { step, at = now, ...view }: Step = {}): Seen {
  return {
    view,
    standing: { state, detail: `is ${state}` },
    step: step === undefined ? step : { state: step, since: at - 100 },
    now: at,
  };
}
type Step = { step?: string; at?: number } & Seen['view'];

function follow(...all: Seen[]): Activation | null {
  return all.reduce<Activation | null>((former, each) => followActivation(former, each), null);
}

it('keeps each step once, by the clock of the server', () => {
  const clockOffsetMs = 3_600_000;
  const told = seen('deploying');
  const fetching = { ...seen('deploying', { at: now + 1000 }), step: { state: 'fetching', since: now + 400 } };
  const ahead = seen('deploying', { step: 'verifying', at: now + 2000 + clockOffsetMs, clockOffsetMs });
  const steps = follow(told, fetching, fetching, { ...ahead, now: now + 2000 })?.steps;
  expect(steps).toEqual([
    { state: 'fetching', at: now + 1000 },
    { state: 'verifying', at: now + 1900 },
  ]);
});

it('places no step after its report, whatever the device says of its clock', () => {
  const step = seen('deploying', { step: 'fetching', clockOffsetMs: -50_000 });
  expect(follow(step)?.steps).toEqual([{ state: 'fetching', at: now }]);
});

it('ends with the report after its probation, and says nothing new after that', () => {
  const probation = seen('baking', { step: 'probation' });
  const served = seen('baking', { at: now + 500 });
  const ended = follow(probation, served);
  expect(follow(probation)?.end).toBeNull();
  expect(ended?.end).toEqual({ at: now + 500, state: 'serving', detail: '' });
  expect(followActivation(ended, seen('failed', { at: now + 900 }))).toBe(ended);
});

it.each(['failed', 'timed_out'] as const)('ends when it has %s', (state) => {
  expect(follow(seen('deploying', { step: 'fetching' }), seen(state, { step: 'failed', at: now + 5 }))).toEqual({
    steps: [{ state: 'fetching', at: now }],
    end: { at: now + 5, state, detail: `is ${state}` },
  });
});

it('gives the same object when nothing is new', () => {
  const first = followActivation(null, seen('deploying', { step: 'fetching' }));
  expect(followActivation(first, seen('offline', { step: 'fetching', at: now + 9 }))).toBe(first);
});

it('keeps no more than twenty steps of a device that begins again and again', () => {
  const again = Array.from({ length: 60 }, (_, i) =>
    seen('deploying', { step: i % 2 === 0 ? 'fetching' : 'verifying' }),
  );
  expect(follow(...again)?.steps).toHaveLength(20);
});
