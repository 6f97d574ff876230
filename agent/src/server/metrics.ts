// What Prometheus reads from one agent.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { histogramText } from './exposition.ts';
import { batchSizesText, type InferenceFigures, registerInferenceMetrics } from './inference-metrics.ts';
import { latencyBoundsMs } from './observation.ts';

export interface ServingMetrics {
  /** The text exposition and its content type. */
  expose(): Promise<{ text: string; contentType: string }>;
  close(): void;
}

interface JournalFigures {
  failedWrites: number;
  lostRecords: number;
  pendingRecords: number;
}

/** Figures that are read when someone asks. */
export interface MetricSources {
  figures(): InferenceFigures[];
  journal(): JournalFigures;
  /** What stands in the way at this moment, in words. */
  problems(): readonly { what: string; words: string }[];
}

/** A registry of its own, with the process metrics in it. */
export function createMetrics(sources: MetricSources): ServingMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Counter({
    name: 'edgeloop_agent_requests_total',
    help: 'Inference requests answered, by outcome: ok, invalid (the caller), or an error code.',
    labelNames: ['model', 'version', 'outcome'] as const,
    registers,
    collect() {
      this.reset();
      for (const { model, version, tally } of sources.figures()) {
        for (const [outcome, count] of tally.outcomes) this.inc({ model, version, outcome }, count);
      }
    },
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
  journalGauge('edgeloop_agent_journal_pending_records', 'Answered requests that wait for the disk.', 'pendingRecords');
  new Gauge({
    name: 'edgeloop_agent_problem',
    help: 'What stands in the way of serving, recording or following at this moment, in words.',
    labelNames: ['what', 'words'] as const,
    registers,
    collect() {
      this.reset();
      for (const { what, words } of sources.problems()) this.set({ what, words }, 1);
    },
  });

  registerInferenceMetrics(registry, sources.figures);

  function journalGauge(name: string, help: string, field: keyof JournalFigures): void {
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
    async expose() {
      const figures = sources.figures();
      const text = `${await registry.metrics()}${durationsText(figures)}${batchSizesText(figures)}`;
      return { text, contentType: registry.contentType };
    },
    close: () => registry.clear(),
  };
}

function durationsText(figures: readonly InferenceFigures[]): string {
  const histogram = {
    name: 'edgeloop_agent_request_duration_seconds',
    help: 'From the whole request read to the answer ready, of requests answered with a result.',
    bounds: latencyBoundsMs.map((boundMs) => boundMs / 1000),
  };
  const series = figures.map(({ model, version, tally }) => ({
    model,
    version,
    counts: tally.latencies,
    sum: tally.succeededMs / 1000,
  }));
  return histogramText(histogram, series);
}
