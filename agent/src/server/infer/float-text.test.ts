import fc from 'fast-check';
import { expect, it } from 'vitest';
import { singleText } from './float-text.ts';

it('writes every single-precision float so that the same one is read back', () => {
  const bits = fc
    .integer({ min: 0, max: 2 ** 32 - 1 })
    .map((word) => new Float32Array(Uint32Array.of(word).buffer)[0] ?? 0);
  const common = fc.float({ min: -1000, max: 1000, noNaN: true });
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
  expect([0.1, 0.25, 3, -0, 1e-7, 1234.5].map(Math.fround).map(singleText)).toEqual([
    '0.1',
    '0.25',
    '3',
    '-0.0',
    expect.stringMatching(/^1\.0*\d*e-7$|^9\.9+\d*e-8$/),
    '1234.5',
  ]);
});
