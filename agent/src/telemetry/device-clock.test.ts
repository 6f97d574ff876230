import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createDeviceClock } from './device-clock.ts';

/** A wall clock that may be set beside one that runs on. */
function setUp(wall = 1_000_000_000) {
  const now = { ms: 500, aheadMs: wall - 500 };
  const clock = createDeviceClock(
    () => now.ms + now.aheadMs,
    () => now.ms,
  );
  return { now, clock, wall: () => now.ms + now.aheadMs };
}

it('knows how far it was off before it was set, whenever that is measured', () => {
  const jump = fc.record({ jumpMs: fc.integer({ min: -1e9, max: 1e9 }), readFirst: fc.boolean() });
  fc.assert(
    fc.property(fc.integer({ min: -1e8, max: 1e8 }), fc.array(jump, { maxLength: 6 }), (offset, jumps) => {
      const { now, clock, wall } = setUp();
      const server = () => now.ms + 1_000_000_000 - 500 - offset;
      const stamps: { stretch: number; truth: number }[] = [];
      const stamp = () => stamps.push({ stretch: clock.stretchOf(wall()), truth: wall() - server() });
      stamp();
      for (const { jumpMs, readFirst } of jumps) {
        if (readFirst) clock.read(wall() - server());
        now.ms += 60_000;
        now.aheadMs += jumpMs;
        clock.look();
        stamp();
      }
      clock.read(wall() - server());
      // Being set by less than what counts as a jump is lost.
      for (const { stretch, truth } of stamps)
        expect(Math.abs((clock.offsetOf(stretch) ?? Number.NaN) - truth)).toBeLessThan(2000);
    }),
  );
});

it('tells a stamp of before a jump from one of after it', () => {
  const { now, clock, wall } = setUp();
  const before = wall();
  now.ms += 700;
  now.aheadMs += 86_400_000;
  expect([clock.look(), clock.look()]).toEqual([true, false]);
  expect(clock.stretchOf(before)).not.toBe(clock.stretchOf(wall()));
  expect(clock.offsetOf(clock.stretchOf(wall()))).toBeUndefined();
});
