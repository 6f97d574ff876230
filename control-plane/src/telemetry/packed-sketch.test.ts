import { QuantileSketch, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mergePacked, packSketch, unpackSketch } from './packed-sketch.ts';

const sketch = fc
  .array(
    fc.tuple(
      fc.oneof(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.constant(0)),
      fc.integer({ min: 1, max: 2 ** 40 }),
    ),
    {
      maxLength: 60,
    },
  )
  .map((values) => {
    const builder = new QuantileSketchBuilder();
    for (const [value, count] of values) builder.add(value, count);
    return builder.toJSON();
  });

test('a sketch is the same after packing', () => {
  fc.assert(
    fc.property(sketch, (given) => {
      const back = unpackSketch(packSketch(given));
      expect(back).toEqual(given);
      expect(QuantileSketch.parse(back)).toEqual(given);
    }),
  );
});

test('packed sketches are merged as sketches are', () => {
  fc.assert(
    fc.property(fc.array(sketch, { maxLength: 4 }), (sketches) => {
      const [packed, plain] = [new QuantileSketchBuilder(), new QuantileSketchBuilder()];
      for (const each of sketches) {
        mergePacked(packed, packSketch(each));
        plain.merge(each);
      }
      expect(packed.toJSON()).toEqual(plain.toJSON());
    }),
  );
});

test('bytes that were cut are an error, not other numbers', () => {
  const builder = new QuantileSketchBuilder();
  builder.add(5, 1000);
  const packed = packSketch(builder.toJSON());
  expect(() => unpackSketch(packed.subarray(0, packed.length - 1))).toThrow(RangeError);
});
