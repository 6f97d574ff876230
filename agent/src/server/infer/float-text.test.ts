import fc from 'fast-check';
import { expect, it } from 'vitest';
import { singlesText, singleText } from './float-text.ts';

it('writes every single-precision float so that the same one is read back', () => {
  const bits = fc
    .integer({ min: 0, max: 2 ** 32 - 1 })
    .map((word) => new Float32Array(Uint32Array.of(word).buffer)[0] ?? 0);
  const common = fc.oneof(
    fc.float({ min: -1000, max: 1000, noNaN: true }),
    fc
      .tuple(fc.integer({ min: -9999, max: 9999 }), fc.integer({ min: -16, max: 9 }))
      .map(([m, e]) => Math.fround(m * 10 ** e)),
  );
  fc.assert(
    fc.property(fc.oneof(bits, common), (value) => {
      const text = singleText(value);
      const back = JSON.parse(text);
      expect(typeof back === 'number' ? Math.fround(back) : Number(back)).toBe(value);
      expect(typeof back).toBe(Number.isFinite(value) ? 'number' : 'string');
    }),
    { numRuns: 20_000 },
  );
});

it('writes them short', () => {
  const values = [0.1, 0.25, 3, -0, 1e-7, 1234.5, -3.384529e-9, 1e-12, 16777217.5, 2147483648].map(Math.fround);
  const texts = [
    '0.1',
    '0.25',
    '3',
    '-0.0',
    '0.0000001',
    '1234.5',
    '-3384529e-15',
    '0.000000000001',
    '16777218',
    '2147483648',
  ];
  expect(values.map(singleText)).toEqual(texts);
  expect(singlesText(values)).toBe(texts.join(','));
});

it('writes many as the bytes of the same text', () => {
  const few = Float32Array.from({ length: 1024 }, (_, i) => Math.fround(Math.sin(i) * 10 ** ((i % 40) - 20)));
  for (const many of [5000, 40_000]) {
    const values = Float32Array.from({ length: many }, (_, i) => few[i % few.length] ?? 0);
    expect(singlesText(values).toString()).toBe(Array.from(values, singleText).join(','));
  }
  // Each as long as they come: the buffer has to grow.
  const long = new Float32Array(30_000).fill(-1.17549435e-38);
  expect(singlesText(long).toString()).toBe(Array.from(long, singleText).join(','));
});
