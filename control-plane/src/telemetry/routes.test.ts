import { expect, it } from 'vitest';
import { z } from 'zod';
import { createRouter } from '../http/router.ts';
import { telemetryRoutes } from './routes.ts';

const routes = telemetryRoutes({
  telemetry: {
    query: async ({ metric }) => ({ metric, unit: '', from: 0, to: 60_000, stepSeconds: 60, series: [] }),
    malformedOf: () => Promise.reject(new Error('nobody asks')),
    merged: () => Promise.reject(new Error('nobody asks')),
  },
  known: async () => undefined,
  lifetimeOf: () => AbortSignal.abort(),
  now: () => 0,
});
const router = createRouter();
router.use(async (c, next) => {
  c.set('actor', { name: 'key:test', role: 'viewer' });
  await next();
});

router.route('/', routes);

const Document = z.object({
  paths: z.record(
    z.string(),
    z.object({
      get: z.object({ responses: z.record(z.string(), z.object({ content: z.record(z.string(), z.unknown()) })) }),
    }),
  ),
});

it.each([
  ['/metrics/query', 'metric=requests'],
  ['/metrics/query', 'metric=requests&metric=failed'],
  ['/metrics/query', 'metric=requests&format=rows'],
  ['/metrics/query', 'metric=requests&format=csv'],
  ['/metrics/stream', 'metric=requests'],
])('%s?%s answers in a form that its description names', async (path, query) => {
  const { paths } = Document.parse(
    JSON.parse(JSON.stringify(router.getOpenAPI31Document({ openapi: '3.1.0', info: { title: '', version: '' } }))),
  );
  const { responses } = paths[path]?.get ?? { responses: {} };
  const answer = await router.request(`${path}?${query}`);
  expect(answer.status).toBe(200);
  await answer.body?.cancel();
  const type = answer.headers.get('Content-Type')?.split(';')[0] ?? '';
  expect(Object.keys(responses['200']?.content ?? {})).toContain(type);
  expect(Object.keys(responses.default?.content ?? {})).toEqual(['application/problem+json']);
});
