import { NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import { binOf } from '@edgeloop/shared/sketches/histogram';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { numericProfile, referenceProfile } from './profile.ts';
import { createRandom } from './random.ts';

const anyValues = fc.array(
  fc.oneof(fc.double(), fc.float(), fc.integer({ min: -3, max: 3 }), fc.constantFrom(0, 1, 1 + 1e-7, -1e-300)),
  { minLength: 1, maxLength: 400 },
);

describe('numericProfile', () => {
  it('puts every finite value of the reference into a bin, and at least one into every bin', () => {
    fc.assert(
      fc.property(anyValues, (values) => {
        const { edges, counts } = NumericProfile.parse(numericProfile(values));
        const finite = values.filter(Number.isFinite).length;
        expect(edges.length).toBeLessThanOrEqual(33);
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
        expect(counts.at(-1)).toBe(values.length - finite);
        if (finite === 0) {
          expect(edges).toEqual([0]);
          return;
        }
        expect([counts[0], counts.at(-2)]).toEqual([0, 0]);
        expect(counts.slice(1, -2).every((count) => count > 0)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('gives a constant one bin that other values fall outside of', () => {
    const { edges, counts } = numericProfile(new Array<number>(50).fill(0.1));
    expect(counts).toEqual([0, 50, 0, 0]);
    expect([0.0999, Math.fround(0.1), 0.1001].map((value) => binOf(edges, value))).toEqual([0, 1, 2]);
  });

  it('gives a frequent value a bin of its own among continuous ones', () => {
    const random = createRandom(3);
    const values = Array.from({ length: 3200 }, (_, i) => (i % 4 === 0 ? random() * 100 - 50 : 0));
    const { edges, counts } = numericProfile(values);
    expect(counts[binOf(edges, 0)]).toBe(2400);
    expect(binOf(edges, 0.5)).not.toBe(binOf(edges, 0));
  });

  it('separates every value of a feature with few values', () => {
    const values = Array.from({ length: 600 }, (_, i) => i % 6);
    expect(numericProfile(values).counts).toEqual([0, 100, 100, 100, 100, 100, 100, 0, 0]);
  });

  it('fills 32 bins evenly from continuous values', () => {
    const random = createRandom(1);
    const { edges, counts } = numericProfile(Array.from({ length: 3200 }, random));
    expect(edges).toHaveLength(33);
    expect(counts.slice(1, -2).every((count) => count >= 98 && count <= 102)).toBe(true);
  });

  it('measures how much blocks differ from the whole: more in an ordered series than in a shuffled one', () => {
    const random = createRandom(2);
    const shuffled = Array.from({ length: 3000 }, random);
    const calm = numericProfile(shuffled, { blockSize: 300 }).blockPsi;
    const trending = numericProfile([...shuffled].sort(), { blockSize: 300 }).blockPsi;
    expect(calm?.mean).toBeLessThan(0.3);
    expect(trending?.mean).toBeGreaterThan(2);
    expect(numericProfile(shuffled.slice(0, 599), { blockSize: 300 }).blockPsi).toBeUndefined();
  });
});

describe('referenceProfile', () => {
  it('describes features by name, confidence and predicted classes, in the form that manifests carry', () => {
    const profile = referenceProfile({
      features: ['size', 'entropy'],
      rows: Float32Array.of(1, 0.5, 2, Number.NaN, 3, 0.7),
      confidences: Float32Array.of(0.9, 0.8, 0.7),
      predictedClasses: Int32Array.of(0, 2, 2),
      labels: ['text', 'image', 'code'],
      accuracy: 0.75,
    });
    expect(ReferenceProfile.parse(profile)).toEqual(profile);
    expect(profile.features.entropy?.counts.at(-1)).toBe(1);
    expect(profile.classes?.counts).toEqual({ text: 1, image: 0, code: 2 });
    expect([profile.rows, profile.accuracy]).toEqual([3, 0.75]);
  });

  it('refuses arrays that differ in their rows', () => {
    const input = {
      features: ['a'],
      confidences: Float32Array.of(1),
      predictedClasses: Int32Array.of(0),
      labels: ['x'],
    };
    expect(() => referenceProfile({ ...input, rows: Float32Array.of(1, 2) })).toThrow(/2 values of 1 features/);
  });
});
