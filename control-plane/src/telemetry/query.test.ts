import { MetricQuery } from '@edgeloop/shared/api/metrics';
import { WindowResult } from '@edgeloop/shared/api/windows';
import { emptyHistogram } from '@edgeloop/shared/sketches/histogram';
import { valueSketchOf } from '@edgeloop/shared/sketches/value-sketch';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { createRouter } from '../http/router.ts';
import { telemetryRoutes } from './routes.ts';
import { readSeen } from './seen.ts';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';

const second = 1000;
let room: ReturnType<typeof openTelemetry>;

beforeAll(async () => {
  room = openTelemetry({
    devicesMatching: async (selector) => new Set(selector.length === 0 ? ['a', 'b'] : ['b']),
    driftSeries: async () => [
      { labels: {}, at: 5 * second, value: 0.5 },
      { labels: {}, at: 8 * second, value: 0.2 },
    ],
  });
  const { telemetry, clock } = room;
  clock.at = 60 * second;
  const confidence = { ...emptyHistogram([0, 1]), counts: [0, 4, 0, 1], sum: 3 };
  await telemetry.ingest(
    'a',
    batchOf([
      windowOf({
        startedAt: 5 * second,
        succeeded: 8,
        failed: { timeout: 2 },
        invalid: 10,
        rows: 16,
        latencies: [1, 2, 3],
      }),
      windowOf({ startedAt: 25 * second, version: 2, succeeded: 4, rows: 4, classes: { x: 3, y: 1 }, confidence }),
      { kind: 'loss', windows: 1, requests: 7, labels: 0 },
    ]),
  );
  await telemetry.ingest(
    'b',
    batchOf([
      windowOf({ startedAt: 19_999, succeeded: 20, rows: 20, latencies: [100, 100, 100, 100, 100, 100] }),
      windowOf({ startedAt: 25 * second, model: 'other', version: 2, succeeded: 1 }),
      {
        kind: 'labels',
        labels: [
          labelOf({ inferenceId: '1', predictedAt: 5 * second, labelledAt: 50 * second }),
          labelOf({ inferenceId: '2', predictedAt: 6 * second, label: 'b', labelledAt: 50 * second }),
          labelOf({ inferenceId: '3', predictedAt: 26 * second, label: 'b', predicted: 'b', labelledAt: 50 * second }),
        ],
      },
    ]),
  );
});
afterAll(() => room.close());

function query(asked: Partial<z.input<typeof MetricQuery>>) {
  return room.telemetry.query(MetricQuery.parse({ metric: 'requests', from: '0', to: '60000', ...asked }));
}
async function values(asked: Partial<z.input<typeof MetricQuery>>) {
  const { series } = await query(asked);
  return series.map(({ labels, points }) => [Object.values(labels).join(' '), ...points.map(({ value }) => value)]);
}

test('without a step each series has one value for the whole range', async () => {
  expect(await values({})).toEqual([['', 45]]);
  expect(await values({ metric: 'succeeded', model: 'm' })).toEqual([['', 32]]);
  expect(await values({ metric: 'throughput', model: 'm', from: '0', to: '44000' })).toEqual([['', 1]]);
  expect(await values({ metric: 'error_rate', model: 'm', version: 1, device: 'a' })).toEqual([['', 0.2]]);
});

test('a window counts in the step of its start, and steps without data are null', async () => {
  const result = await query({ model: 'm', step: 20 });
  expect(result).toMatchObject({ metric: 'requests', unit: 'requests', from: 0, to: 60_000, stepSeconds: 20 });
  expect(result.series).toEqual([
    {
      labels: {},
      points: [
        { at: 0, value: 40 },
        { at: 20_000, value: 4 },
        { at: 40_000, value: null },
      ],
    },
  ]);
});

test('steps are aligned, and only what lies in the range counts', async () => {
  const { series } = await query({ model: 'm', from: '10000', to: '26000', step: 20 });
  expect(series[0]?.points).toEqual([
    { at: 0, value: 20 },
    { at: 20_000, value: 4 },
  ]);
});

test('series are grouped, and versions of different models kept apart', async () => {
  expect((await values({ groupBy: 'device' })).sort()).toEqual([
    ['a', 24],
    ['b', 21],
  ]);
  expect((await values({ groupBy: 'version', model: 'm' })).sort()).toEqual([
    ['1', 40],
    ['2', 4],
  ]);
  expect((await values({ groupBy: 'version' })).sort()).toEqual([
    ['m 1', 40],
    ['m 2', 4],
    ['other 2', 1],
  ]);
  expect((await values({ metric: 'rows', groupBy: 'class' })).sort()).toEqual([
    ['x', 3],
    ['y', 1],
  ]);
});

test('a selector limits to the devices that match', async () => {
  expect(await values({ selector: 'site=x' })).toEqual([['', 21]]);
  expect(await values({ selector: 'site=x', device: 'a' })).toEqual([['', null]]);
});

test('latency comes from merged sketches, within 1 %', async () => {
  const [[, median] = []] = await values({ metric: 'latency', quantile: 0.5, model: 'm', version: 1 });
  expect(Number(median)).toBeGreaterThan(99);
  expect(Number(median)).toBeLessThan(101);
  const [[, low] = []] = await values({ metric: 'latency', quantile: 0, model: 'm' });
  expect(Number(low)).toBeCloseTo(1, 1);
});

test('accuracy is credited to the time of the prediction, confidence leaves missing values out', async () => {
  expect(await values({ metric: 'accuracy', step: 20 })).toEqual([['', 0.5, 1, null]]);
  expect(await values({ metric: 'labels', groupBy: 'class' })).toEqual([
    ['a', 1],
    ['b', 2],
  ]);
  expect(await values({ metric: 'confidence' })).toEqual([['', 0.75]]);
  expect(await values({ metric: 'lost', from: '0', to: '60001' })).toEqual([['', 7]]);
});

test('drift shows the window that drifted most in each step', async () => {
  expect(await values({ metric: 'drift', step: 20, to: '20000' })).toEqual([['', 0.5]]);
});

test.each([
  [{ from: '60000', to: '60000' }, /from .* must be before to/],
  [{ step: 1, to: '86400000' }, /step=1 makes 86400 points.*use step=18 /],
  [{ metric: 'latency', groupBy: 'class' }, /groupBy=class does not go with metric=latency; use one of model/],
  [{ metric: 'lost', model: 'm' }, /model does not go with metric=lost/],
  [{ metric: 'drift', device: 'a' }, /device and selector do not go with metric=drift/],
] as const)('%o is refused with what would do', async (asked, message) => {
  await expect(query(asked)).rejects.toThrow(message);
});

test('the step that a refusal names is accepted', async () => {
  expect((await query({ step: 18, to: '86400000' })).series[0]?.points).toHaveLength(4800);
});

test('GET /metrics/query answers, with the defaults of an hour up to now', async () => {
  const app = createRouter();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'viewer' });
    await next();
  });
  app.route(
    '/',
    telemetryRoutes({
      telemetry: room.telemetry,
      known: async () => undefined,
      lifetimeOf: () => new AbortController().signal,
      now: room.clock.now,
    }),
  );
  const response = await app.request('/metrics/query?metric=requests&model=m&selector=site%3Dx');
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ to: 60_000, from: 0, series: [{ points: [{ at: 0, value: 20 }] }] });
});

test('GET /metrics/window answers with all that devices saw, of one device too, and signals in bins', async () => {
  const router = createRouter();
  router.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'viewer' });
    await next();
  });
  router.route(
    '/',
    telemetryRoutes({
      telemetry: room.telemetry,
      known: async () => undefined,
      lifetimeOf: () => new AbortController().signal,
      now: () => 60_000,
    }),
  );
  const level = (value: number) => ({ count: 1, sum: value, min: value, max: value });
  const seen = (values: number[], degrees: number) =>
    windowOf({
      ...{ model: 'photo', startedAt: 40_000, succeeded: values.length, latencies: values },
      signals: { 'input:x:brightness': valueSketchOf(values) },
      resources: { samples: 1, seconds: 10, temperatureC: level(degrees) },
    });
  await room.telemetry.ingest('one', batchOf([seen([0.5, 0.5, Number.NaN], 50)]));
  await room.telemetry.ingest('two', batchOf([seen([0.75], 80)]));
  const ask = async (more: string) => (await router.request(`/metrics/window?model=photo&version=1${more}`)).json();
  const all = WindowResult.parse(await ask(''));
  expect(all).toMatchObject({
    ...{ from: -3_540_000, to: 60_000, windows: 2 },
    window: { succeeded: 4, resources: { samples: 2, temperatureC: { max: 80 } } },
  });
  const { bins = [], ...brightness } = all.signals['input:x:brightness'] ?? {};
  expect(brightness).toEqual({ count: 3, missing: 1, mean: 1.75 / 3, min: 0.5, max: 0.75 });
  expect(bins.map(({ from, count }) => [from, count])).toEqual([
    [0.5, 2],
    [0.75, 1],
  ]);
  expect(await ask('&device=two')).toMatchObject({ windows: 1, window: { resources: { temperatureC: { min: 80 } } } });
  expect(await ask('&to=5000')).toMatchObject({ windows: 0, window: null, signals: {} });
  const backwards = { model: 'photo', version: 1, from: 9, to: 9 };
  await expect(readSeen(room.telemetry, backwards, 10)).rejects.toThrow('from must be before to');
});

test('a time that is none is refused with how to write one', () => {
  expect(() => query({ from: 'yesterday' })).toThrow('must be a time such as 2026-01-31T12:00:00Z');
});
