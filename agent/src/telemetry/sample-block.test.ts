import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeSamples, encodeSamples, type KeptSample, keptReasons } from './sample-block.ts';

const release = 'a'.repeat(64);

function sampleWith(inferenceId: fc.Arbitrary<string>): fc.Arbitrary<KeptSample> {
  return fc.record({
    inferenceId,
    model: fc.constantFrom('a', 'b'),
    version: fc.integer({ min: 1, max: 3 }),
    release: fc.constantFrom(null, release),
    at: fc.integer({ min: 0, max: 2e12 }),
    reason: fc.constantFrom(...keptReasons),
    predicted: fc.constantFrom(null, 'cat', ''),
    score: fc.option(fc.double({ noNaN: true })),
    features: fc.float32Array({ maxLength: 5 }),
    other: fc.constantFrom(null, { version: 2, predicted: 'dog' }),
  });
}

describe('a block of samples', () => {
  it.each([
    ['ids of its own', fc.uuid()],
    ['ids that callers gave', fc.oneof(fc.string({ minLength: 1, unit: 'binary' }), fc.uuid())],
  ])('gives back what it was made of, with %s', (_, ids) => {
    fc.assert(
      fc.property(fc.array(sampleWith(ids), { minLength: 1 }), (all) => {
        expect(decodeSamples(encodeSamples(all))).toEqual(all);
      }),
    );
  });

  it('takes a few dozen bytes for each', () => {
    const random = (seed: number) => (seed * 2_654_435_761) % 4_294_967_296;
    const hex = (seed: number) => random(seed).toString(16).padStart(8, '0');
    const many = Array.from({ length: 2000 }, (_, i): KeptSample => {
      const time = (1_764_000_000_000 + 5 * i).toString(16).padStart(12, '0');
      return {
        inferenceId: `${time.slice(0, 8)}-${time.slice(8)}-7${hex(i).slice(0, 3)}-a${hex(i + 7).slice(0, 3)}-${hex(3 * i)}${hex(5 * i).slice(4)}`,
        ...{
          model: 'm',
          version: 1,
          release,
          at: 1_764_000_000_000 + 5 * i,
          reason: 'rate',
          predicted: 'cat',
          other: null,
        },
        score: Math.fround(random(i) / 2 ** 32),
        features: Float32Array.of(random(i + 1) / 2 ** 32, 1),
      };
    });
    expect(encodeSamples(many).length / many.length).toBeLessThan(32);
  });
});
