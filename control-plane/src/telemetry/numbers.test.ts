import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Taken, takeNumbers } from './numbers.ts';

const none: Taken = { floor: 0, above: new Set() };

test('each number is fresh once, in whatever order and pieces they come', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 20 }), { maxLength: 20 }),
      (batches) => {
        const seen = new Set<number>();
        let taken: Taken = none;
        for (const batch of batches) {
          const { fresh, ...next } = takeNumbers(taken, batch);
          expect(fresh).toEqual([...new Set(batch)].filter((number) => !seen.has(number)));
          for (const number of batch) seen.add(number);
          for (let number = 1; number <= 61; number++)
            expect(number <= next.floor || next.above.has(number)).toBe(seen.has(number));
          expect(next.above.has(next.floor + 1)).toBe(false);
          taken = next;
        }
      },
    ),
  );
});

test('what comes in order leaves one number, however much it is', () => {
  let taken: Taken = none;
  for (let first = 1; first < 5000; first += 10)
    taken = takeNumbers(
      taken,
      Array.from({ length: 10 }, (_, i) => first + i),
    );
  expect(taken).toMatchObject({ floor: 5000, above: new Set() });
});

test('behind a number that was dropped, so many stand one by one and no more', () => {
  let taken: Taken = none;
  let most = 0;
  for (let number = 2; number < 10_000; number++) {
    const taking = takeNumbers(taken, [number]);
    expect(taking.fresh).toEqual([number]);
    taken = taking;
    most = Math.max(most, taken.above.size);
  }
  expect(most).toBeLessThanOrEqual(1000);
  // The gap was closed when its neighbours were let go.
  expect(taken).toMatchObject({ floor: 9999, above: new Set() });
  expect(takeNumbers(taken, [9999, 10_000]).fresh).toEqual([10_000]);
});
