import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Hono } from 'hono';
import { Counter, Histogram, Registry } from 'prom-client';
import { afterEach, expect, test, vi } from 'vitest';
import type { Env } from '../http/router.ts';
import { openRollouts } from '../rollouts/rollouts-fixture.ts';
import { rolloutRoutes } from '../rollouts/routes.ts';
import { startExport } from './open-telemetry.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** A collector that keeps what it is sent, by path. */
async function openCollector() {
  const sent: Record<string, string> = {};
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    sent[request.url ?? ''] = (sent[request.url ?? ''] ?? '') + body;
    response.setHeader('Content-Type', 'application/json').end('{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, sent, close: () => server.close() };
}

test('nothing is sent unless a collector is named, or when the SDK is switched off', async () => {
  const told = { registry: new Registry(), version: '1' };
  expect(await startExport({}, told)).toBeUndefined();
  expect(
    await startExport({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x', OTEL_SDK_DISABLED: 'true' }, told),
  ).toBeUndefined();
});

test('a collector is sent spans within the trace of the caller, and what Prometheus is told', async () => {
  const collector = await openCollector();
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.url);
  vi.stubEnv('OTEL_RESOURCE_ATTRIBUTES', 'deployment.environment=lab');
  const registry = new Registry();
  new Counter({ name: 'edgeloop_things_total', help: 'Things', labelNames: ['kind'], registers: [registry] }).inc(
    { kind: 'a' },
    3,
  );
  const histogram = new Histogram({
    name: 'edgeloop_wait_seconds',
    help: 'Wait',
    buckets: [1, 2],
    registers: [registry],
  });
  for (const value of [0.5, 1.5, 1.6, 9]) histogram.observe(value);
  const exporting = await startExport(process.env, { registry, version: '1' });
  const app = new Hono<Env>();
  if (exporting !== undefined) app.use(exporting.observe);
  app.get('/rollouts/:id', (c) => c.json({}));
  app.get('/broken', (c) => c.json({}, 500));
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  await app.request('/rollouts/7', { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
  await app.request('/broken');
  await exporting?.close();
  collector.close();
  const { resourceSpans } = JSON.parse(collector.sent['/v1/traces'] ?? '');
  const spans = resourceSpans[0].scopeSpans[0].spans;
  expect(spans).toMatchObject([
    { name: 'GET /rollouts/:id', traceId, parentSpanId: 'b7ad6b7169203331' },
    { name: 'GET /broken', status: { code: 2 } },
  ]);
  expect(resourceSpans[0].resource.attributes).toContainEqual({
    key: 'service.name',
    value: { stringValue: 'edgeloop' },
  });
  expect(resourceSpans[0].resource.attributes).toContainEqual({
    ...{ key: 'deployment.environment', value: { stringValue: 'lab' } },
  });
  const { resourceMetrics } = JSON.parse(collector.sent['/v1/metrics'] ?? '');
  const metrics = resourceMetrics[0].scopeMetrics.flatMap((scope: { metrics: unknown[] }) => scope.metrics);
  expect(metrics).toContainEqual(
    expect.objectContaining({
      name: 'edgeloop_things_total',
      sum: expect.objectContaining({ isMonotonic: true, dataPoints: [expect.objectContaining({ asDouble: 3 })] }),
    }),
  );
  const wait = metrics.find(({ name }: { name: string }) => name === 'edgeloop_wait_seconds');
  expect(wait.histogram.dataPoints[0]).toMatchObject({ count: 4, bucketCounts: [1, 2, 1], explicitBounds: [1, 2] });
});

test('a collector is sent one trace from the request that begins a rollout to the last report of a device', async () => {
  const collector = await openCollector();
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', collector.url);
  // All in one piece, at the end.
  vi.stubEnv('OTEL_BSP_SCHEDULE_DELAY', '600000');
  const exporting = await startExport(process.env, { registry: new Registry(), version: '1' });
  if (exporting === undefined) throw new Error('export is on');
  const world = await openRollouts();
  world.trace(exporting.send);
  await world.enrol('cam', { site: 'x' });
  const app = new Hono<Env>();
  app.use(exporting.observe);
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:ci', role: 'operator' });
    await next();
  });
  app.route('/', rolloutRoutes(world.rollouts));
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const begin = async (version: number, flags: string) => {
    const response = await app.request('/rollouts', {
      method: 'POST',
      headers: { traceparent: `00-${traceId}-b7ad6b7169203331-${flags}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ model: 'net', version, bakeSeconds: 0, waves: [{ percent: 100 }] }),
    });
    expect(response.status).toBe(201);
    await world.rounds(4);
  };
  await begin(1, '01');
  world.bad.add(2);
  await begin(2, '01');
  const run = exporting.begin('release by a run', { 'edgeloop.run.id': 'r' });
  world.bad.delete(2);
  await world.release(2, { selector: '', bakeSeconds: 0, waves: [{ percent: 100 }] }, run);
  await world.rounds(4);
  // Who calls it does not record its trace.
  await begin(3, '00');
  await world.close();
  await exporting.close();
  collector.close();
  const { resourceSpans } = JSON.parse(collector.sent['/v1/traces'] ?? '');
  const spans: { name: string; traceId: string; spanId: string; parentSpanId: string; status: { code: number } }[] =
    resourceSpans[0].scopeSpans.flatMap((scope: { spans: unknown[] }) => scope.spans);
  expect(new Set(spans.map((span) => span.traceId))).toEqual(new Set([traceId, run?.split('-')[1]]));
  const parentOf = (span: { parentSpanId: string }) => spans.find(({ spanId }) => spanId === span.parentSpanId)?.name;
  const tree = (status: number) =>
    spans.filter(({ status: { code } }) => code === status).map((span) => `${parentOf(span)} > ${span.name}`);
  const chain = ['POST /rollouts > rollout', 'rollout > rollout.wave', 'rollout.wave > rollout.device'];
  const begun = ['undefined > release by a run', 'release by a run > rollout', ...chain.slice(1)];
  expect(tree(0).sort()).toEqual([...chain, ...begun, ...Array(2).fill('undefined > POST /rollouts')].sort());
  expect(tree(2).sort()).toEqual([...chain].sort());
});
