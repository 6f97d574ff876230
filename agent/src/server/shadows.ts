// Runs versions in the shadow of what answers: on copies of some inputs, after the answer was made, in the shadow's own process.
// It is bounded: a few inputs wait, and so much processor time is taken; what finds no room is counted and nothing else.
import { AppError } from '@edgeloop/shared/errors';
import { featureRows, rowsOf } from '@edgeloop/shared/meaning/interpretation';
import { predictionsOf } from '@edgeloop/shared/meaning/predictions';
import { type NamedTensor, sizeBytes } from '@edgeloop/shared/tensor-data';
import type { BesideModel, LoadedModel, ModelLease } from '../inference/engine.ts';
import type { InferenceResult } from '../inference/queueing/batcher.ts';
import { orderInputs } from '../inference/queueing/input-order.ts';
import type { JournalRecord } from '../telemetry/record.ts';
import { wantsFeatures } from '../telemetry/record-sampling.ts';
import { agreementOf, type Said } from './agreement.ts';
import type { MissingPlace } from './observation.ts';
import { createProcessorBudget, type ProcessorBudget } from './processor-budget.ts';

interface Answered {
  lease: ModelLease;
  inferenceId: string;
  inputs: readonly NamedTensor[];
  missing: readonly MissingPlace[] | undefined;
  result: InferenceResult;
  /** By a monotonic clock in milliseconds. */
  endedMs: number;
}

export interface Shadows {
  /** Takes what was just answered, if there is room for it. Copies what it takes; nothing is waited for. */
  offer(beside: BesideModel, answered: Answered): void;
}

export interface ShadowsOptions {
  /** Keeps what was compared; undefined when nobody reads it. */
  append: ((record: JournalRecord) => void) | undefined;
  /** Wall clock in milliseconds. */
  now(): number;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
}

/** Inputs on their way to a shadow. */
const mostWaiting = 4;
/** Of the inputs of one answer, and of its outputs where those are compared. */
const mostBytes = 8 * 1024 * 1024;

interface Meter {
  budget: ProcessorBudget;
  waiting: number;
  /** Since the last record. */
  skipped: number;
  /** What its process had taken when it was last asked; undefined where the system does not tell. */
  spentMs: number | undefined;
}

export function createShadows({ append, now, nowMs }: ShadowsOptions): Shadows {
  const meters = new WeakMap<LoadedModel, Meter>();

  const meterOf = ({ model, processorShare, processorMs }: BesideModel): Meter => {
    const found = meters.get(model);
    if (found) return found;
    const budget = createProcessorBudget(processorShare);
    const meter = { budget, waiting: 0, skipped: 0, spentMs: processorMs() };
    meters.set(model, meter);
    return meter;
  };

  const run = async (beside: BesideModel, taken: Taken, meter: Meter): Promise<void> => {
    meter.waiting++;
    let runMs = 0;
    try {
      const { signature, batcher } = beside.model;
      const result = await batcher.submit(orderInputs(signature, taken.inputs));
      runMs = result.runMs;
      tell(meter, compared(beside, taken, result));
    } catch (error) {
      const outcome = error instanceof AppError ? error.code : 'internal';
      // That it was ended from outside, or has no room, is not its doing.
      if (outcome === 'unavailable') meter.skipped++;
      else tell(meter, { ...headOf(beside, taken), outcome });
    } finally {
      meter.waiting--;
      const spentMs = beside.processorMs();
      meter.budget.take(
        spentMs === undefined || meter.spentMs === undefined ? runMs : Math.max(0, spentMs - meter.spentMs),
      );
      meter.spentMs = spentMs;
    }
  };

  const tell = (meter: Meter, record: ShadowRecord): void => {
    const { skipped } = meter;
    meter.skipped = 0;
    append?.({ ...record, at: now(), shadow: { ...record.shadow, skipped } });
  };

  return {
    offer(beside, answered) {
      const meter = meterOf(beside);
      if (meter.waiting >= mostWaiting || !meter.budget.isLeft(answered.endedMs)) {
        meter.skipped++;
        return;
      }
      const beganMs = nowMs();
      const taken = takenOf(answered);
      meter.budget.take(nowMs() - beganMs);
      if (taken === undefined) meter.skipped++;
      else void run(beside, taken, meter);
    },
  };
}

/** All that is kept of an answer until the shadow has said its own. */
interface Taken {
  lease: Pick<ModelLease, 'version' | 'model'>;
  inferenceId: string;
  inputs: NamedTensor[];
  missing: readonly MissingPlace[];
  said: Said;
  rows: number;
  runMs: number;
}

type ShadowRecord = JournalRecord & { shadow: NonNullable<JournalRecord['shadow']> };

/** Undefined when it is too large to be kept. */
function takenOf({ lease, inferenceId, inputs, missing = [], result }: Answered): Taken | undefined {
  if (bytesOf(inputs) > mostBytes) return undefined;
  const { model, version } = lease;
  const rows = rowsOf(model.interpretation.featureInputs, inputs);
  const said = saidOf(model, result.outputs, rows);
  if (said.kind === 'tensors' && bytesOf(said.outputs) > mostBytes) return undefined;
  const kept: Said = said.kind === 'tensors' ? { kind: 'tensors', outputs: said.outputs.map(copyOf) } : said;
  return {
    lease: { version, model },
    inferenceId,
    inputs: inputs.map(copyOf),
    missing,
    said: kept,
    rows,
    runMs: result.runMs,
  };
}

function saidOf({ interpretation }: LoadedModel, outputs: readonly NamedTensor[], rows: number): Said {
  const { scores } = interpretation;
  const predictions = scores && predictionsOf(scores, outputs, rows);
  return predictions ? { kind: 'classes', predictions } : { kind: 'tensors', outputs };
}

function copyOf(tensor: NamedTensor): NamedTensor {
  return { ...tensor, data: tensor.data.slice() };
}

function bytesOf(tensors: readonly NamedTensor[]): number {
  return tensors.reduce((sum, tensor) => sum + sizeBytes(tensor), 0);
}

function headOf({ name, version, model }: BesideModel, { lease, inferenceId, rows, runMs }: Taken): ShadowRecord {
  const { release, variant } = model.files;
  const former = lease.model.files.release;
  return {
    ...{ inferenceId, model: name, version, at: 0, outcome: 'ok', latencyMs: 0, rows },
    ...(release === undefined ? {} : { release }),
    ...(variant === undefined ? {} : { variant }),
    shadow: {
      ...{ version: lease.version, compared: 0, agreed: 0, skipped: 0, formerMs: runMs },
      ...(former === undefined ? {} : { release: former }),
    },
  };
}

function compared(beside: BesideModel, taken: Taken, { outputs, runMs }: InferenceResult): ShadowRecord {
  const { said, lease, rows } = taken;
  const fresh = saidOf(beside.model, outputs, rows);
  const { rows: compared, agreed, differences } = agreementOf(said, fresh);
  const head = headOf(beside, taken);
  const record: ShadowRecord = { ...head, latencyMs: runMs, shadow: { ...head.shadow, compared, agreed, differences } };
  if (fresh.kind === 'classes') {
    record.predicted = fresh.predictions.predicted;
    if (fresh.predictions.scores) record.scores = fresh.predictions.scores;
  }
  if (said.kind === 'classes') {
    record.shadow.predicted = said.predictions.predicted;
    if (said.predictions.scores) record.shadow.scores = said.predictions.scores;
  }
  if (agreed === compared || rows !== 1 || !wantsFeatures(lease.model.files.manifest)) return record;
  // What they disagree about is worth a label.
  const features = featureRows(lease.model.interpretation.featureInputs, taken.inputs);
  if (features?.rows !== rows) return record;
  for (const { row, column } of taken.missing) features.values[row * features.width + column] = Number.NaN;
  record.features = features.values;
  return record;
}
