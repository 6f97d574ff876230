import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LabelledOutcomes, mergeOutcomes, outcomeOf } from './labelled-outcomes.ts';
import { levelOf, mergeUsage, ResourceUsage } from './resource-usage.ts';
import { WindowPartsSum } from './window-parts.ts';

const level = fc.integer({ min: 0, max: 1000 }).map(levelOf);
const usage: fc.Arbitrary<ResourceUsage> = fc.record(
  {
    samples: fc.constant(1),
    seconds: fc.nat(60),
    processor: level,
    memory: level,
    temperatureC: level,
    receivedBytes: fc.nat(1e6),
    throttled: fc.nat(1),
  },
  { requiredKeys: ['samples', 'seconds'] },
);

it('sums what the machine did in any order', () => {
  fc.assert(
    fc.property(usage, usage, usage, (a, b, c) => {
      const sum = mergeUsage(mergeUsage(a, b), c);
      expect(mergeUsage(a, mergeUsage(b, c))).toEqual(sum);
      expect(mergeUsage(c, mergeUsage(b, a))).toEqual(sum);
      expect(sum.samples).toBe(3);
      expect(ResourceUsage.parse(JSON.parse(JSON.stringify(sum)))).toEqual(sum);
    }),
  );
});

const answer = fc.record({ predicted: fc.constantFrom('a', 'b', '__proto__'), label: fc.constantFrom('a', 'b') });

it('sums labels in any order, of classes and of values', () => {
  const none: LabelledOutcomes = { labels: 0, correct: 0, confusion: {}, other: 0 };
  const summed = (all: readonly LabelledOutcomes[]) => all.reduce(mergeOutcomes, none);
  fc.assert(
    fc.property(fc.array(answer), fc.nat(20), (answers, cut) => {
      const each = answers.map(({ predicted, label }) => outcomeOf(predicted, label, false));
      const whole = summed(each);
      expect(mergeOutcomes(summed(each.slice(0, cut)), summed(each.slice(cut)))).toEqual(whole);
      expect(summed(each.toReversed())).toEqual(whole);
      expect(whole.correct).toBe(answers.filter(({ predicted, label }) => predicted === label).length);
      const pairs = Object.values(whole.confusion).flatMap((truths) => Object.values(truths));
      expect(pairs.reduce((sum, count) => sum + count, whole.other)).toBe(answers.length);
      expect(LabelledOutcomes.parse(JSON.parse(JSON.stringify(whole)))).toEqual(whole);
    }),
  );
  const values = summed([outcomeOf('2.5', '2', true), outcomeOf('1', '3', true), outcomeOf('4', '4', true)]);
  expect(values).toMatchObject({
    labels: 3,
    correct: 1,
    errors: { count: 3, sum: -1.5, absolute: 2.5, squared: 4.25 },
  });
});

it('counts pairs beyond the most frequent together', () => {
  const many = Array.from({ length: 400 }, (_, at) => outcomeOf(`class-${at}`, 'x', false));
  const sum = many.reduce(mergeOutcomes);
  expect(sum.labels).toBe(400);
  expect(Object.keys(sum.confusion).length + sum.other).toBe(400);
  expect(sum.other).toBeGreaterThan(100);
});

it('says nothing of what it was told nothing of', () => {
  const sum = new WindowPartsSum();
  sum.add({});
  expect(sum.result()).toEqual({});
});
