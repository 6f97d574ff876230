// `GET /metrics/query`, `GET /metrics/window`, and what of a device was not understood.
import { MalformedMessages } from '@edgeloop/shared/api/devices';
import { MetricQuery, MetricResult } from '@edgeloop/shared/api/metrics';
import { WindowQuery, WindowResult } from '@edgeloop/shared/api/windows';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import { createRouter, describeRoute, type Router } from '../http/router.ts';
import { readSeen } from './seen.ts';
import type { Telemetry } from './telemetry.ts';

const queryRoute = describeRoute(
  {
    method: 'get',
    path: '/metrics/query',
    summary: 'Series of a metric; a window counts in the step in which it started',
    tag: 'metrics',
    role: 'viewer',
    status: 200,
    response: MetricResult,
  },
  { query: MetricQuery },
);

const malformedRoute = describeRoute(
  {
    method: 'get',
    path: '/devices/{id}/malformed',
    summary: 'Messages of a device that were not understood: how many, and the last of them',
    tag: 'Devices',
    role: 'viewer',
    status: 200,
    response: MalformedMessages,
  },
  { params: z.object({ id: DeviceId }) },
);

const windowRoute = describeRoute(
  {
    method: 'get',
    path: '/metrics/window',
    summary: 'What devices saw of a version: inputs, answers, labels and the machine, put together',
    tag: 'metrics',
    role: 'viewer',
    status: 200,
    response: WindowResult,
  },
  { query: WindowQuery },
);

/** `known` throws `not_found` for a device that there is not. */
export function telemetryRoutes(
  telemetry: Pick<Telemetry, 'query' | 'malformedOf' | 'merged'>,
  known: (deviceId: string) => Promise<unknown>,
  now: () => number = Date.now,
): Router {
  const router = createRouter();
  router.openapi(malformedRoute, async (c) => {
    const { id } = c.req.valid('param');
    await known(id);
    return c.json(await telemetry.malformedOf(id), 200);
  });
  router.openapi(queryRoute, async (c) => c.json(await telemetry.query(c.req.valid('query')), 200));
  router.openapi(windowRoute, async (c) => c.json(await readSeen(telemetry, c.req.valid('query'), now()), 200));
  return router;
}
