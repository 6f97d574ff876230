import { Manifest } from '@edgeloop/shared/manifest';
import { binsWithEdges, valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import { Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergeKey, mergeWindows, sizeOf, splitWindow } from './merge.ts';
import { decodeRecords, encodeRecord, type JournalRecord } from './record.ts';
import { summaryFields } from './summary/fields.ts';
import { createWindowSet } from './window.ts';

const manifest = Manifest.parse({
  task: 'classification',
  inputs: { x: { features: ['a', 'b'] } },
  monitoring: { reference: { rows: 1, features: { b: { edges: [0, 1], counts: [0, 1, 0, 0] } } } },
});

const number = fc.double({ min: -100, max: 100, noNaN: true }).map((value) => Math.round(value * 100) / 100 + 0);
const summary = fc.oneof(
  fc.record({
    of: fc.constant('picture'),
    name: fc.constant('input:image'),
    values: fc.array(number, { minLength: 7, maxLength: 7 }),
  }),
  fc.record({ of: fc.constant('values'), name: fc.constantFrom('b', 'output:entropy'), values: fc.array(number) }),
);
const record: fc.Arbitrary<JournalRecord> = fc.record(
  {
    inferenceId: fc.string({ minLength: 1 }),
    model: fc.constant('m'),
    version: fc.constant(1),
    at: fc.nat(),
    outcome: fc.constantFrom('ok' as const, 'ok' as const, 'invalid' as const, 'internal' as const),
    latencyMs: fc.integer({ min: 1, max: 100 }),
    rows: fc.nat(5),
    predicted: fc.array(fc.constantFrom('cat', 'dog'), { maxLength: 3 }),
    scores: fc.array(number, { maxLength: 3 }),
    value: number,
    queueMs: fc.integer({ min: 0, max: 50 }),
    batchRows: fc.integer({ min: 1, max: 32 }),
    summaries: fc.array(summary, { maxLength: 3 }),
    texts: fc.dictionary(fc.constantFrom('site', 'output:box-classes'), fc.array(fc.constantFrom('x', 'y'))),
    features: fc.array(number, { minLength: 2, maxLength: 2 }).map((values) => Float32Array.from(values)),
  },
  { requiredKeys: ['inferenceId', 'model', 'version', 'at', 'outcome', 'latencyMs', 'rows'] },
);
const records = fc.array(record, { minLength: 1, maxLength: 40 });

function windowOf(all: readonly JournalRecord[]): Window {
  const set = createWindowSet(() => manifest);
  for (const each of all) set.add(each);
  const [window] = set.windows(false);
  if (window === undefined) throw new Error('no window of no records');
  return window;
}

/** Sums of floating point numbers differ in their last digits by the order in which they were added. */
function exact(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, each) =>
      (key === 'sum' || key === 'sumOfSquares') && typeof each === 'number' ? Math.round(each) + 0 : each,
    ),
  );
}

describe('windows', () => {
  it('of parts of the records, merged in any order, are the window of all', () => {
    fc.assert(
      fc.property(records, fc.nat(40), fc.nat(40), (all, first, second) => {
        const cuts = [Math.min(first, second), Math.max(first, second)].map((cut) => Math.min(cut, all.length));
        const parts = [all.slice(0, cuts[0]), all.slice(cuts[0], cuts[1]), all.slice(cuts[1])].filter((p) => p.length);
        const windows = parts.map(windowOf);
        const whole = exact(windowOf(all));
        expect(new Set(windows.map(mergeKey)).size).toBe(1);
        expect(exact(windows.reduce(mergeWindows))).toEqual(whole);
        expect(exact(windows.toReversed().reduce(mergeWindows))).toEqual(whole);
        expect(exact(windows.reduceRight((sum, each) => mergeWindows(each, sum)))).toEqual(whole);
      }),
      { numRuns: 200 },
    );
  });

  it('lose nothing when they travel in pieces', () => {
    fc.assert(
      fc.property(records, fc.integer({ min: 900, max: 3000 }), (all, maxBytes) => {
        const whole = windowOf(all);
        const pieces = splitWindow(whole, maxBytes).map((piece) => Window.parse(JSON.parse(JSON.stringify(piece))));
        const features = Object.assign({}, ...pieces.map((piece) => piece.features));
        const merged = { ...pieces.map((piece) => ({ ...piece, features: {} })).reduce(mergeWindows), features };
        expect(exact(merged)).toEqual(exact(whole));
        if (sizeOf(whole) <= maxBytes) expect(pieces).toHaveLength(1);
      }),
      { numRuns: 200 },
    );
  });

  it('hold what a request said of its pictures, answers and texts, and of how many requests', () => {
    const looks = [0.5, 0.1, 0.2, 0, 0.05, 0.3, 1.5];
    const window = windowOf([
      {
        ...{ inferenceId: '1', model: 'm', version: 1, at: 1, outcome: 'ok', latencyMs: 1, rows: 1 },
        ...{ queueMs: 2.5, batchRows: 8, scores: [0.9], predicted: ['cat'], features: Float32Array.of(3.5, 0.5) },
        summaries: [
          { of: 'picture', name: 'input:image', values: [...looks, ...looks.map((value) => value / 2)] },
          { of: 'values', name: 'output:entropy', values: [0.25] },
          { of: 'a later kind', name: 'input:other', values: [1, 2, 3] },
        ],
        texts: { site: ['north', 'north', 'south'] },
      },
      { inferenceId: '2', model: 'm', version: 1, at: 2, outcome: 'ok', latencyMs: 1, rows: 1 },
    ]);
    const names = summaryFields.picture.map((field) => `input:image:${field}`);
    expect(Object.keys(window.signals ?? {}).sort()).toEqual(
      [...names, 'a', 'output:confidence', 'output:entropy'].sort(),
    );
    expect(window.signals?.['input:image:brightness']).toMatchObject({ sum: 0.75, min: 0.25, max: 0.5 });
    expect(window.signals?.a).toMatchObject({ sum: 3.5 });
    expect(window.features.b?.counts).toEqual([0, 1, 0, 0]);
    expect(window.categories).toEqual({ site: { counts: { north: 2, south: 1 }, other: 0 } });
    expect(window.sampled).toEqual({ features: 1, requests: 1 });
    expect([window.succeeded, window.queueMs?.count, window.batchRows?.max]).toEqual([2, 1, 8]);
    expect(Window.parse(JSON.parse(JSON.stringify(window)))).toEqual({ ...window, confidence: undefined });
  });

  it('are made of journals that a former agent wrote', () => {
    const former = {
      ...{ inferenceId: 'i', model: 'm', version: 1, at: 5, outcome: 'ok' as const, latencyMs: 2, rows: 1 },
      ...{ predicted: ['cat'], scores: [0.8], features: Float32Array.of(1, 0.5) },
    };
    const { records: read } = decodeRecords(encodeRecord(former));
    const window = windowOf(read);
    expect(window).toMatchObject({ succeeded: 1, classes: { cat: 1 }, sampled: { features: 1, requests: 0 } });
    expect(window.queueMs).toBeUndefined();
    expect(valuesIn(window.signals?.a ?? { bins: [] })).toBe(1);
  });

  it('bound what a model of very many features without a reference takes', () => {
    const names = Array.from({ length: 3000 }, (_, at) => `f${at}`);
    const wide = Manifest.parse({ inputs: { x: { features: names } } });
    const set = createWindowSet(() => wide);
    set.add({
      ...{ inferenceId: 'i', model: 'm', version: 1, at: 5, outcome: 'ok', latencyMs: 2, rows: 1 },
      ...{
        features: new Float32Array(3000),
        summaries: [{ of: 'tensor', name: 'input:x', values: [1, 2, 0, 0, 0, 1, 1, 3000] }],
      },
    });
    const [window] = set.windows(false);
    expect(Object.keys(window?.signals ?? {})).toEqual(summaryFields.tensor.map((field) => `input:x:${field}`));
    expect(sizeOf(window)).toBeLessThan(2000);
  });

  it('tell where the values of a feature without a reference lie', () => {
    const all = Array.from(
      { length: 400 },
      (_, at): JournalRecord => ({
        ...{ inferenceId: `${at}`, model: 'm', version: 1, at, outcome: 'ok', latencyMs: 1, rows: 1 },
        features: Float32Array.of(1000 + (at % 20), 0),
      }),
    );
    const sketch = windowOf(all).signals?.a;
    const bins = sketch ? binsWithEdges(sketch) : [];
    expect(bins.map(({ count }) => count)).toEqual(new Array(20).fill(20));
    expect([bins[0]?.from, bins.at(-1)?.from]).toEqual([1000, 1019]);
  });
});
