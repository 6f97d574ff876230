import fc from 'fast-check';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { decodeCursor, encodeCursor, toPage } from './paging.ts';

it('gives back what a cursor was made of', () => {
  fc.assert(
    fc.property(fc.record({ at: fc.integer(), id: fc.string() }), (value) => {
      expect(decodeCursor(z.object({ at: z.number(), id: z.string() }), encodeCursor(value))).toEqual(value);
    }),
  );
});

it('refuses any text that is no cursor of the list', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(() => decodeCursor(z.object({ id: z.string() }), text)).toThrow('cursor');
    }),
  );
});

it('visits every row once, whatever the size of the page', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat()), fc.integer({ min: 1, max: 7 }), (ids, limit) => {
      const sorted = ids.toSorted((a, b) => a - b);
      const seen: number[] = [];
      let cursor: string | undefined;
      do {
        const after = decodeCursor(z.number(), cursor) ?? -1;
        const page = toPage(sorted.filter((id) => id > after).slice(0, limit + 1), limit, (id) => id);
        seen.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      expect(seen).toEqual(sorted);
    }),
  );
});
