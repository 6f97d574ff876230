import { afterEach, expect, it, vi } from 'vitest';
import { printFields, printTable } from './output.ts';

afterEach(() => void vi.restoreAllMocks());

it('no cell of a table or field can steer the terminal, whoever said it', () => {
  let text = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((part) => {
    text += String(part);
    return true;
  });
  printTable(
    ['MODEL', 'ERROR'],
    [
      ['sum', '\u001b[2Jgone\nroot# \u202eon'],
      ['net', null],
    ],
  );
  printFields([
    ['agent', '1.0\u001b]0;title\u0007'],
    ['hardware', undefined],
  ]);
  expect(text.split('\n')).toEqual([
    'MODEL  ERROR',
    'sum    [2Jgone root#  on',
    'net    -',
    'agent     1.0 ]0;title',
    'hardware  -',
    '',
  ]);
});
