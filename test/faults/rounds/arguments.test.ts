import { expect, it } from 'vitest';
import { parseArguments } from './arguments.ts';

it('takes a seed, a number of rounds or their numbers, and the number of agents', () => {
  expect(parseArguments([], 7)).toEqual({ seed: 7, rounds: 20, only: undefined, agents: 2 });
  expect(parseArguments(['--', '--seed', '0', '--only', '3,17', '--agents', '1'], 7)).toMatchObject({
    seed: 0,
    only: [3, 17],
    agents: 1,
  });
});

it.each([['--rounds', '0'], ['--seed', 'x'], ['--only', '1,'], ['--agents'], ['--nothing']])(
  'refuses %s %s',
  (...given) => {
    expect(parseArguments(given, 7)).toBeUndefined();
  },
);
