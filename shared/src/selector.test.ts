import { expect, test } from 'vitest';
import { matches, parseLabels, parseSelector } from './selector.ts';

const paris = { site: 'paris', tier: 'prod' };

test.each([
  ['', true],
  ['site=paris', true],
  ['site=paris,tier!=lab', true],
  ['site=rome', false],
  ['!gpu', true],
  ['gpu', false],
  ['site in (rome, paris)', true],
  ['site notin (rome,paris)', false],
  ['gpu!=big', true],
])('selector "%s" on a device in paris: %s', (text, expected) => {
  expect(matches(parseSelector(text), paris)).toBe(expected);
});

test.each(['site=', 'a=b'])('"%s" is understood', (text) => {
  expect(parseSelector(text)).toHaveLength(1);
});

test.each(['site==(', 'a b', ',', 'in (a)', 'site in paris', '=x', 'a=b=c'])(
  '"%s" is refused with the part that is wrong',
  (text) => {
    expect(() => parseSelector(text)).toThrow(/selector part/);
  },
);

test('a key that is hostile to JavaScript objects is only a key', () => {
  expect(matches(parseSelector('constructor'), paris)).toBe(false);
});

test('labels need a key and a value', () => {
  expect(parseLabels('site=paris, tier=lab')).toEqual({ site: 'paris', tier: 'lab' });
  expect(() => parseLabels('site')).toThrow(/key=value/);
});
