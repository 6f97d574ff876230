// What Prometheus reads from one agent.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { batchSizesText, type InferenceFigures, registerInferenceMetrics } from './inference-metrics.ts';

export interface ServingMetrics {
  requestEnded(request: { model: string; version: number; outcome: string; latencyMs: number }): void;
  /** The text exposition and its content type. */
  expose(): Promise<{ text: string; contentType: string }>;
  close(): void;
}

/** Figures that are read when someone asks. */
export interface MetricSources {
  figures(): InferenceFigures[];
  journal(): { failedWrites: number; lostRecords: number };
}

const latencyBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/** A registry of its own, with the process metrics in it. */
export function createMetrics(sources: MetricSources): ServingMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const requests = new Counter({
    name: 'edgeloop_agent_requests_total',
    help: 'Inference requests answered, by outcome: ok, invalid (the caller), or an error code.',
    labelNames: ['model', 'version', 'outcome'] as const,
    registers,
  });
  const durations = new Histogram({
    name: 'edgeloop_agent_request_duration_seconds',
    help: 'From the whole request read to the answer ready, of requests answered with a result.',
    labelNames: ['model', 'version'] as const,
    buckets: latencyBuckets,
    registers,
  });
  new Gauge({
    name: 'edgeloop_agent_queue_depth',
    help: 'Requests that wait for a worker.',
    labelNames: ['model', 'version'] as const,
    registers,
    collect() {
      this.reset();
      for (const { model, version, depth } of sources.figures()) this.set({ model, version }, depth);
    },
  });
  journalGauge('edgeloop_agent_journal_failed_writes', 'Writes to the telemetry journal that failed.', 'failedWrites');
  journalGauge('edgeloop_agent_journal_lost_records', 'Requests missing in telemetry for lack of disk.', 'lostRecords');

  registerInferenceMetrics(registry, sources.figures);

  function journalGauge(name: string, help: string, field: 'failedWrites' | 'lostRecords'): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(sources.journal()[field]);
      },
    });
  }

  return {
    requestEnded({ model, version, outcome, latencyMs }) {
      requests.inc({ model, version, outcome });
      if (outcome === 'ok') durations.observe({ model, version }, latencyMs / 1000);
    },
    async expose() {
      const text = `${await registry.metrics()}${batchSizesText(sources.figures())}`;
      return { text, contentType: registry.contentType };
    },
    close: () => registry.clear(),
  };
}
