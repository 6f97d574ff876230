// A span that was made from what is stored, as OpenTelemetry's exporter reads it: the SDK's own are made while they last.
import { type HrTime, SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import type { Span } from '../rollouts/trace-spans.ts';

export function toReadable(
  { traceId, id, parentId, name, startedAt, endedAt, attributes, events, error }: Span,
  { resource, version }: { resource: Resource; version: string },
): ReadableSpan {
  const inTrace = { traceId, traceFlags: TraceFlags.SAMPLED };
  return {
    ...{ name, kind: SpanKind.INTERNAL, attributes, links: [], ended: true, resource },
    spanContext: () => ({ ...inTrace, spanId: id }),
    parentSpanContext: { ...inTrace, spanId: parentId },
    startTime: toTime(startedAt),
    endTime: toTime(endedAt),
    duration: toTime(endedAt - startedAt),
    status: error === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: error },
    events: events.map((event) => ({ name: event.name, time: toTime(event.at) })),
    instrumentationScope: { name: 'edgeloop', version },
    ...{ droppedAttributesCount: 0, droppedEventsCount: 0, droppedLinksCount: 0 },
  };
}

/** Seconds and nanoseconds. */
function toTime(ms: number): HrTime {
  return [Math.floor(ms / 1000), (ms % 1000) * 1_000_000];
}
