import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readNames } from './literal.ts';

describe('names in metadata', () => {
  it.each([
    ["{0: 'person', 1: 'bicycle'}", ['person', 'bicycle']],
    [`{0: 'cat', 1: "driver's cab", 2: 'say \\'hi\\''}`, ['cat', "driver's cab", "say 'hi'"]],
    ['{"0": "helmet", "1": "vest"}', ['helmet', 'vest']],
    ["{1: 'b', 0: 'a',}", ['a', 'b']],
    ["{0: 'a', 2: 'c'}", ['a', '1', 'c']],
    ["{'cat': 0, 'dog': 1}", ['cat', 'dog']],
    ['["a", "b"]', ['a', 'b']],
    ["('a', 'b')", ['a', 'b']],
    ['[10, 20]', ['10', '20']],
    ["{0: '{1: 2}, x', 1: 'a: b'}", ['{1: 2}, x', 'a: b']],
    [" {0: 'caf\\u00e9'} ", ['café']],
    ['{}', undefined],
    ['[]', undefined],
    ['', undefined],
    ['a, b', undefined],
    ["{0: 'a'", undefined],
    ["{0: __import__('os')}", undefined],
    ["{'a': 'b'}", undefined],
    ["{0: 'a' 1: 'b'}", undefined],
    ["{99999: 'far'}", undefined],
  ])('%s', (text, names) => {
    expect(readNames(text)).toEqual(names);
  });

  it('come back as Python and JSON write them', () => {
    const name = fc.string({ minLength: 1, unit: 'grapheme' }).filter((each) => !each.includes('\n'));
    const python = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 20 }), (names) => {
        expect(readNames(`{${names.map((each, i) => `${i}: ${python(each)}`).join(', ')}}`)).toEqual(names);
        expect(readNames(JSON.stringify(names))).toEqual(names);
      }),
    );
  });

  it('never fail, whatever the text', () => {
    const part = fc.constantFrom('{', '}', '[', ']', '(', ')', "'", '"', ':', ',', '0', '1', 'a', '\\', ' ');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        const names = readNames(parts.join(''));
        expect(names === undefined || names.every((each) => each.length > 0)).toBe(true);
      }),
    );
  });
});
