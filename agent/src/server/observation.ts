// What every answered request leaves behind: a journal record, metrics, and the counts that the supervisor watches.
import type { InferenceResult } from '../inference/batcher.ts';
import type { LoadedModel, ModelLease } from '../inference/engine.ts';
import { featureRows, predictionsOf, rowsOf } from '../inference/interpretation.ts';
import type { NamedTensor } from '../inference/tensors.ts';
import type { JournalRecord } from '../telemetry/record.ts';
import { createFeatureBudget, type FeatureBudget, wantsFeatures } from '../telemetry/record-sampling.ts';
import { outcomeOf } from './errors.ts';
import type { ServingMetrics } from './metrics.ts';

interface Observation {
  lease: ModelLease;
  inferenceId: string;
  /** From the whole request read to the answer ready. */
  latencyMs: number;
  /** How long it took to read the tensors, and to write the answer. */
  spans?: { inputMs: number; outputMs: number };
  /** What was answered with a result, or why not. `byCaller`: it hung up, or its own deadline passed. */
  outcome:
    | { inputs: readonly NamedTensor[]; result: InferenceResult }
    | { error: unknown; byCaller?: 'cancelled' | 'expired' | undefined };
}

/** Sums of one model version since it was loaded. */
export interface Tally {
  succeeded: number;
  /** By the agent or the model; what callers did wrong is `invalid`. */
  failed: number;
  invalid: number;
  /** The caller hung up. */
  cancelled: number;
  /** The caller's own deadline passed. */
  expired: number;
  /** Of the failed ones: turned away, since too much was waiting. */
  rejected: number;
  rows: number;
  succeededMs: number;
  failedMs: number;
  queueMs: number;
  runMs: number;
  /** Reading tensors out of requests, and writing answers. */
  inputMs: number;
  outputMs: number;
  lastAtMs: number;
}

export interface Observer {
  /** Synchronous; nothing waits for telemetry. */
  observe(observation: Observation): void;
  tally(model: LoadedModel): Readonly<Tally>;
}

export interface ObserverOptions {
  /** Keeps the record; undefined when nobody reads it. */
  append: ((record: JournalRecord) => void) | undefined;
  metrics: ServingMetrics;
  /** Wall clock and monotonic clock in milliseconds. */
  now(): number;
  nowMs(): number;
}

/** An observer that has seen nothing. */
export function createObserver({ append, metrics, now, nowMs }: ObserverOptions): Observer {
  const known = new WeakMap<LoadedModel, { tally: Tally; budget: FeatureBudget | undefined }>();

  const knownOf = (model: LoadedModel): { tally: Tally; budget: FeatureBudget | undefined } => {
    const found = known.get(model);
    if (found) return found;
    const budget = append && wantsFeatures(model.files.manifest) ? createFeatureBudget(nowMs) : undefined;
    const created = { tally: emptyTally(), budget };
    known.set(model, created);
    return created;
  };

  return {
    observe(observation) {
      const { lease, latencyMs } = observation;
      const { tally, budget } = knownOf(lease.model);
      const record = recordOf(observation, now(), budget);
      count(tally, observation, record);
      metrics.requestEnded({ model: lease.name, version: lease.version, outcome: record.outcome, latencyMs });
      append?.(record);
    },
    tally: (model) => knownOf(model).tally,
  };
}

function emptyTally(): Tally {
  return {
    succeeded: 0,
    failed: 0,
    invalid: 0,
    cancelled: 0,
    expired: 0,
    rejected: 0,
    rows: 0,
    succeededMs: 0,
    failedMs: 0,
    queueMs: 0,
    runMs: 0,
    inputMs: 0,
    outputMs: 0,
    lastAtMs: 0,
  };
}

function recordOf(
  { lease, inferenceId, latencyMs, outcome }: Observation,
  at: number,
  budget?: FeatureBudget,
): JournalRecord {
  const request = { inferenceId, model: lease.name, version: lease.version, at, latencyMs };
  if ('error' in outcome) {
    const kind = outcome.byCaller === 'cancelled' ? 'invalid' : outcomeOf(outcome.error);
    return { ...request, outcome: kind, rows: 0 };
  }
  const { featureInputs, scores } = lease.model.interpretation;
  const predictions = predictionsOf(scores, outcome.result.outputs);
  const rows = predictions?.predicted.length ?? rowsOf(featureInputs, outcome.inputs);
  const features = budget && featureRows(featureInputs, outcome.inputs);
  const recorded = features?.rows === rows && budget?.take(rows, features.width);
  return {
    ...request,
    outcome: 'ok',
    rows,
    ...predictions,
    ...(recorded ? { features: features.values } : {}),
  };
}

function count(tally: Tally, { latencyMs, spans, outcome }: Observation, record: JournalRecord): void {
  tally.lastAtMs = record.at;
  if ('result' in outcome) {
    tally.succeeded++;
    tally.rows += record.rows;
    tally.succeededMs += latencyMs;
    tally.queueMs += outcome.result.queueMs;
    tally.runMs += outcome.result.runMs;
    tally.inputMs += spans?.inputMs ?? 0;
    tally.outputMs += spans?.outputMs ?? 0;
  } else if (outcome.byCaller !== undefined) {
    tally[outcome.byCaller]++;
  } else if (record.outcome === 'invalid') {
    tally.invalid++;
  } else {
    tally.failed++;
    if (record.outcome === 'unavailable') tally.rejected++;
    tally.failedMs += latencyMs;
  }
}
