// What windows hold beside their counts, asked by name: every part of a window that can be charted.
import { MetricQuery, metrics } from '@edgeloop/shared/api/metrics';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { addValue, emptyHistogram } from '@edgeloop/shared/sketches/histogram';
import { valueQuantile, valueSketchOf } from '@edgeloop/shared/sketches/value-sketch';
import type { ShadowWindow, Window } from '@edgeloop/shared/telemetry';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';

const minute = 60_000;
const hour = 60 * minute;
const now = 480 * hour;

function sketchOf(...values: number[]) {
  const builder = new QuantileSketchBuilder();
  for (const value of values) builder.add(value);
  return builder.toJSON();
}
function histogramOf(...values: number[]) {
  const histogram = emptyHistogram([0, 1, 2]);
  for (const value of values) addValue(histogram, [0, 1, 2], value);
  return histogram;
}
const level = (sum: number, count: number, min: number, max: number) => ({ sum, count, min, max });

const shadow: ShadowWindow = {
  ...{ version: 1, compared: 10, agreed: 7, failed: { timeout: 2, internal: 1 }, skipped: 4 },
  ...{ difference: sketchOf(0.25), latencyMs: sketchOf(30), formerMs: sketchOf(20) },
};

/** Of two variants, two devices, one hour that rollups hold and one minute that they do not. */
const windows: { device: string; window: Partial<Window> & { latencies?: number[] } }[] = [
  {
    device: 'a',
    window: {
      ...{ startedAt: now - 3 * hour, variant: 'int8', succeeded: 3, rows: 6, failed: { timeout: 1 }, latencies: [10] },
      ...{ queueMs: sketchOf(5), batchRows: sketchOf(2), features: { size: histogramOf(0.5, 1.5, Number.NaN) } },
      confidence: histogramOf(0.5, 0.7),
      classes: { cat: 4 },
      signals: {
        'output:entropy': valueSketchOf([0.25, 0.75]),
        'input:image:brightness': valueSketchOf([0.25, 0.5, Number.NaN]),
      },
      categories: { site: { counts: { north: 3 }, other: 1 } },
      labelled: {
        labels: 2,
        correct: 1,
        confusion: {},
        other: 0,
        errors: { count: 2, sum: 1, absolute: 5, squared: 17 },
      },
      resources: {
        ...{ samples: 4, seconds: 100, processor: level(2, 4, 0.1, 0.9), receivedBytes: 5000, throttled: 1 },
      },
    },
  },
  {
    device: 'b',
    window: {
      ...{ startedAt: now - minute, variant: 'fp32', succeeded: 1, rows: 2, invalid: 2, latencies: [200] },
      ...{ queueMs: sketchOf(50), batchRows: sketchOf(10), features: { size: histogramOf(2) } },
      signals: { 'output:confidence': valueSketchOf([0.9]), 'input:image:brightness': valueSketchOf([0.75]) },
    },
  },
  { device: 'b', window: { startedAt: now - 2 * minute, version: 2, shadow } },
  { device: 'b', window: { startedAt: now - 3 * hour, version: 2, shadow: { ...shadow, agreed: 9 } } },
];

let room: ReturnType<typeof openTelemetry>;
beforeAll(async () => {
  room = openTelemetry({
    knownDevices: async () =>
      new Map(['a', 'b'].map((id) => [id, { id, labels: { site: `${id}-town` }, status: 'online', reported: null }])),
    driftSeries: async ({ groupBy }) =>
      groupBy === 'feature' ? [{ labels: { feature: 'output:entropy' }, at: now - hour, value: 0.5 }] : [],
  });
  room.clock.at = now;
  room.telemetry.start();
  for (const [i, { device, window }] of windows.entries())
    await room.telemetry.ingest(device, batchOf([windowOf(window)], { first: i + 1 }));
  const label = { predictedAt: now - minute, labelledAt: now };
  await room.telemetry.ingest(
    'a',
    batchOf(
      [
        {
          kind: 'labels',
          labels: [
            labelOf({ ...label, inferenceId: '1', predicted: 'cat', label: 'dog' }),
            labelOf({ ...label, inferenceId: '2', predicted: 'dog', label: 'dog' }),
          ],
        },
      ],
      { first: 9 },
    ),
  );
});
afterAll(() => room.close());

type Asked = Partial<z.input<typeof MetricQuery>>;
async function values(asked: Asked): Promise<Record<string, (number | null)[]>> {
  const { series } = await room.telemetry.query(MetricQuery.parse({ metric: 'requests', from: '-4h', ...asked }));
  return Object.fromEntries(
    series.map(({ labels, points }) => [
      Object.values(labels).join(' '),
      points.map(({ value }) => (value === null ? null : Number(value.toPrecision(2)))),
    ]),
  );
}

test.each<[Asked, Record<string, (number | null)[]>]>([
  [{ metric: 'queue_wait', quantile: '1' }, { '': [50] }],
  [
    { metric: 'batch_rows', quantile: '0', groupBy: 'device' },
    { a: [2], b: [10] },
  ],
  [{ metric: 'confidence', model: 'm', version: 1 }, { '': [0.7] }],
  [
    { metric: 'confidence', groupBy: 'label:site' },
    { 'a-town': [0.6], 'b-town': [0.9] },
  ],
  [{ metric: 'entropy' }, { '': [0.5] }],
  [{ metric: 'missing_rate', signal: 'size' }, { '': [0.25] }],
  [
    { metric: 'missing_rate', groupBy: 'signal', device: 'a', signal: ['size', 'input:image:brightness'] },
    {
      size: [0.33],
      'input:image:brightness': [0.33],
    },
  ],
  [{ metric: 'signal_mean', signal: 'input:image:brightness' }, { '': [0.5] }],
  [
    { metric: 'signal_mean', signal: 'input:image:brightness', groupBy: 'device' },
    { a: [0.38], b: [0.75] },
  ],
  [{ metric: 'signal_deviation', signal: 'size' }, { '': [0.62] }],
  [{ metric: 'signal_min', signal: 'size' }, { '': [0.5] }],
  [{ metric: 'signal_max', signal: 'size' }, { '': [2] }],
  [{ metric: 'signal_quantile', signal: 'output:entropy', quantile: '1' }, { '': [0.75] }],
  [{ metric: 'signal_samples', signal: 'input:image:brightness' }, { '': [4] }],
  [{ metric: 'signal_mean', signal: 'machine:processor' }, { '': [0.5] }],
  [{ metric: 'signal_max', signal: 'machine:processor' }, { '': [0.9] }],
  [{ metric: 'signal_mean', signal: 'machine:received_bytes_per_second' }, { '': [50] }],
  [{ metric: 'signal_mean', signal: 'machine:throttled' }, { '': [0.25] }],
  [
    { metric: 'categories', signal: 'site', groupBy: 'class' },
    { north: [3], '(other)': [1] },
  ],
  [{ metric: 'categories', signal: 'output:classes', groupBy: 'class' }, { cat: [4] }],
  [{ metric: 'absolute_error' }, { '': [2.5] }],
  [{ metric: 'rms_error' }, { '': [2.9] }],
  [{ metric: 'shadow_compared' }, { '': [20] }],
  [
    { metric: 'shadow_agreement', groupBy: 'version', model: 'm' },
    { 1: [null], 2: [0.8] },
  ],
  [{ metric: 'shadow_agreement', step: '1h', maxPoints: 5, version: 2 }, { '': [null, 0.9, null, 0.7] }],
  [{ metric: 'shadow_difference' }, { '': [0.25] }],
  [{ metric: 'shadow_latency' }, { '': [30] }],
  [{ metric: 'shadow_former_latency' }, { '': [20] }],
  [{ metric: 'shadow_failed' }, { '': [6] }],
  [
    { metric: 'shadow_failed', groupBy: 'kind' },
    { timeout: [4], internal: [2] },
  ],
  [{ metric: 'shadow_skipped' }, { '': [8] }],
  [
    { metric: 'labels', groupBy: 'class,predicted' },
    { 'dog cat': [1], 'dog dog': [1] },
  ],
  [{ metric: 'drift', groupBy: 'signal' }, { 'output:entropy': [0.5] }],
])('%o', async (asked, expected) => {
  expect(await values(asked)).toEqual(expected);
});

test.each<[Asked, Record<string, (number | null)[]>]>([
  [{ metric: 'requests' }, { int8: [4], fp32: [3] }],
  [{ metric: 'error_rate' }, { int8: [0.25], fp32: [0] }],
  [{ metric: 'rows' }, { int8: [6], fp32: [2] }],
  [
    { metric: 'latency', quantile: '0.5' },
    { int8: [10], fp32: [200] },
  ],
  [{ metric: 'confidence' }, { int8: [0.6], fp32: [0.9] }],
  [{ metric: 'queue_wait' }, { int8: [5], fp32: [50] }],
  [
    { metric: 'signal_mean', signal: 'input:image:brightness' },
    { int8: [0.38], fp32: [0.75] },
  ],
  [{ metric: 'rows', groupBy: 'variant,class' }, { 'int8 cat': [4] }],
  [{ metric: 'failed', groupBy: 'variant,kind' }, { 'int8 timeout': [1] }],
  [
    { metric: 'requests', groupBy: 'variant,label:site' },
    { 'int8 a-town': [4], 'fp32 b-town': [3] },
  ],
])('by variant, %o', async (asked, expected) => {
  expect(await values({ groupBy: 'variant', ...asked })).toEqual(expected);
});

test.each<[Asked, RegExp]>([
  [{ metric: 'signal_mean' }, /metric=signal_mean is of one signal: use signal=NAME or groupBy=signal/],
  [{ metric: 'signal_mean', signal: ['a', 'b'] }, /is of one signal/],
  [{ metric: 'latency', signal: 'a' }, /signal does not go with metric=latency/],
  [{ metric: 'labels', groupBy: 'variant' }, /groupBy=variant does not go with metric=labels/],
])('%o is refused with what would do', async (asked, message) => {
  await expect(values(asked)).rejects.toThrow(message);
});

test('every metric can be asked for', async () => {
  for (const metric of metrics)
    expect(
      await values({ metric, groupBy: metric.startsWith('signal_') || metric === 'categories' ? 'signal' : undefined }),
    ).toBeDefined();
});

test('a quantile of values is within a bin of the one that was seen', () => {
  const values = fc.array(fc.double({ min: -1000, max: 1000, noNaN: true }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (seen, q) => {
      const sorted = seen.map((value) => value + 0).sort((a, b) => a - b);
      const found = valueQuantile(valueSketchOf(seen), q) ?? Number.NaN;
      const place = Math.max(0, Math.ceil(q * sorted.length) - 1);
      const real = sorted[place] ?? Number.NaN;
      expect(found).toBeGreaterThanOrEqual(sorted[0] ?? 0);
      expect(found).toBeLessThanOrEqual(sorted.at(-1) ?? 0);
      // 48 bins over values up to 1000 either way: as many in each octave, at least four.
      expect(Math.abs(found - real)).toBeLessThanOrEqual(Math.abs(real) / 2 + 512);
    }),
  );
});
