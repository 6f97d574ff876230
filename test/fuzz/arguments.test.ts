import { expect, it } from 'vitest';
import { parseArguments } from './arguments.ts';

it('takes a seed and how long', () => {
  expect(parseArguments(['--seed', '7', '--minutes', '0.5'])).toEqual({ seed: 7, minutes: 0.5 });
  expect(parseArguments(['--', '--seed', '7', '--one'])).toEqual({ seed: 7, minutes: 0 });
  expect(parseArguments([])).toMatchObject({ minutes: 10 });
});

it.each([['--seed', 'x'], ['--seed', '1.5'], ['--minutes=-1'], ['--minutes'], ['--hours', '1']])(
  'refuses %s',
  (...given) => {
    expect(parseArguments(given)).toBeUndefined();
  },
);
