// `GET /metrics/query`, `GET /metrics/stream`, `GET /metrics/window`, and what of a device was not understood.
import { MalformedMessages } from '@edgeloop/shared/api/devices';
import {
  type MetricFormat,
  MetricNews,
  type MetricQuestion,
  MetricResult,
  MetricResults,
  MetricRows,
  MetricStreamQuery,
  MetricsQuery,
} from '@edgeloop/shared/api/metrics';
import { WindowQuery, WindowResult } from '@edgeloop/shared/api/windows';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { z } from '@hono/zod-openapi';
import {
  createRouter,
  describeRawRoute,
  describeRoute,
  mountRaw,
  queryParameters,
  type Router,
} from '../http/router.ts';
import { createMetricStreams } from './metric-stream.ts';
import { contentTypes, textOf } from './metric-texts.ts';
import { readSeen } from './seen.ts';
import type { Telemetry } from './telemetry.ts';

const common = { method: 'get', tag: 'metrics', role: 'viewer', status: 200 } as const;
const queryRoute = describeRawRoute(
  {
    ...common,
    path: '/metrics/query',
    summary: 'Series of metrics; a window counts in the step in which it started',
    answers: {
      // One metric, several, and `format=rows`.
      'application/json': z.union([MetricResult, MetricResults, MetricRows]),
      'text/csv': z
        .string()
        .describe('`format=csv`, or asked for by `Accept: text/csv`; the first line names the columns'),
    },
  },
  { query: MetricsQuery },
);
const streamRoute = describeRawRoute(
  {
    ...common,
    path: '/metrics/stream',
    summary: 'The same as server-sent events: first everything, then what has changed',
    answers: { 'text/event-stream': MetricNews.describe('The data of each event `metrics`') },
  },
  { query: MetricStreamQuery },
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

interface RouteDeps {
  telemetry: Pick<Telemetry, 'query' | 'malformedOf' | 'merged'>;
  /** @throws AppError `not_found` for a device that there is not */
  known: (deviceId: string) => Promise<unknown>;
  /** Ends when the key is revoked or the server closes. */
  lifetimeOf: (keyId: string) => AbortSignal;
  now: () => number;
}

export function telemetryRoutes({ telemetry, known, lifetimeOf, now }: RouteDeps): Router {
  const router = createRouter();
  const stream = createMetricStreams(telemetry);
  router.openapi(malformedRoute, async (c) => {
    const { id } = c.req.valid('param');
    await known(id);
    return c.json(await telemetry.malformedOf(id), 200);
  });
  router.openapi(windowRoute, async (c) => c.json(await readSeen(telemetry, c.req.valid('query'), now()), 200));
  // Both answer text that is written in pieces, of the form that their description says.
  mountRaw(router, queryRoute, async (c) => {
    const { format, ...asked } = queryParameters(c, MetricsQuery);
    const results: MetricResult[] = [];
    for (const question of questionsOf(asked)) results.push(await telemetry.query(question));
    const form = format ?? formatOf(c.req.header('Accept'));
    return c.body(textOf(results, form), 200, { 'Content-Type': contentTypes[form] });
  });
  mountRaw(router, streamRoute, async (c) => {
    const { every, ...asked } = queryParameters(c, MetricStreamQuery);
    const signal = lifetimeOf(c.var.keyId);
    const frames = await stream({ questions: questionsOf(asked), everyMs: every * 1000, signal });
    const headers = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' };
    return c.body(frames, 200, headers);
  });
  return router;
}

function questionsOf({ metric, ...rest }: Omit<MetricsQuery, 'format'>): MetricQuestion[] {
  return metric.map((each) => ({ ...rest, metric: each }));
}

function formatOf(accept = ''): MetricFormat {
  return /^\s*text\/csv\b/i.test(accept) ? 'csv' : 'json';
}
