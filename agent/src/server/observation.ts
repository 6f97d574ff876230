// What every answered request leaves behind: a journal record, metrics, and the counts that the supervisor watches.

import { featureRows, rowsOf } from '@edgeloop/shared/meaning/interpretation';
import { type Predictions, predictionsOf } from '@edgeloop/shared/meaning/predictions';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { LoadedModel, ModelLease } from '../inference/engine.ts';
import type { InferenceResult } from '../inference/queueing/batcher.ts';
import type { JournalRecord } from '../telemetry/record.ts';
import { createFeatureBudget, type FeatureBudget, wantsFeatures } from '../telemetry/record-sampling.ts';
import { singleValue } from '../telemetry/summary/answer.ts';
import { summariesOf } from '../telemetry/summary/request.ts';
import { outcomeOf } from './errors.ts';
import { createSummaryBudget, type SummaryBudget } from './summary-budget.ts';

/** A feature without a value, by its row and its place among the names of all features. */
export interface MissingPlace {
  row: number;
  column: number;
}

interface Observation {
  lease: ModelLease;
  inferenceId: string;
  /** By a monotonic clock in milliseconds: the whole request read, and the answer ready. Between them lies the latency. */
  startedMs: number;
  endedMs: number;
  /** How long it took to read the tensors, and to write the answer. */
  spans?: { inputMs: number; outputMs: number };
  /** What was answered with a result, or why not. `byCaller`: it hung up, or its own deadline passed. */
  outcome:
    | {
        inputs: readonly NamedTensor[];
        result: InferenceResult;
        missing?: readonly MissingPlace[] | undefined;
        /** Of the picture before it was made to fit. */
        picture?: { width: number; height: number } | undefined;
      }
    | { error: unknown; byCaller?: 'cancelled' | 'expired' | undefined };
}

/** Sums of one model version since it was loaded, however often it was arranged otherwise meanwhile. */
interface Tally {
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
  /** Of models whose answers are kept: answered with one, and not; and how long it took to look and to keep. */
  cacheHits: number;
  cacheHitMs: number;
  cacheMisses: number;
  cacheMissMs: number;
  lastAtMs: number;
  /** Requests by how they ended: `ok`, `invalid`, or an error code. */
  outcomes: Map<JournalRecord['outcome'], number>;
  /** Successful requests by their latency: up to each of `latencyBoundsMs`, and above the last. */
  latencies: number[];
}

/** Upper bounds of the latency histogram. */
export const latencyBoundsMs = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const;

export interface Observer {
  /** Synchronous; nothing waits for telemetry. */
  observe(observation: Observation): void;
  tally(model: LoadedModel): Readonly<Tally>;
}

export interface ObserverOptions {
  /** Keeps the record; undefined when nobody reads it. */
  append: ((record: JournalRecord) => void) | undefined;
  /** Wall clock in milliseconds. */
  now(): number;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
}

/** How much is recorded of a model's requests beside what is counted of each. */
interface Budgets {
  features: FeatureBudget | undefined;
  summaries: SummaryBudget;
}

interface Known extends Budgets {
  tally: Tally;
}

/** An observer that has seen nothing. */
export function createObserver({ append, now, nowMs }: ObserverOptions): Observer {
  const known = new WeakMap<object, Known>();

  const knownOf = (model: LoadedModel): Known => {
    const found = known.get(model.counted);
    if (found) return found;
    const features = append && wantsFeatures(model.files.manifest) ? createFeatureBudget() : undefined;
    const created = { tally: emptyTally(), features, summaries: createSummaryBudget(nowMs) };
    known.set(model.counted, created);
    return created;
  };

  return {
    observe(observation) {
      const { lease, outcome } = observation;
      const budgets = knownOf(lease.model);
      const predictions = append && predictionsIn(observation);
      const ended: Ended = {
        at: now(),
        outcome: outcomeIn(outcome),
        rows: 'result' in outcome ? rowsIn(lease, outcome.inputs, predictions) : 0,
      };
      count(budgets.tally, observation, ended);
      append?.(recordOf(observation, ended, predictions, budgets));
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
    cacheHits: 0,
    cacheHitMs: 0,
    cacheMisses: 0,
    cacheMissMs: 0,
    lastAtMs: 0,
    outcomes: new Map(),
    latencies: new Array<number>(latencyBoundsMs.length + 1).fill(0),
  };
}

/** What is counted of every request, whether anyone keeps records or not. */
type Ended = Pick<JournalRecord, 'at' | 'outcome' | 'rows'>;

function outcomeIn(outcome: Observation['outcome']): JournalRecord['outcome'] {
  if ('result' in outcome) return 'ok';
  return outcome.byCaller === 'cancelled' ? 'invalid' : outcomeOf(outcome.error);
}

function predictionsIn({ lease, outcome }: Observation): Predictions | undefined {
  const { scores, featureInputs } = lease.model.interpretation;
  if (!('result' in outcome) || !scores) return undefined;
  return predictionsOf(scores, outcome.result.outputs, rowsOf(featureInputs, outcome.inputs));
}

function rowsIn({ model }: ModelLease, inputs: readonly NamedTensor[], predictions: Predictions | undefined): number {
  return predictions?.predicted.length ?? rowsOf(model.interpretation.featureInputs, inputs);
}

function recordOf(
  { lease, inferenceId, startedMs, endedMs, outcome }: Observation,
  { at, outcome: ending, rows }: Ended,
  predictions: Predictions | undefined,
  budgets: Budgets,
): JournalRecord {
  const record: JournalRecord = {
    inferenceId,
    model: lease.name,
    version: lease.version,
    at,
    outcome: ending,
    latencyMs: endedMs - startedMs,
    rows,
  };
  const { release, variant } = lease.model.files;
  if (release !== undefined) record.release = release;
  if (variant !== undefined) record.variant = variant;
  if ('error' in outcome) return record;
  const { queueMs, runRows, cache } = outcome.result;
  if (cache?.hit !== true) record.queueMs = Math.round(queueMs * 1000) / 1000;
  if (runRows > 0) record.batchRows = runRows;
  if (predictions) {
    record.predicted = predictions.predicted;
    if (predictions.scores) record.scores = predictions.scores;
  }
  const value = singleValue(lease.model.files.manifest, outcome.result.outputs, rows);
  if (value !== undefined) record.value = value;
  if (budgets.summaries.isLeft(endedMs)) budgets.summaries.spend(() => summarise(record, lease, outcome));
  const features = budgets.features && featureRows(lease.model.interpretation.featureInputs, outcome.inputs);
  if (features?.rows !== rows || !budgets.features?.take(rows, features.width, endedMs)) return record;
  for (const { row, column } of outcome.missing ?? []) features.values[row * features.width + column] = Number.NaN;
  record.features = features.values;
  return record;
}

function summarise(
  record: JournalRecord,
  { model }: ModelLease,
  { inputs, result, picture }: Extract<Observation['outcome'], { result: InferenceResult }>,
): void {
  const { interpretation, files } = model;
  const { outputs } = result;
  const { summaries, texts } = summariesOf(
    { interpretation, manifest: files.manifest },
    { inputs, outputs, rows: record.rows, picture },
  );
  record.summaries = summaries;
  if (Object.keys(texts).length > 0) record.texts = texts;
}

function countCached(tally: Tally, { hit, tookMs }: { hit: boolean; tookMs: number }): void {
  tally[hit ? 'cacheHits' : 'cacheMisses']++;
  tally[hit ? 'cacheHitMs' : 'cacheMissMs'] += tookMs;
}

function count(tally: Tally, { startedMs, endedMs, spans, outcome }: Observation, ended: Ended): void {
  const latencyMs = endedMs - startedMs;
  tally.lastAtMs = ended.at;
  tally.outcomes.set(ended.outcome, (tally.outcomes.get(ended.outcome) ?? 0) + 1);
  if ('result' in outcome) {
    const above = latencyBoundsMs.findIndex((boundMs) => latencyMs <= boundMs);
    const bucket = above < 0 ? latencyBoundsMs.length : above;
    tally.latencies[bucket] = (tally.latencies[bucket] ?? 0) + 1;
    tally.succeeded++;
    const { cache } = outcome.result;
    if (cache) countCached(tally, cache);
    // As in Triton: rows that the model did not see are none of its inferences.
    if (cache?.hit !== true) tally.rows += ended.rows;
    tally.succeededMs += latencyMs;
    tally.queueMs += outcome.result.queueMs;
    tally.runMs += outcome.result.runMs;
    tally.inputMs += spans?.inputMs ?? 0;
    tally.outputMs += spans?.outputMs ?? 0;
  } else if (outcome.byCaller !== undefined) {
    tally[outcome.byCaller]++;
  } else if (ended.outcome === 'invalid') {
    tally.invalid++;
  } else {
    tally.failed++;
    if (ended.outcome === 'unavailable') tally.rejected++;
    tally.failedMs += latencyMs;
  }
}
