// `GET /metrics/query`.
import { MetricQuery, MetricResult } from '@edgeloop/shared/api/metrics';
import { createRouter, describeRoute, type Router } from '../http/router.ts';
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

export function telemetryRoutes(telemetry: Pick<Telemetry, 'query'>): Router {
  const router = createRouter();
  router.openapi(queryRoute, async (c) => c.json(await telemetry.query(c.req.valid('query')), 200));
  return router;
}
