// Routes of rollouts.
import { RolloutForecast, RolloutRehearsal } from '@edgeloop/shared/api/forecasts';
import { PageQuery, pageOf } from '@edgeloop/shared/api/paging';
import {
  Rollout,
  RolloutCreate,
  RolloutDetail,
  RolloutDevice,
  RolloutDeviceQuery,
  RolloutQuery,
  RolloutReason,
  RolloutShow,
} from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { createRouter, describeRoute, jsonBody, type Router } from '../http/router.ts';
import { rolloutActions } from './actions.ts';
import type { Rollouts } from './rollouts.ts';

const Id = z.object({ id: z.string().max(100) });
const viewer = { role: 'viewer', tag: 'Rollouts', method: 'get', status: 200 } as const;
const operator = { role: 'operator', tag: 'Rollouts', method: 'post' } as const;

const routes = {
  list: describeRoute(
    { ...viewer, path: '/rollouts', summary: 'List rollouts, newest first', response: pageOf(Rollout) },
    { query: PageQuery.extend(RolloutQuery.shape) },
  ),
  create: describeRoute(
    { ...operator, path: '/rollouts', summary: 'Release a model version in waves', status: 201, response: Rollout },
    { body: jsonBody(RolloutCreate) },
  ),
  plan: describeRoute(
    {
      ...operator,
      role: 'viewer',
      path: '/rollouts/plan',
      summary: 'Say which devices a rollout would take when, and what its gates could see',
      status: 200,
      response: RolloutForecast,
    },
    { body: jsonBody(RolloutRehearsal) },
  ),
  show: describeRoute(
    { ...viewer, path: '/rollouts/{id}', summary: 'A rollout, its devices and gates', response: RolloutDetail },
    { params: Id, query: RolloutShow },
  ),
  devices: describeRoute(
    {
      ...viewer,
      path: '/rollouts/{id}/devices',
      summary: 'Devices of a rollout by id',
      response: pageOf(RolloutDevice),
    },
    { params: Id, query: PageQuery.extend(RolloutDeviceQuery.shape) },
  ),
  act: describeRoute(
    {
      ...operator,
      path: '/rollouts/{id}/{action}',
      summary: 'Approve, pause, resume, retry failed devices, cancel or roll back',
      status: 200,
      response: RolloutDetail,
    },
    {
      params: Id.extend({ action: z.enum(rolloutActions) }),
      body: { content: { 'application/json': { schema: RolloutReason } } },
    },
  ),
};

export function rolloutRoutes(rollouts: Rollouts): Router {
  const router = createRouter();
  router.openapi(routes.list, async (c) => c.json(await rollouts.list(c.req.valid('query')), 200));
  router.openapi(routes.create, async (c) =>
    c.json(await rollouts.create(c.var.actor.name, c.req.valid('json'), c.var.traceparent), 201),
  );
  router.openapi(routes.plan, async (c) => {
    const asked = c.req.valid('json');
    const { name, role } = c.var.actor;
    if (asked.backtest && role === 'viewer')
      throw new AppError(
        'forbidden',
        `backtest: to begin one needs the role operator; your key "${name}" has the role viewer`,
      );
    return c.json(await rollouts.plan(name, asked), 200);
  });
  router.openapi(routes.show, async (c) =>
    c.json(await rollouts.detail(c.req.valid('param').id, c.req.valid('query')), 200),
  );
  router.openapi(routes.devices, async (c) =>
    c.json(await rollouts.devices(c.req.valid('param').id, c.req.valid('query')), 200),
  );
  router.openapi(routes.act, async (c) => {
    const { id, action } = c.req.valid('param');
    const { reason, rollback, wave } = RolloutReason.parse(c.req.valid('json') ?? {});
    if (action === 'approve') return c.json(await rollouts.approve({ ...c.var.actor, wave }, id, reason), 200);
    const asked = action === 'cancel' && rollback ? 'take_back' : action;
    return c.json(await rollouts.act(c.var.actor.name, id, asked, reason), 200);
  });
  return router;
}
