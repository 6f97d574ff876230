// What Prometheus scrapes: the process, HTTP requests, and what the rooms hand in.
import type { MiddlewareHandler } from 'hono';
import { routePath } from 'hono/route';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Env } from './router.ts';

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Histogram({
    name: 'edgeloop_http_request_seconds',
    help: 'Time to the answer of HTTP requests of operators',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
    registers,
  });
  const messages = new Counter({
    name: 'edgeloop_device_messages_total',
    help: 'MQTT messages of devices, by channel and whether they were understood',
    labelNames: ['channel', 'outcome'],
    registers,
  });

  return {
    /** For rooms that count by themselves. */
    registry,
    messages,

    /** Adds a number that is read at each scrape. */
    gauge(name: string, help: string, read: () => number | Promise<number>): void {
      new Gauge({
        name,
        help,
        registers,
        async collect() {
          this.set(await read());
        },
      });
    },

    /** Observes every request. Routes, not paths: a label for each id would never end. */
    observe: (): MiddlewareHandler<Env> => async (c, next) => {
      const began = performance.now();
      await next();
      const route = c.res.status === 404 ? 'none' : routePath(c);
      requests.observe({ method: c.req.method, route, status: c.res.status }, (performance.now() - began) / 1000);
    },

    /** The exposition text and its content type. */
    scrape: async () => ({ text: await registry.metrics(), contentType: registry.contentType }),

    start(): void {
      collectDefaultMetrics({ register: registry });
      // Gauges named as counters are; what they count is told by type.
      for (const kind of ['handles', 'requests', 'resources'])
        registry.removeSingleMetric(`nodejs_active_${kind}_total`);
    },
    close(): void {
      registry.clear();
    },
  };
}
