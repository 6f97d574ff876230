// OpenTelemetry's SDK set up: one provider of traces, and a reader that sends what Prometheus is told.
import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { routePath } from 'hono/route';
import type { Registry } from 'prom-client';
import type { Exporting } from './open-telemetry.ts';
import { createPrometheusProducer } from './prometheus-producer.ts';
import { toReadable } from './readable-span.ts';

/** Spans in the queue that need not be waited for; it holds 2,048, and drops what is beyond. */
const roomySpans = 500;

const traceparent = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

export function exportTo(
  environment: NodeJS.ProcessEnv,
  { registry, version }: { registry: Registry; version: string },
): Exporting {
  const own = resourceFromAttributes({ 'service.name': 'edgeloop', 'service.version': version });
  // What the environment says comes last, and so holds.
  const resource = defaultResource()
    .merge(own)
    .merge(detectResources({ detectors: [envDetector] }));
  const processor = new BatchSpanProcessor(new OTLPTraceExporter());
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  const reader = new PeriodicExportingMetricReader({
    exporter: new OTLPMetricExporter(),
    metricProducers: [createPrometheusProducer(registry, resource)],
    exportIntervalMillis: Number(environment.OTEL_METRIC_EXPORT_INTERVAL) || 60_000,
    exportTimeoutMillis: Math.min(30_000, Number(environment.OTEL_METRIC_EXPORT_INTERVAL) || 60_000),
  });
  const meters = new MeterProvider({ resource, readers: [reader] });
  const tracer = tracers.getTracer('edgeloop', version);
  let queued = 0;

  return {
    observe: async (c, next) => {
      const [, traceId, spanId, flags] = traceparent.exec(c.req.header('traceparent') ?? '') ?? [];
      const caller =
        traceId === undefined || spanId === undefined
          ? ROOT_CONTEXT
          : trace.setSpanContext(ROOT_CONTEXT, {
              traceId,
              spanId,
              traceFlags: Number.parseInt(flags ?? '0', 16),
              isRemote: true,
            });
      const attributes = { 'http.request.method': c.req.method, 'url.path': c.req.path };
      const span = tracer.startSpan(c.req.method, { kind: SpanKind.SERVER, attributes }, caller);
      const own = traceparentOf(span);
      if (own !== undefined) c.set('traceparent', own);
      try {
        await next();
      } finally {
        const { status } = c.res;
        if (status !== 404) {
          const route = routePath(c);
          span.updateName(`${c.req.method} ${route}`).setAttribute('http.route', route);
        }
        span.setAttribute('http.response.status_code', status);
        if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
        span.end();
      }
    },
    begin(name, attributes) {
      const span = tracer.startSpan(name, { kind: SpanKind.INTERNAL, attributes }, ROOT_CONTEXT);
      span.end();
      return traceparentOf(span);
    },
    async send(spans) {
      for (const span of spans) processor.onEnd(toReadable(span, { resource, version }));
      queued += spans.length;
      if (queued < roomySpans) return;
      queued = 0;
      await processor.forceFlush();
    },
    async close() {
      await Promise.allSettled([tracers.shutdown(), meters.shutdown()]);
    },
  };
}

/** Undefined when it is not sampled. */
function traceparentOf(span: Span): string | undefined {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return (traceFlags & TraceFlags.SAMPLED) === 0 ? undefined : `00-${traceId}-${spanId}-01`;
}
