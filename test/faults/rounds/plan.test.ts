import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { activities, cutsCallers, faults, fits, planRound, roundOf } from './plan.ts';

it('gives the same round for a seed and a number, whatever was planned before', () => {
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 1000 }), (seed, number) => {
      const round = planRound(seed, number);
      planRound(seed + 1, number);
      expect(planRound(seed, number)).toEqual(round);
      expect(fits(round.activity, round.fault)).toBe(true);
      expect([round.agentShare, round.placeShare].every((share) => share >= 0 && share < 1)).toBe(true);
    }),
  );
});

it('comes to every fault and every activity within 200 rounds', () => {
  const rounds = Array.from({ length: 200 }, (_, i) => planRound(1, i + 1));
  expect(new Set(rounds.map(({ fault }) => fault)).size).toBe(faults.length);
  expect(new Set(rounds.map(({ activity }) => activity)).size).toBe(activities.length);
});

it('has something to do for every fault', () => {
  for (const fault of faults) expect(activities.some((activity) => fits(activity, fault))).toBe(true);
});

it('excuses cut connections only where a process ends that callers are connected with', () => {
  const cuts = (activity: (typeof activities)[number], fault: (typeof faults)[number]) => {
    return cutsCallers(roundOf({ number: 1, activity, fault }, createRandom(1)));
  };
  expect(cuts('release', 'kill server')).toBe(false);
  expect(cuts('release', 'full agent disk')).toBe(false);
  expect(cuts('release', 'full agent disk, kill serving')).toBe(true);
  expect(cuts('deadly version', 'none')).toBe(true);
});
