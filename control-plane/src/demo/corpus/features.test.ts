import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FEATURE_BYTES, featureNames, featuresOf } from './features.ts';

function feature(bytes: Uint8Array, name: string): number {
  const index = featureNames.indexOf(name);
  expect(index, name).toBeGreaterThanOrEqual(0);
  return featuresOf(bytes)[index] ?? Number.NaN;
}

test('names are unique, readable and free of quotes and control characters', () => {
  expect(featureNames).toHaveLength(267);
  expect(new Set(featureNames).size).toBe(featureNames.length);
  expect(featureNames[0x7b]).toBe('byte 0x7b {');
  expect(featureNames[0]).toBe('byte 0x00 NUL');
  for (const name of featureNames) expect(name).toMatch(/^[^"'`\\\p{Cc}]+$/u);
});

test('counts of a small text are what one counts by hand', () => {
  const text = Buffer.from('Ab1 {\n  é\n');
  expect(text).toHaveLength(11);
  expect(feature(text, 'byte 0x7b {')).toBeCloseTo(1 / 11);
  expect(feature(text, 'byte 0x0a newline')).toBeCloseTo(2 / 11);
  expect(feature(text, 'log2 bytes')).toBeCloseTo(Math.log2(11));
  expect(feature(text, 'log2 mean line bytes')).toBeCloseTo(Math.log2(11 / 3));
  expect(feature(text, 'log2 longest line bytes')).toBeCloseTo(Math.log2(6));
  expect(feature(text, 'share of digits')).toBeCloseTo(1 / 11);
  expect(feature(text, 'share of upper-case letters')).toBeCloseTo(1 / 11);
  expect(feature(text, 'share of lower-case letters')).toBeCloseTo(1 / 11);
  expect(feature(text, 'share of printable ASCII')).toBeCloseTo(7 / 11);
  expect(feature(text, 'share of non-ASCII bytes')).toBeCloseTo(2 / 11);
  expect(feature(text, 'share of white space')).toBeCloseTo(5 / 11);
  expect(feature(text, 'share of indented lines')).toBeCloseTo(1 / 3);
});

test('entropy is 0 for one repeated byte and 8 bits for all bytes alike', () => {
  expect(feature(new Uint8Array(100).fill(7), 'entropy bits')).toBeCloseTo(0);
  expect(
    feature(
      Uint8Array.from({ length: 512 }, (_, i) => i % 256),
      'entropy bits',
    ),
  ).toBeCloseTo(8);
});

test('nothing behind the first block changes the features', () => {
  const block = new Uint8Array(FEATURE_BYTES).fill(65);
  const longer = new Uint8Array(FEATURE_BYTES + 1000).fill(66);
  longer.set(block);
  expect(featuresOf(longer)).toEqual(featuresOf(block));
});

test('any bytes give finite features and a histogram that adds up to one', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const features = featuresOf(bytes);
      expect(features.every(Number.isFinite)).toBe(true);
      const total = features.subarray(0, 256).reduce((sum, share) => sum + share, 0);
      expect(total).toBeCloseTo(bytes.length === 0 ? 0 : 1, 4);
    }),
  );
});
