import { expect, it } from 'vitest';
import { parseArguments } from './arguments.ts';

it('takes its own options first and leaves the rest to vitest', () => {
  expect(parseArguments([])).toEqual({ runs: 10, load: 1, vitest: [] });
  expect(parseArguments(['--load', '0', '-n', '3', 'shared', '-t', 'a name', '-n', '4'])).toEqual({
    runs: 3,
    load: 0,
    vitest: ['shared', '-t', 'a name', '-n', '4'],
  });
  expect(parseArguments(['--', '-n', '2'])).toEqual({ runs: 2, load: 1, vitest: [] });
});

it.each([['-n'], ['-n', '0'], ['-n', 'many'], ['--load', '-1'], ['--load', '1.5']])('refuses %s %s', (...given) => {
  expect(parseArguments(given)).toBeUndefined();
});
