// What Prometheus reads from one agent.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Engine } from '../inference/engine.ts';
import type { Figures, VersionFigures } from '../process/figures.ts';
import type { LostCounts } from '../process/ipc.ts';
import type { DeviceFigures } from './device-figures.ts';
import { histogramText, mergedTexts } from './exposition.ts';
import { batchSizesText, registerInferenceMetrics } from './inference-metrics.ts';
import { latencyBoundsMs } from './observation.ts';

export interface ServingMetrics {
  /** The text exposition and its content type. */
  expose(): Promise<{ text: string; contentType: string }>;
  /** Those of this process itself, as text. */
  process(): Promise<string>;
}

/** Figures that are read when someone asks. */
export interface MetricSources {
  figures: Pick<DeviceFigures, 'withProcesses'>;
  /** Of this process, by which its own metrics are told from those of others; undefined where it is the only one. */
  place: number | undefined;
  engine: Pick<Engine, 'list'>;
  /** What stands in the way at this moment, in words. */
  problems(): readonly { what: string; words: string }[];
  /** What telemetry was given up, ever; none where there is no control plane. */
  lost(): LostCounts;
}

/** A registry of its own, and one with the metrics of this process. */
export function createMetrics(sources: MetricSources): ServingMetrics {
  const registry = new Registry();
  const registers = [registry];
  const ofProcess = new Registry();
  const { place } = sources;
  collectDefaultMetrics(
    place === undefined ? { register: ofProcess } : { register: ofProcess, labels: { process: place } },
  );
  // Gauges named as counters are; what they count is told by type.
  for (const kind of ['handles', 'requests', 'resources']) ofProcess.removeSingleMetric(`nodejs_active_${kind}_total`);
  /** As they were gathered for who asks. */
  let present: Figures = { versions: [], journal: { failedWrites: 0, lostRecords: 0, pendingRecords: 0 } };
  const versions = () => present.versions;
  new Counter({
    name: 'edgeloop_agent_requests_total',
    help: 'Inference requests answered, by outcome: ok, invalid (the caller), or an error code.',
    labelNames: ['model', 'version', 'outcome'] as const,
    registers,
    collect() {
      this.reset();
      for (const { model, version, tally } of versions()) {
        for (const [outcome, count] of Object.entries(tally.outcomes)) this.inc({ model, version, outcome }, count);
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
      for (const { model, version, depth } of versions()) this.set({ model, version }, depth);
    },
  });
  journalGauge('edgeloop_agent_journal_failed_writes', 'Writes to the telemetry journal that failed.', 'failedWrites');
  journalGauge('edgeloop_agent_journal_lost_records', 'Requests missing in telemetry for lack of disk.', 'lostRecords');
  journalGauge('edgeloop_agent_journal_pending_records', 'Answered requests that wait for the disk.', 'pendingRecords');
  new Counter({
    name: 'edgeloop_agent_telemetry_lost_total',
    help: 'What the control plane never gets: windows, requests in them, labels, captured samples, by why they were given up.',
    labelNames: ['kind', 'reason'] as const,
    registers,
    collect() {
      this.reset();
      for (const { count, ...of } of sources.lost()) this.inc(of, count);
    },
  });
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

  registerInferenceMetrics(registry, {
    figures: versions,
    stepsOf(model, version) {
      const found = sources.engine.list().find((each) => each.name === model && each.version === version);
      return found?.model.steps.map(({ name }) => name) ?? [];
    },
  });

  function journalGauge(name: string, help: string, field: keyof Figures['journal']): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(present.journal[field]);
      },
    });
  }

  return {
    async expose() {
      const { figures, processes } = await sources.figures.withProcesses();
      const own = await ofProcess.metrics();
      present = figures;
      const ofAll = processes.length === 0 ? own : mergedTexts([own, ...processes]);
      const sums = `${await registry.metrics()}${durationsText(figures.versions)}${batchSizesText(figures.versions)}`;
      return { text: `${ofAll}${sums}`, contentType: registry.contentType };
    },
    process: () => ofProcess.metrics(),
  };
}

function durationsText(figures: readonly VersionFigures[]): string {
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
