import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clean, countBySplit, digestOf, eachRow, type RawRow, rowsOf } from './rows.ts';

const shares = { train: 0.7, validation: 0.15, test: 0.15 };
const features = ['a', 'b'];
const row = (a: number, b: number, label: string): RawRow => ({ values: Float32Array.of(a, b), label });

test('cleaning drops what cannot be learned from, and says why', () => {
  const raw = [
    row(1, 2, 'x'),
    row(1, 2, 'x'),
    row(1, 2, 'y'),
    row(Number.NaN, 2, 'x'),
    row(3, 4, ''),
    { values: Float32Array.of(1), label: 'x' },
  ];
  const { rows, dropped } = clean(features, raw, shares);
  expect(rows.labels).toEqual(['x']);
  expect(dropped).toEqual({ duplicate: 1, contradiction: 1, missing: 1, unlabelled: 1, schema: 1 });
});

const rawRows = fc.array(
  fc.record({
    values: fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer()).map(([a, b]) => Float32Array.of(a, b)),
    label: fc.constantFrom('x', 'y'),
  }),
  { maxLength: 60 },
);

test('every row is kept or counted as dropped, and lands in one split', () => {
  fc.assert(
    fc.property(rawRows, (raw) => {
      const { rows, dropped } = clean(features, raw, shares);
      const left = Object.values(dropped).reduce((sum, count) => sum + count, 0);
      expect(rows.labels.length + left).toBe(raw.length);
      const counts = countBySplit(rows);
      expect(counts.train + counts.validation + counts.test).toBe(rows.labels.length);
    }),
  );
});

test('a row falls into the same split whatever else is in the version', () => {
  fc.assert(
    fc.property(rawRows, rawRows, (one, other) => {
      const alone = clean(features, one, shares).rows;
      const together = clean(features, [...one, ...other], shares).rows;
      expect(together.splits.slice(0, alone.splits.length)).toEqual(alone.splits);
    }),
  );
});

test('the same rows give the same digest; another value, label or split another one', () => {
  fc.assert(
    fc.property(rawRows, (raw) => {
      const { rows } = clean(features, raw, shares);
      expect(digestOf(clean(features, eachRow(rows), shares).rows)).toBe(digestOf(rows));
      if (rows.labels.length === 0) return;
      expect(digestOf({ ...rows, labels: rows.labels.with(0, 'other') })).not.toBe(digestOf(rows));
    }),
  );
});

test('the rows of one split keep their values', () => {
  const { rows } = clean(
    features,
    [
      { ...row(1, 2, 'x'), split: 'test' },
      { ...row(3, 4, 'y'), split: 'train' },
    ],
    shares,
  );
  expect(rowsOf(rows, 'train')).toMatchObject({ labels: ['y'], values: Float32Array.of(3, 4) });
});
