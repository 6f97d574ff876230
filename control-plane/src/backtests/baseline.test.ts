import { expect, it } from 'vitest';
import { chooseBaseline } from './baseline.ts';

const aliases = [{ alias: 'stable', version: 2 }];
const choose = (change: Partial<Parameters<typeof chooseBaseline>[0]>) =>
  chooseBaseline({ candidate: 4, asked: undefined, aliases: [], deployed: new Map(), ...change });

it('is what was asked for, else what is stable, else what most devices should run, never the candidate', () => {
  const deployed = new Map([
    [1, 3],
    [3, 3],
    [4, 9],
  ]);
  expect(choose({ asked: 1, aliases, deployed })).toEqual({ version: 1, why: 'as asked' });
  expect(choose({ aliases, deployed })).toEqual({ version: 2, why: 'it is stable' });
  expect(choose({ aliases, deployed, candidate: 2 })).toMatchObject({ version: 4 });
  expect(choose({ deployed })).toEqual({ version: 3, why: '3 devices should run it, more than any other' });
  expect(choose({ deployed: new Map([[4, 9]]) })).toEqual({
    version: null,
    why: 'no device should run another version',
  });
});
