import { pageOf } from '@edgeloop/shared/api/paging';
import { Pipeline, Run, RunDetail, RunLog } from '@edgeloop/shared/api/training';
import { Problem } from '@edgeloop/shared/errors';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { onError } from '../http/problem.ts';
import { createRouter, type Router } from '../http/router.ts';
import { trainingRoutes } from './routes.ts';
import { createWorkshop, type Workshop } from './training-fixture.ts';

let workshop: Workshop;
let app: Router;
beforeEach(async () => {
  workshop = await createWorkshop();
  app = createRouter();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:ann', role: c.req.header('x-role') === 'viewer' ? 'viewer' : 'operator' });
    await next();
  });
  app.onError(onError(pino({ level: 'silent' })));
  app.route('/', trainingRoutes(workshop.openTraining()));
});
afterEach(() => workshop.close());

const spec = { name: 'sort', model: 'sorter', dataset: 'points', trainer: { kind: 'softmax' } };

function post(path: string, body?: unknown, headers: Record<string, string> = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  return app.request(path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, ...sent });
}
const get = async (path: string): Promise<unknown> => (await app.request(path)).json();

it('a pipeline is created, replaced and listed', async () => {
  expect((await post('/pipelines', spec)).status).toBe(200);
  const replaced = Pipeline.parse(await (await post('/pipelines', { ...spec, seed: 9 })).json());
  expect(replaced.spec).toMatchObject({ seed: 9, evaluation: { confidence: 0.95 }, trigger: { onDrift: false } });
  await post('/pipelines', { ...spec, name: 'another' });
  const first = pageOf(Pipeline).parse(await get('/pipelines?limit=1'));
  expect(first.items.map((item) => item.spec.name)).toEqual(['another']);
  const second = pageOf(Pipeline).parse(await get(`/pipelines?limit=1&cursor=${first.nextCursor}`));
  expect(second.items.map((item) => item.spec.name)).toEqual(['sort']);
});

it('a wrong parameter of a trainer is named by its field', async () => {
  const response = await post('/pipelines', { ...spec, trainer: { kind: 'softmax', parameters: { epochs: -1 } } });
  expect(response.status).toBe(400);
  const problem = Problem.parse(await response.json());
  expect(problem.errors?.[0]?.field).toBe('trainer.parameters.epochs');
  expect((await post('/pipelines', { ...spec, trainer: { kind: 'forest' } })).status).toBe(400);
  expect(await get('/pipelines')).toEqual({ items: [] });
});

it('runs are queued, listed newest first, shown and cancelled', async () => {
  await post('/pipelines', spec);
  const started = await post('/pipelines/sort/runs', { seed: 5 });
  expect(started.status).toBe(201);
  const run = Run.parse(await started.json());
  expect(run).toMatchObject({ pipeline: 'sort', status: 'queued', seed: 5, trainer: { parameters: { epochs: 60 } } });
  const other = Run.parse(await (await post('/pipelines/sort/runs', {})).json());
  const listed = pageOf(Run).parse(await get('/runs?pipeline=sort'));
  expect(listed.items.map((item) => item.id)).toEqual([other.id, run.id]);
  expect(await get('/runs?model=unknown')).toEqual({ items: [] });
  expect(RunDetail.parse(await get(`/runs/${run.id}`)).steps).toEqual([]);
  expect(RunLog.parse(await get(`/runs/${run.id}/logs`))).toEqual({ lines: [] });
  expect(Run.parse(await (await post(`/runs/${run.id}/cancel`)).json()).status).toBe('cancelled');
});

it('a run has no trials yet, which is said and not in the contract', async () => {
  await post('/pipelines', spec);
  const run = Run.parse(await (await post('/pipelines/sort/runs', {})).json());
  const response = await app.request(`/runs/${run.id}/trials`);
  expect(response.status).toBe(404);
  expect(response.headers.get('content-type')).toContain('application/problem+json');
  expect(Problem.parse(await response.json()).detail).toMatch(/^trials are not recorded yet/);
  const { paths } = app.getOpenAPIDocument({ openapi: '3.1.0', info: { title: '', version: '' } });
  expect(Object.keys(paths ?? {}).filter((path) => path.startsWith('/runs/{id}'))).toEqual([
    '/runs/{id}',
    '/runs/{id}/cancel',
    '/runs/{id}/logs',
  ]);
});

it('what is not there is 404, and a viewer starts nothing', async () => {
  expect((await post('/pipelines/none/runs', {})).status).toBe(404);
  for (const path of ['/runs/none', '/runs/none/logs']) {
    expect((await app.request(path)).status).toBe(404);
  }
  await post('/pipelines', spec);
  expect((await post('/pipelines/sort/runs', {}, { 'x-role': 'viewer' })).status).toBe(403);
  expect((await post('/pipelines', spec, { 'x-role': 'viewer' })).status).toBe(403);
});
