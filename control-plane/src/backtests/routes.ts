// Routes of backtests, below a version of a model.
import { Backtest, BacktestCreate } from '@edgeloop/shared/api/backtests';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import type { Backtests } from './backtests.ts';

const Version = z.object({ name: ModelName, version: z.coerce.number().pipe(ModelVersion) });
const path = '/models/{name}/versions/{version}/backtests';
const viewer = { role: 'viewer', tag: 'Models', method: 'get', status: 200 } as const;

const routes = {
  create: describeRoute(
    {
      ...{ role: 'operator', tag: 'Models', method: 'post', status: 202, path, response: Backtest },
      summary: 'Run a version over captured samples of the field, beside the version that devices have',
    },
    { params: Version, body: jsonBody(BacktestCreate) },
  ),
  list: describeRoute(
    { ...viewer, path, summary: 'Backtests of a version, newest first', response: pageOf(Backtest) },
    { params: Version, query: PageQuery },
  ),
  show: describeRoute(
    { ...viewer, path: `${path}/{id}`, summary: 'A backtest, with its report once it has ended', response: Backtest },
    { params: Version.extend({ id: z.string().max(100) }) },
  ),
};

export function backtestRoutes(backtests: Backtests): Router {
  const router = createRouter();
  router.openapi(routes.create, async (c) => {
    const { name: model, version } = c.req.valid('param');
    return c.json(await backtests.create(c.var.actor.name, { model, version, asked: c.req.valid('json') }), 202);
  });
  router.openapi(routes.list, async (c) => {
    const { name: model, version } = c.req.valid('param');
    return c.json(await backtests.list({ ...c.req.valid('query'), model, version }), 200);
  });
  router.openapi(routes.show, async (c) => {
    const { name, version, id } = c.req.valid('param');
    return c.json(await backtests.backtest(name, version, id), 200);
  });
  return router;
}
