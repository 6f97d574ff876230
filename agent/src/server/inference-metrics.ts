// Prometheus metrics of inference in Triton's spirit, per model and version. They are the sums that are kept anyway, read
// when someone asks, so that a request pays nothing for them.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { VersionFigures } from '../process/figures.ts';
import { histogramText } from './exposition.ts';

const labelNames = ['model', 'version'];
const prefix = 'edgeloop_inference_';

const counters: [name: string, help: string, read: (figures: VersionFigures) => number][] = [
  ['request_success_total', 'Requests answered with a result.', ({ tally }) => tally.succeeded],
  ['count_total', 'Rows inferred.', ({ tally }) => tally.rows],
  ['exec_count_total', 'Runs of the model; a batch is one.', ({ runs }) => runs.executionCount],
  [
    'request_duration_seconds_total',
    'From the whole request read to the answer ready, of successful requests.',
    ({ tally }) => tally.succeededMs / 1000,
  ],
  ['queue_duration_seconds_total', 'Waiting for a worker.', ({ tally }) => tally.queueMs / 1000],
  ['compute_input_duration_seconds_total', 'Reading tensors out of requests.', ({ tally }) => tally.inputMs / 1000],
  ['compute_infer_duration_seconds_total', 'Running the model.', ({ tally }) => tally.runMs / 1000],
  ['compute_output_duration_seconds_total', 'Writing answers.', ({ tally }) => tally.outputMs / 1000],
  ['cache_hit_total', 'Requests answered with what was kept.', ({ tally }) => tally.cacheHits],
  ['cache_miss_total', 'Requests of models whose answers are kept that had to run.', ({ tally }) => tally.cacheMisses],
];

type StepFigures = VersionFigures['runs']['steps'][number];

const stepCounters: [name: string, help: string, read: (step: StepFigures) => number][] = [
  ['success_total', 'Runs of a step of a pipeline.', ({ success }) => success.count],
  ['failure_total', 'Runs of a step of a pipeline that failed.', ({ fail }) => fail.count],
  [
    'duration_seconds_total',
    'Running a step of a pipeline, those that failed among them.',
    ({ success, fail }) => (success.ns + fail.ns) / 1e9,
  ],
  ['cut_total', 'Runs of a step of a pipeline that had more than it may give.', ({ cut }) => cut],
];

export interface InferenceFigures {
  /** Asked at every scrape. */
  figures(): readonly VersionFigures[];
  /** The names of the steps of a pipeline, in their order. */
  stepsOf(model: string, version: number): readonly string[];
}

/** Registers the metrics. */
export function registerInferenceMetrics(registry: Registry, { figures, stepsOf }: InferenceFigures): void {
  const registers = [registry];
  for (const [name, help, read] of stepCounters) {
    new Counter({
      name: `${prefix}step_${name}`,
      help,
      labelNames: [...labelNames, 'step'],
      registers,
      collect() {
        this.reset();
        for (const { model, version, runs } of figures()) {
          if (runs.steps.length === 0) continue;
          const names = stepsOf(model, version);
          for (const [at, step] of runs.steps.entries())
            this.inc({ model, version, step: names[at] ?? String(at) }, read(step));
        }
      },
    });
  }
  for (const [name, help, read] of counters) {
    new Counter({
      name: prefix + name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const each of figures()) this.inc({ model: each.model, version: each.version }, read(each));
      },
    });
  }
  new Counter({
    name: `${prefix}request_failure_total`,
    help: 'Requests without a result, by reason: REJECTED (too busy), CANCELED (by the caller), TIMEOUT, INVALID, BACKEND.',
    labelNames: [...labelNames, 'reason'],
    registers,
    collect() {
      this.reset();
      for (const each of figures()) {
        const { model, version } = each;
        for (const [reason, count] of failuresOf(each)) this.inc({ model, version, reason }, count);
      }
    },
  });
  new Gauge({
    name: `${prefix}pending_requests`,
    help: 'Requests waiting for a worker.',
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const { model, version, depth } of figures()) this.set({ model, version }, depth);
    },
  });
}

function failuresOf({ tally }: VersionFigures): [reason: string, count: number][] {
  return [
    ['REJECTED', tally.rejected],
    ['CANCELED', tally.cancelled],
    ['TIMEOUT', tally.expired],
    ['INVALID', tally.invalid],
    ['BACKEND', tally.failed - tally.rejected],
  ];
}

const batchSizes = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** The histogram of batch sizes, as text. */
export function batchSizesText(figures: readonly VersionFigures[]): string {
  const histogram = { name: `${prefix}batch_size`, help: 'Rows in a run of the model.', bounds: batchSizes };
  const series = figures.map(({ model, version, runs }) => {
    const counts = new Array<number>(batchSizes.length + 1).fill(0);
    let rows = 0;
    for (const [size, { infer }] of Object.entries(runs.batches)) {
      const place = batchSizes.findIndex((bound) => Number(size) <= bound);
      const bucket = place < 0 ? batchSizes.length : place;
      counts[bucket] = (counts[bucket] ?? 0) + infer.count;
      rows += Number(size) * infer.count;
    }
    return { model, version, counts, sum: rows };
  });
  return histogramText(histogram, series);
}
