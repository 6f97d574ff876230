import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CategoryBuilder, CategoryCounts, mostCategories } from './category-counts.ts';

function countsOf(names: readonly string[]): CategoryCounts {
  const builder = new CategoryBuilder();
  for (const name of names) builder.add(name);
  return builder.toJSON();
}

function merged(...all: CategoryCounts[]): CategoryCounts {
  const builder = new CategoryBuilder();
  for (const counts of all) builder.merge(counts);
  return builder.toJSON();
}

const names = fc.array(
  fc.oneof(fc.constantFrom('a', 'b', '__proto__', 'constructor', ''), fc.string({ maxLength: 3 })),
  {
    maxLength: 60,
  },
);

it('is the sum of its parts in any order while the names fit', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.constantFrom('a', 'b', '__proto__', 'd', ''))), (groups) => {
      const whole = countsOf(groups.flat());
      const parts = groups.map(countsOf);
      expect(merged(...parts)).toEqual(whole);
      expect(merged(...parts.toReversed())).toEqual(whole);
      expect(merged(merged(...parts.slice(0, 2)), ...parts.slice(2))).toEqual(whole);
    }),
  );
});

it('never loses a count, however many names there are, and keeps the most frequent', () => {
  fc.assert(
    fc.property(fc.array(names, { maxLength: 8 }), (groups) => {
      const many = groups.map((group, at) => [...group, ...Array.from({ length: 100 }, (_, i) => `${at}-${i}`)]);
      const frequent = new Array<string>(50).fill('frequent');
      const told = merged(...many.map((group) => countsOf([...group, ...frequent])));
      const total = Object.values(told.counts).reduce((sum, count) => sum + count, told.other);
      expect(total).toBe(many.flat().length + 50 * groups.length);
      expect(Object.keys(told.counts).length).toBeLessThanOrEqual(mostCategories);
      if (groups.length > 0) expect(told.counts.frequent).toBe(50 * groups.length);
      expect(CategoryCounts.parse(JSON.parse(JSON.stringify(told)))).toEqual(told);
    }),
  );
});

it('cuts long names and takes counts of agents that have no others', () => {
  expect(countsOf(['x'.repeat(500)])).toEqual({ counts: { ['x'.repeat(100)]: 1 }, other: 0 });
  expect(CategoryCounts.parse({ counts: { a: 2 } })).toEqual({ counts: { a: 2 }, other: 0 });
});
