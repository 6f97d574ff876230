import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { addValue, emptyHistogram } from '@edgeloop/shared/sketches/histogram';
import { type TelemetryItem, TelemetryItem as TelemetryItemSchema, type Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergeWindows, sizeOf, splitWindow } from './merge.ts';
import { addedLoss, type OutboxItem, requestsIn, shrink } from './shrink.ts';

const edges = [0, 1, 2];

const anyWindow: fc.Arbitrary<Window> = fc
  .record({
    version: fc.integer({ min: 1, max: 2 }),
    startedAt: fc.integer({ min: 0, max: 1e6 }),
    latencies: fc.array(fc.double({ min: 0.01, max: 1000, noNaN: true }), { maxLength: 20 }),
    invalid: fc.nat(50),
    failed: fc.dictionary(fc.constantFrom('timeout', 'internal'), fc.nat(9)),
    classes: fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.nat(9)),
    values: fc.array(fc.double({ min: -1, max: 3, noNaN: true }), { maxLength: 20 }),
  })
  .map(({ latencies, values, ...rest }) => {
    const sketch = new QuantileSketchBuilder();
    for (const latency of latencies) sketch.add(latency);
    const histogram = emptyHistogram(edges);
    for (const value of values) addValue(histogram, edges, value);
    return {
      ...rest,
      kind: 'window',
      model: 'm',
      endedAt: rest.startedAt + 1000,
      succeeded: latencies.length,
      rows: latencies.length,
      latencyMs: sketch.toJSON(),
      features: { f: histogram, g: histogram },
    };
  });

const label = { inferenceId: 'i', model: 'm', version: 1, predictedAt: 1, predicted: 'a', label: 'b', labelledAt: 2 };
const anyItem: fc.Arbitrary<TelemetryItem> = fc.oneof(
  { weight: 5, arbitrary: anyWindow },
  fc.integer({ min: 1, max: 4 }).map((count) => ({ kind: 'labels' as const, labels: new Array(count).fill(label) })),
  fc.record({ kind: fc.constant('loss' as const), windows: fc.nat(9), requests: fc.nat(9), labels: fc.nat(9) }),
);

function numbered(items: readonly TelemetryItem[]): OutboxItem[] {
  return items.map((item, at) => ({ sequence: at + 1, bytes: sizeOf(item), item }));
}

function lossIn(items: readonly TelemetryItem[]) {
  const sum = { windows: 0, requests: 0, labels: 0 };
  return items.reduce((total, item) => (item.kind === 'loss' ? addedLoss(total, item) : total), sum);
}

function countsOf(items: readonly TelemetryItem[]) {
  const windows = items.filter((item) => item.kind === 'window');
  const sum = (of: (window: Window) => number) => windows.reduce((total, window) => total + of(window), 0);
  return {
    requests: sum(requestsIn),
    rows: sum(({ rows }) => rows),
    latencies: sum(({ latencyMs }) => latencyMs.count),
    classes: sum(({ classes }) => (classes.a ?? 0) + (classes.b ?? 0) + (classes.c ?? 0)),
    values: sum(({ features }) => features.f?.counts.reduce((a, b) => a + b, 0) ?? 0),
    labels: items.reduce((total, item) => total + (item.kind === 'labels' ? item.labels.length : 0), 0),
  };
}

describe('an outbox over its budget', () => {
  it('keeps or counts every request and label, keeps every word of a loss, and fits', () => {
    fc.assert(
      fc.property(fc.array(anyItem, { maxLength: 30 }), fc.integer({ min: 0, max: 6000 }), (items, budget) => {
        const before = numbered(items);
        const { kept, lost } = shrink(before, budget, 100_000);
        const [was, is] = [countsOf(items), countsOf(kept.map(({ item }) => item))];
        expect(is.requests + lost.requests).toBe(was.requests);
        expect(is.labels + lost.labels).toBe(was.labels);
        if (lost.windows === 0) expect({ ...is, labels: 0 }).toEqual({ ...was, labels: 0 });
        const words = kept.filter(({ item }) => item.kind === 'loss');
        const room = Math.max(
          budget,
          words.reduce((total, { bytes }) => total + bytes, 0),
        );
        expect(kept.reduce((total, { bytes }) => total + bytes, 0)).toBeLessThanOrEqual(room);
        expect(lossIn(kept.map(({ item }) => item))).toEqual(lossIn(items));
        for (const [at, { sequence, bytes, item }] of kept.entries()) {
          TelemetryItemSchema.parse(item);
          expect(bytes).toBe(sizeOf(item));
          expect(sequence).toBeGreaterThan(kept[at - 1]?.sequence ?? 0);
        }
      }),
    );
  });

  it('merges before it drops', () => {
    fc.assert(
      fc.property(fc.array(anyWindow, { minLength: 8, maxLength: 30 }), (windows) => {
        const items = numbered(windows);
        // Two versions, so two windows at the least; each at most as large as all together.
        const room = items.reduce((total, { bytes }) => total + bytes, 0) / 2;
        const enough = 2 * Math.max(...items.map(({ bytes }) => bytes)) + 2000;
        if (room < enough) return;
        expect(shrink(items, room, 100_000).lost).toEqual({ windows: 0, requests: 0, labels: 0 });
      }),
    );
  });
});

describe('a window too large for a message', () => {
  it('travels in pieces that add up to it', () => {
    fc.assert(
      fc.property(anyWindow, fc.integer({ min: 1, max: 60 }), (window, count) => {
        const names = Array.from({ length: count }, (_, at) => `feature-${at}`);
        const histogram = window.features.f ?? emptyHistogram(edges);
        const wide: Window = { ...window, features: Object.fromEntries(names.map((name) => [name, histogram])) };
        const limit = sizeOf({ ...window, features: {} }) + 500;
        const pieces = splitWindow(wide, limit);
        for (const piece of pieces) expect(sizeOf(piece)).toBeLessThanOrEqual(limit);
        const joined = pieces.reduce((sum, piece) => ({
          ...mergeWindows(sum, piece),
          features: { ...sum.features, ...piece.features },
        }));
        expect(JSON.parse(JSON.stringify(joined))).toEqual(JSON.parse(JSON.stringify(wide)));
      }),
    );
  });
});
