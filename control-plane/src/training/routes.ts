// Pipelines and runs over the API.
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { Pipeline, PipelineSpec, Run, RunDetail, RunLog, RunQuery, RunStart } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import type { Training } from './training.ts';

const tag = 'training';
const Name = z.object({ name: ModelName });
const Id = z.object({ id: z.string().min(1).max(100) });

export function trainingRoutes(training: Training): Router {
  const router = createRouter();
  pipelineRoutes(router, training);
  runRoutes(router, training);
  outputRoutes(router, training);
  return router;
}

function pipelineRoutes(router: Router, training: Training): void {
  const common = { path: '/pipelines', tag, status: 200 } as const;
  const list = describeRoute(
    { ...common, method: 'get', summary: 'Pipelines, by name', role: 'viewer', response: pageOf(Pipeline) },
    { query: PageQuery },
  );
  router.openapi(list, async (c) => c.json(await training.pipelines(c.req.valid('query')), 200));

  const apply = describeRoute(
    {
      ...common,
      method: 'post',
      summary: 'Create a pipeline, or replace the one of that name',
      role: 'operator',
      response: Pipeline,
    },
    { body: jsonBody(PipelineSpec) },
  );
  router.openapi(apply, async (c) => c.json(await training.apply(c.var.actor.name, c.req.valid('json')), 200));

  const start = describeRoute(
    {
      method: 'post',
      path: '/pipelines/{name}/runs',
      summary: 'Queue a run of the pipeline',
      tag,
      role: 'operator',
      status: 201,
      response: Run,
    },
    { params: Name, body: jsonBody(RunStart) },
  );
  router.openapi(start, async (c) => {
    const { name } = c.req.valid('param');
    return c.json(await training.startRun(c.var.actor.name, name, c.req.valid('json')), 201);
  });
}

function runRoutes(router: Router, training: Training): void {
  const list = describeRoute(
    {
      method: 'get',
      path: '/runs',
      summary: 'Runs, newest first',
      tag,
      role: 'viewer',
      status: 200,
      response: pageOf(Run),
    },
    { query: PageQuery.extend(RunQuery.shape) },
  );
  router.openapi(list, async (c) => c.json(await training.runs(c.req.valid('query')), 200));

  const show = describeRoute(
    {
      method: 'get',
      path: '/runs/{id}',
      summary: 'One run with its measurements',
      tag,
      role: 'viewer',
      status: 200,
      response: RunDetail,
    },
    { params: Id },
  );
  router.openapi(show, async (c) => c.json(await training.run(c.req.valid('param').id), 200));

  const cancel = describeRoute(
    {
      method: 'post',
      path: '/runs/{id}/cancel',
      summary: 'End a run',
      tag,
      role: 'operator',
      status: 200,
      response: Run,
    },
    { params: Id },
  );
  router.openapi(cancel, async (c) => c.json(await training.cancel(c.var.actor.name, c.req.valid('param').id), 200));
}

function outputRoutes(router: Router, training: Training): void {
  const logs = describeRoute(
    {
      method: 'get',
      path: '/runs/{id}/logs',
      summary: 'What the run and its trainer have printed',
      tag,
      role: 'viewer',
      status: 200,
      response: RunLog,
    },
    { params: Id },
  );
  router.openapi(logs, async (c) => c.json(await training.logs(c.req.valid('param').id), 200));

  // Not in the contract: what runs could tell of trials is not known before they make any.
  router.get('/runs/:id/trials', () => {
    throw new AppError(
      'not_found',
      'trials are not recorded yet: a run trains with the parameters of its pipeline only',
    );
  });
}
