// The truth for an earlier prediction: matched here, on disk before its caller is told so, then on its way with the
// other telemetry. Calls that come while others are being settled are settled together after them, with one fold and one
// commit for all: however slow the disk is, there is never more than one batch behind the present one.
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { LabelledPrediction } from '@edgeloop/shared/telemetry';
import type { Reader } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import { isStorageRefusal } from '../storage/refusal.ts';
import type { Journal } from './journal.ts';
import { addOutcomes, type Labelled } from './labelled.ts';
import type { Outbox } from './outbox.ts';
import type { Predictions } from './predictions.ts';
import type { Samples } from './samples.ts';
import type { ManifestOf } from './window.ts';

export interface FeedbackOptions {
  database: DeviceDatabase;
  journal: Pick<Journal, 'keepNow'>;
  predictions: Predictions;
  samples: Pick<Samples, 'setLabel'>;
  outbox: Pick<Outbox, 'addLabels'>;
  manifestOf: ManifestOf;
  /** New items are in the outbox. */
  onAdded(): void;
}

/**
 * @throws AppError `not_found` for an unknown id, `invalid_request` for an unknown label, `insufficient_storage` when the disk
 * does not take it
 */
export type Feedback = (inferenceId: string, label: string) => Promise<void>;

interface Call {
  inferenceId: string;
  label: string;
  resolve(): void;
  reject(error: unknown): void;
}

const gatherMs = 4;
const labelsNamed = 20;

export function createFeedback(options: FeedbackOptions): Feedback {
  const calls: Call[] = [];
  let settling = false;

  async function settleAll(): Promise<void> {
    settling = true;
    while (calls.length > 0) await settle(calls.splice(0));
    settling = false;
  }

  async function settle(batch: readonly Call[]): Promise<void> {
    try {
      if (!batch.every(({ inferenceId }) => isKnown(inferenceId))) await options.journal.keepNow();
      const outcomes = options.database.transaction((transaction) => record(transaction, batch), {
        behavior: 'immediate',
      });
      for (const [at, call] of batch.entries()) {
        const refusal = outcomes[at];
        if (refusal === undefined) call.resolve();
        else call.reject(refusal);
      }
      options.onAdded();
    } catch (error) {
      const reason = isStorageRefusal(error) ? notKept(error) : error;
      for (const call of batch) call.reject(reason);
    }
  }

  function isKnown(inferenceId: string): boolean {
    return options.predictions.find(options.database, inferenceId) !== undefined;
  }

  function record(transaction: Reader, batch: readonly Call[]): (AppError | undefined)[] {
    const labels: LabelledPrediction[] = [];
    const settled: Labelled[] = [];
    const outcomes = batch.map(({ inferenceId, label }) => {
      const result = judge(transaction, inferenceId, label);
      if (result instanceof AppError) return result;
      if (result === undefined) return undefined;
      options.predictions.setLabel(transaction, inferenceId, label);
      const { model, version, release = null, predicted, predictedAt: at } = result;
      options.samples.setLabel(transaction, { inferenceId, at }, label);
      const numeric = isRegression(model, version, release);
      settled.push({ ...{ model, version, release, predicted, label, numeric } });
      // Values are no classes: what they are off by goes with the windows.
      if (!numeric) labels.push(result);
      return undefined;
    });
    addOutcomes(transaction, settled);
    if (labels.length > 0) options.outbox.addLabels(transaction, labels);
    return outcomes;
  }

  /** What to store, nothing when it is stored already, or why not. */
  function judge(reader: Reader, inferenceId: string, label: string): LabelledPrediction | AppError | undefined {
    const known = options.predictions.find(reader, inferenceId);
    if (known === undefined)
      return new AppError('not_found', `no prediction with id "${inferenceId}" is known here, or it is too old`);
    const { model, version, release, predicted, at } = known;
    if (predicted === null)
      return new AppError(
        'invalid_request',
        `prediction "${inferenceId}" of ${model} ${version} has no single class or value to compare a label with`,
      );
    if (isRegression(model, version, release)) {
      const message = `label "${label}" is no number; ${model} ${version} answers with a value`;
      if (label.trim() === '' || !Number.isFinite(Number(label)))
        return new AppError('invalid_request', message, { errors: [{ field: 'label', message }] });
    }
    const labels = classesOf(model, version, release);
    if (labels !== undefined && !labels.includes(label)) {
      const message = `unknown label "${label}"; ${model} ${version} knows ${namesOf(labels)}`;
      return new AppError('invalid_request', message, { errors: [{ field: 'label', message }] });
    }
    if (known.label === label) return undefined;
    const about = { inferenceId, model, version, ...(release === null ? {} : { release }) };
    return { ...about, predictedAt: at, predicted, label, labelledAt: Date.now() };
  }

  function isRegression(model: string, version: number, release: string | null): boolean {
    return options.manifestOf(model, version, release ?? undefined)?.task === 'regression';
  }

  /** Those of a regression are names of its values. */
  function classesOf(model: string, version: number, release: string | null): readonly string[] | undefined {
    if (isRegression(model, version, release)) return undefined;
    return options.manifestOf(model, version, release ?? undefined)?.outputs.labels;
  }

  return (inferenceId, label) =>
    new Promise<void>((resolve, reject) => {
      calls.push({ inferenceId, label, resolve, reject });
      if (!settling && calls.length === 1) setTimeout(() => void settleAll(), gatherMs);
    });
}

function notKept(cause: Error): AppError {
  const message = `the label cannot be kept, the disk does not take it (${messageOf(cause)}); free some room and send it again`;
  return new AppError('insufficient_storage', message, { cause, retryAfterSeconds: 10 });
}

function namesOf(labels: readonly string[]): string {
  const shown = labels.slice(0, labelsNamed).map((label) => `"${label}"`);
  return labels.length > labelsNamed ? `${shown.join(', ')} and ${labels.length - labelsNamed} more` : shown.join(', ');
}
