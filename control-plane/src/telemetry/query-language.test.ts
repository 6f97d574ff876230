// What can be asked of metrics: groupings, several metrics and quantiles, relative times, earlier periods, and in which forms
// answers come.
import { type MetricNews, MetricQuery, MetricResult, MetricResults, MetricRows } from '@edgeloop/shared/api/metrics';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRouter } from '../http/router.ts';
import type { KnownDevice } from './device-groups.ts';
import { telemetryRoutes } from './routes.ts';
import { batchOf, labelOf, openTelemetry, windowOf } from './telemetry-fixture.ts';

const second = 1000;
const hour = 3600 * second;
const day = 24 * hour;
const now = 20 * day;
const devices: KnownDevice[] = [
  { id: 'a', labels: { site: 'paris', line: '1' }, status: 'online', reported: null },
  { id: 'b', labels: { site: 'paris', line: '2' }, status: 'offline', reported: null },
  { id: 'c', labels: { site: 'oslo' }, status: 'online', reported: null },
  { id: 'd', labels: {}, status: 'never_connected', reported: null },
];
let room: ReturnType<typeof openTelemetry>;
const lifetime = new AbortController();
let app: ReturnType<typeof createRouter>;

beforeAll(async () => {
  room = openTelemetry({
    knownDevices: async () => new Map(devices.map((device) => [device.id, device])),
    devicesMatching: async () => new Set(['a', 'b']),
    driftSeries: async ({ version }) =>
      [1, 2].flatMap((each) =>
        version === undefined || version === each
          ? [{ labels: { version: `${each}` }, at: now - hour, value: each }]
          : [],
      ),
  });
  room.clock.at = now;
  await room.telemetry.ingest(
    'a',
    batchOf([
      windowOf({
        startedAt: now - 10 * second,
        succeeded: 3,
        failed: { timeout: 2, internal: 1 },
        latencies: [1, 1, 9],
      }),
      windowOf({ startedAt: now - day - 10 * second, succeeded: 7, latencies: [5] }),
      windowOf({ startedAt: now - 7 * day - 10 * second, succeeded: 11 }),
    ]),
  );
  await room.telemetry.ingest('b', batchOf([windowOf({ startedAt: now - 20 * second, version: 2, succeeded: 20 })]));
  await room.telemetry.ingest(
    'c',
    batchOf([
      windowOf({ startedAt: now - 20 * second, version: 3, succeeded: 100, failed: { timeout: 1 } }),
      { kind: 'labels', labels: [labelOf({ predictedAt: now - 20 * second, labelledAt: now })] },
    ]),
  );
  await room.telemetry.ingest('d', batchOf([windowOf({ startedAt: now - 20 * second, succeeded: 1000 })]));
  app = createRouter();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'viewer' });
    c.set('keyId', 'k');
    await next();
  });
  app.onError((error, c) => c.text(error.message, 400));
  app.route(
    '/',
    telemetryRoutes({
      telemetry: room.telemetry,
      known: async () => undefined,
      lifetimeOf: () => lifetime.signal,
      now: room.clock.now,
    }),
  );
});
afterAll(() => room.close());

const get = (query: string, headers: Record<string, string> = {}) =>
  app.request(`/metrics/query?${query}`, { headers });
async function values(query: string): Promise<Record<string, (number | null)[]>> {
  const response = await get(query);
  const result = MetricResult.parse(await response.json());
  return Object.fromEntries(
    result.series.map(({ labels, quantile, compare, points }) => [
      [...Object.values(labels), quantile, compare].filter((each) => each !== undefined).join(' '),
      points.map(({ value }) => value),
    ]),
  );
}

test('series are told apart by any label of devices, by their state, and by several of these at once', async () => {
  expect(await values('metric=succeeded&groupBy=label:site')).toEqual({ paris: [23], oslo: [100] });
  expect(await values('metric=succeeded&groupBy=label:line')).toEqual({ 1: [3], 2: [20] });
  expect(await values('metric=succeeded&groupBy=status')).toEqual({
    online: [103],
    offline: [20],
    never_connected: [1000],
  });
  expect(await values('metric=succeeded&model=m&groupBy=version,label:site')).toEqual({
    '1 paris': [3],
    '2 paris': [20],
    '3 oslo': [100],
  });
  expect(await values('metric=succeeded&groupBy=label:site&groupBy=label:line')).toEqual({
    'paris 1': [3],
    'paris 2': [20],
  });
  expect(await values('metric=accuracy&groupBy=label:site')).toEqual({ oslo: [1] });
  const response = await get('metric=succeeded&groupBy=label:site,device');
  expect(MetricResult.parse(await response.json()).series[0]?.labels).toEqual({ 'label:site': 'paris', device: 'a' });
});

test('failures are told by their kind', async () => {
  expect(await values('metric=failed&groupBy=kind')).toEqual({ timeout: [3], internal: [1] });
  expect(await values('metric=failed&groupBy=label:site,kind')).toEqual({
    'paris timeout': [2],
    'paris internal': [1],
    'oslo timeout': [1],
  });
});

test('devices are counted as they are now', async () => {
  expect(await values('metric=devices&groupBy=status')).toEqual({ online: [2], offline: [1], never_connected: [1] });
  expect(await values('metric=devices&groupBy=label:site&selector=site')).toEqual({ paris: [2] });
  expect(await values('metric=devices&from=-2h&step=1h')).toEqual({ '': [null, 4] });
});

test('some versions are compared, the others left out', async () => {
  expect(await values('metric=succeeded&model=m&version=1,3&groupBy=version')).toEqual({ 1: [1003], 3: [100] });
  expect(await values('metric=succeeded&model=m&version=2')).toEqual({ '': [20] });
  expect(await values('metric=drift&model=m&version=2&groupBy=version')).toEqual({ 2: [2] });
});

test('an earlier period is laid beside, at the times that it is compared with', async () => {
  const response = await get('metric=requests&device=a&from=-1h&step=60m&compare=-1d,-1w');
  expect(MetricResult.parse(await response.json()).series).toEqual([
    { labels: {}, points: [{ at: now - hour, value: 6 }] },
    { labels: {}, compare: '-1d', points: [{ at: now - hour, value: 7 }] },
    { labels: {}, compare: '-1w', points: [{ at: now - hour, value: 11 }] },
  ]);
});

test('several quantiles come as series, several metrics as results', async () => {
  const found = await values('metric=latency&device=a&quantile=0,1');
  expect(found['0']?.[0]).toBeCloseTo(1, 1);
  expect(Math.abs((found['1']?.[0] ?? 0) - 9)).toBeLessThan(0.1);
  const response = await get('metric=requests,latency&device=a&from=-1d&to=now');
  const { results } = MetricResults.parse(await response.json());
  expect(results.map(({ metric, from, to }) => [metric, from, to])).toEqual([
    ['requests', now - day, now],
    ['latency', now - day, now],
  ]);
});

test.each([
  ['from=-7d&step=auto', 7200, 84],
  ['from=-7d&maxPoints=10', 86_400, 7],
  ['from=-1h&step=auto', 30, 120],
  ['from=now-30m&step=5m', 300, 6],
  ['from=1970-01-20&step=auto', 900, 96],
])('%s has steps of %i seconds', async (query, stepSeconds, points) => {
  const result = MetricResult.parse(await (await get(`metric=requests&${query}`)).json());
  expect([result.stepSeconds, result.series[0]?.points.length]).toEqual([stepSeconds, points]);
});

test('a table has a row for each value, with the groups as columns', async () => {
  const query = 'metric=succeeded,latency&groupBy=label:site&quantile=0.5,1&from=-1h&to=now';
  const csv = await get(`${query}&format=csv`);
  expect(csv.headers.get('Content-Type')).toContain('text/csv');
  const at = new Date(now - hour).toISOString();
  const lines = (await csv.text()).split('\r\n');
  expect(lines.slice(0, 3)).toEqual([
    'at,metric,unit,label:site,quantile,value',
    `${at},succeeded,requests,paris,,23`,
    `${at},succeeded,requests,oslo,,100`,
  ]);
  expect(lines[3]).toMatch(new RegExp(`^${at},latency,ms,paris,0.5,0.99`));
  expect(await (await get(query, { Accept: 'text/csv' })).text()).toBe(lines.join('\r\n'));
  const { rows } = MetricRows.parse(await (await get(`${query}&format=rows`)).json());
  expect(rows[0]).toEqual({
    ...{ metric: 'succeeded', unit: 'requests', labels: { 'label:site': 'paris' }, at: now - hour, value: 23 },
  });
});

test.each([
  ['metric=latncy', /metric: "latncy" is none; use requests, succeeded/],
  ['metric=requests&groupBy=site', /groupBy: "site" is none; use .*label:KEY/],
  ['metric=requests&gruopBy=version', /gruopBy/],
  ['metric=requests&from=-7x', /from: must be a time such as/],
  ['metric=requests&step=soon', /step: must be seconds/],
  ['metric=requests&compare=1d', /compare: "1d" is none/],
  ['metric=requests&version=0', /version: "0" is none/],
  ['metric=latency&quantile=2', /quantile: "2" is none/],
])('%s is refused by the name of the parameter', async (query, message) => {
  const response = await get(query);
  expect([response.status, await response.text()]).toEqual([400, expect.stringMatching(message)]);
});

test.each([
  [{ step: '1h', compare: '-90m' }, /compare=-90m is no multiple of the step of 3600 seconds/],
  [{ metric: 'lost', version: '1' }, /version does not go with metric=lost/],
  [{ metric: 'devices', model: 'm' }, /model does not go with metric=devices/],
  [{ metric: 'drift', groupBy: 'feature,version' }, /takes feature or version, not both/],
  [{ groupBy: 'feature' }, /groupBy=feature does not go with metric=requests/],
  [{ from: '0', to: '2000-01-01', maxPoints: 3 }, /maxPoints=3 is too few/],
] as const)('%o is refused with what would do', async (asked, message) => {
  await expect(async () => room.telemetry.query(MetricQuery.parse({ metric: 'requests', ...asked }))).rejects.toThrow(
    message,
  );
});

test('a stream tells everything first, then what has changed, and ends with its key', async () => {
  const response = await app.request('/metrics/stream?metric=succeeded&groupBy=device&from=-1h&step=1h&every=1');
  expect(response.headers.get('Content-Type')).toBe('text/event-stream');
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  const next = async (): Promise<MetricNews> => {
    for (let text = ''; ; ) {
      const { value, done } = (await reader?.read()) ?? { done: true, value: undefined };
      if (done) throw new Error('the stream ended');
      text += decoder.decode(value);
      const data = /event: metrics\ndata: (.*)\n\n/.exec(text)?.[1];
      if (data !== undefined) return JSON.parse(data);
    }
  };
  const whole = await next();
  expect([whole.kind, whole.results[0]?.series.length]).toEqual(['whole', 4]);
  await room.telemetry.ingest('b', batchOf([windowOf({ startedAt: now - 5 * second, succeeded: 1 })], { first: 2 }));
  const news = await next();
  expect([news.kind, news.results[0]?.series]).toEqual([
    'news',
    [{ labels: { device: 'b' }, points: [{ at: now - hour, value: 21 }] }],
  ]);
  lifetime.abort();
  expect(await reader?.read()).toMatchObject({ done: true });
});
