// Sends traces of requests and the metrics of `/metrics` to a collector by OTLP over HTTP. Nothing of it is loaded unless
// `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the other variables of OpenTelemetry are read by its own SDK.
import type { MiddlewareHandler } from 'hono';
import type { Registry } from 'prom-client';
import type { Env } from '../http/router.ts';
import type { Span } from '../rollouts/trace-spans.ts';

export interface Exporting {
  /** A span for each request, within the caller's trace when it names one. */
  observe: MiddlewareHandler<Env>;
  /** Begins a trace of what no request began, with a span of that; gives its `traceparent`, undefined when it is not sampled. */
  begin(name: string, attributes: Record<string, string>): string | undefined;
  /** Takes spans that are over into the queue; resolves when there is room for as many again. */
  send(spans: readonly Span[]): Promise<void>;
  /** Sends what is left. */
  close(): Promise<void>;
}

/** Undefined when it is off. */
export async function startExport(
  environment: NodeJS.ProcessEnv,
  told: { registry: Registry; version: string },
): Promise<Exporting | undefined> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_SDK_DISABLED: disabled } = environment;
  if (endpoint === undefined || endpoint === '' || disabled?.toLowerCase() === 'true') return undefined;
  const { exportTo } = await import('./otlp-export.ts');
  return exportTo(environment, told);
}
