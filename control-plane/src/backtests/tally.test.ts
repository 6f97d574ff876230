import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Said, type TalliedSample, Tally } from './tally.ts';

const classes = ['a', 'b', 'c'];
const said = fc.constantFrom<Said>(...classes, null);
const sample = fc.record<TalliedSample>({
  deviceId: fc.constantFrom('d1', 'd2', 'd3', 'd4'),
  version: fc.constantFrom(1, 2, 3),
  field: fc.constantFrom(...classes, null),
  reason: fc.constantFrom('rate', 'labelled', 'disagreement'),
  label: fc.constantFrom(...classes, null),
  candidate: said,
  baseline: fc.oneof(said, fc.constant(undefined)),
});
const labels = new Map([
  ['d1', { site: 'x', floor: '1' }],
  ['d2', { site: 'x', floor: '1' }],
  ['d3', { site: 'y', floor: '1' }],
]);

function tallied(samples: readonly TalliedSample[]) {
  const tally = new Tally({ candidate: 3, baseline: 2, values: [] });
  for (const each of samples) tally.add(each);
  for (const id of tally.devices()) tally.place(id, labels.get(id) ?? {});
  return tally.result();
}

describe('classes of two versions', () => {
  it('are counted as by hand, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 60 }), (samples) => {
        const result = tallied(samples);
        const both = samples.filter(
          ({ candidate, baseline }) => baseline !== undefined && (candidate ?? baseline) !== null,
        );
        expect(result.compared).toBe(both.length);
        expect(result.changed).toBe(both.filter(({ candidate, baseline }) => candidate !== baseline).length);
        const sums = (by: string) =>
          result.slices.filter((slice) => slice.by === by).reduce((sum, { samples: n }) => sum + n, 0);
        expect(sums('version')).toBe(both.length);
        expect(sums('reason')).toBe(both.length);
        expect(sums('class')).toBe(both.filter(({ baseline }) => baseline !== null).length);
        expect(result.transitions.reduce((sum, { samples: n }) => sum + n, 0)).toBe(both.length);
        const labelled = both.filter(({ label }) => label !== null);
        if (labelled.length > 0) {
          const right = (which: 'candidate' | 'baseline') =>
            labelled.filter((each) => each[which] === each.label).length;
          expect(result.accuracy?.labelled).toBe(labelled.length);
          expect(result.accuracy?.candidate).toBeCloseTo(right('candidate') / labelled.length);
          expect(result.accuracy?.baseline).toBeCloseTo(right('baseline') / labelled.length);
          const { value = 2, low = 2, high = -2 } = result.accuracy?.gain ?? {};
          expect(low).toBeLessThanOrEqual(value + 1e-12);
          expect(high).toBeGreaterThanOrEqual(value - 1e-12);
        }
        const site = (value: string) =>
          result.slices.find((slice) => slice.key === 'site' && slice.value === value)?.samples;
        const at = (...ids: string[]) => both.filter(({ deviceId }) => ids.includes(deviceId)).length;
        const hasBoth = at('d1', 'd2') > 0 && at('d3') > 0;
        expect([site('x'), site('y')]).toEqual(hasBoth ? [at('d1', 'd2'), at('d3')] : [undefined, undefined]);
        // All devices are on one floor, which tells nothing.
        expect(result.slices.some(({ key }) => key === 'floor')).toBe(false);
      }),
    );
  });

  it('do not depend on the order of samples', () => {
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 30 }), (samples) => {
        const sorted = ({ slices, transitions, ...rest }: ReturnType<typeof tallied>) => ({
          ...rest,
          slices: slices.map((each) => JSON.stringify(each)).sort(),
          transitions: transitions.map((each) => JSON.stringify(each)).sort(),
        });
        expect(sorted(tallied([...samples].reverse()))).toEqual(sorted(tallied(samples)));
      }),
    );
  });

  it('are the same for a version beside itself', () => {
    fc.assert(
      fc.property(fc.array(sample, { maxLength: 30 }), (samples) => {
        const { changed, accuracy } = tallied(samples.map((each) => ({ ...each, baseline: each.candidate })));
        expect([changed, accuracy?.gain?.value ?? 0]).toEqual([0, 0]);
      }),
    );
  });

  it('say whether the baseline repeats what it answered in the field, and leave out what the candidate did', () => {
    const one = { deviceId: 'd1', reason: 'rate', label: null, candidate: 'a', baseline: 'b' } as const;
    const { field, repeated } = tallied([
      { ...one, version: 2, field: 'b' },
      { ...one, version: 2, field: 'a' },
      { ...one, version: 1, field: 'c' },
      { ...one, version: 3, field: 'c' },
    ]);
    expect(repeated).toEqual({ compared: 2, same: 1 });
    expect(field).toEqual({ compared: 3, changed: 2 });
  });
});

describe('numbers of two versions', () => {
  const one = { deviceId: 'd1', version: 2, field: null, reason: 'rate', label: null };
  const of = (range: number, pairs: [number, number, string?][]) => {
    const tally = new Tally({ candidate: 3, baseline: 2, values: [{ name: 'y', range }] });
    for (const [candidate, baseline, label = null] of pairs)
      tally.add({ ...one, label, candidate: [candidate], baseline: [baseline] });
    return tally.result();
  };

  it('change when they differ by more than a share of what is usual', () => {
    const { compared, changed, differences, accuracy } = of(10, [
      [1, 1],
      [1.4, 1],
      [1.6, 1],
      [Number.NaN, 1],
      [Number.NaN, Number.NaN],
    ]);
    expect({ compared, changed, accuracy }).toEqual({ compared: 5, changed: 2, accuracy: null });
    expect(differences[0]).toMatchObject({ name: 'y', range: 10 });
    expect(differences[0]?.max).toBeCloseTo(0.6);
  });

  it('change at all where the baseline always says the same', () => {
    expect(
      of(0, [
        [1, 1],
        [1.001, 1],
      ]).changed,
    ).toBe(1);
  });

  it('are judged by how far they miss the labels, pair by pair', () => {
    const pairs = Array.from({ length: 50 }, (_, i): [number, number, string] => [i + 2, i + 1, String(i)]);
    const { error } = of(10, pairs);
    expect(error).toMatchObject({ labelled: 50, candidate: 2, baseline: 1, rise: { value: 1, low: 1, high: 1 } });
    expect(
      of(10, [
        [1, 2, 'none'],
        [1, 2, ''],
      ]).error,
    ).toBeNull();
  });
});
