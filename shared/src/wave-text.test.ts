import { describe, expect, it } from 'vitest';
import { approveBefore, parseWaves } from './wave-text.ts';

describe('waves as text', () => {
  it.each([
    ['10,50,100', [{ percent: 10 }, { percent: 50 }, { percent: 100 }]],
    [' 5n , 12.5% ,100', [{ devices: 5 }, { percent: 12.5 }, { percent: 100 }]],
    [
      'a:b:1n,fleet:100',
      [
        { devices: 1, name: 'a:b' },
        { percent: 100, name: 'fleet' },
      ],
    ],
    [
      'shadow:5n,split:trial:10:0.2,100',
      [{ devices: 5, kind: 'shadow' }, { percent: 10, name: 'trial', kind: 'split', share: 0.2 }, { percent: 100 }],
    ],
  ])('%s', (text, waves) => {
    expect(parseWaves(text)).toEqual(waves);
  });

  it.each(['', '10,,100', 'ten', '5m', 'fleet:', '-1'])('"%s" is refused, and named', (text) => {
    expect(() => parseWaves(text)).toThrow(/must be a percentage as 10, or a number of devices as 5n/);
  });

  it.each([
    ['fleet', { role: 'operator', fourEyes: false }],
    ['fleet:admin', { role: 'admin', fourEyes: false }],
    ['fleet:four-eyes', { role: 'operator', fourEyes: true }],
    ['fleet:admin:four-eyes', { role: 'admin', fourEyes: true }],
  ])('an approval before %s', (text, approval) => {
    const waves = parseWaves('10,fleet:100');
    expect(approveBefore(waves, text)).toEqual([{ percent: 10 }, { percent: 100, name: 'fleet', approval }]);
  });

  it('no wave is approved that there is not', () => {
    expect(() => approveBefore(parseWaves('10,100'), 'fleet')).toThrow(/no wave has the name "fleet"/);
  });
});
