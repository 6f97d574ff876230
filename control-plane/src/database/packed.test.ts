import fc from 'fast-check';
import { expect, test } from 'vitest';
import { pack, unpack } from './packed.ts';

/** What JSON can carry, but for -0, of which JSON makes 0. */
const value = fc
  .jsonValue({ maxDepth: 5 })
  .map((any): unknown => JSON.parse(JSON.stringify(any)))
  .filter((any) => !JSON.stringify(any).includes('__proto__'));

/** Schemas drop this one, and the packer renames it. */
const key = fc.string().filter((name) => name !== '__proto__');

test('gives back what was packed, whatever its shape', () => {
  fc.assert(
    fc.property(value, (any) => {
      expect(unpack(Buffer.from(pack(any)))).toEqual(any);
    }),
    { numRuns: 300 },
  );
});

test('reads many values of other shapes one after the other, each by itself', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.dictionary(
          key,
          fc.dictionary(
            key,
            fc.double({ noNaN: true }).map((each) => each + 0),
          ),
        ),
        { maxLength: 20 },
      ),
      (all) => {
        const packed = all.map((each) => Buffer.from(pack(each)));
        packed.reverse();
        expect(packed.map(unpack)).toEqual([...all].reverse());
      },
    ),
  );
});

test('reads what was written as JSON', () => {
  const former = { kind: 'window', features: { ä: { counts: [1, 2] } } };
  expect(unpack(JSON.stringify(former))).toEqual(former);
  expect(unpack(Buffer.from(JSON.stringify(former)))).toEqual(former);
});

test('is less than half of JSON for many objects of the same keys', () => {
  const of = { counts: [0, 1, 20, 3], sum: 0.123456789, sumOfSquares: 3.987654321, min: null, max: null };
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`feature${i}`, of]));
  expect(pack(many).length).toBeLessThan(JSON.stringify(many).length / 2);
});
