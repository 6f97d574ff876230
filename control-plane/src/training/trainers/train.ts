// The built-in trainers: softmax regression is a perceptron without hidden layers, so one loop trains both. Minibatches
// of a seeded order, Adam, and the weights of the epoch with the best validation loss. Same inputs, same bytes.
import { AppError } from '@edgeloop/shared/errors';
import type { Dense } from './dense.ts';
import { createEpoch } from './epoch.ts';
import { freezeLayers, predictedClasses, scoreRows, type TrainedNetwork } from './network.ts';
import type { TrainerSpec } from './parameters.ts';
import { createRandom } from './random.ts';
import { fitScaling, type Scaling } from './scaling.ts';

/** `rows`: rows x features, row-major, NaN is missing. `labels`: a class index per row. */
interface LabelledRows {
  rows: Float32Array;
  labels: Int32Array;
}

/** One measurement of the run: `step` is the epoch, from 1. */
export interface TrainingStep {
  step: number;
  name: 'train_loss' | 'validation_loss' | 'validation_accuracy';
  value: number;
}

export type TrainInput = TrainerSpec &
  LabelledRows & {
    featureCount: number;
    classCount: number;
    /** Decides when to stop and which epoch is kept; without it all epochs run and the last is kept. */
    validation?: LabelledRows;
    /** Any integer; its lower 32 bits count. */
    seed: number;
    onStep?: (step: TrainingStep) => void;
    /** Asked between batches; true ends the run without a network. */
    shouldStop?: () => boolean;
  };

export type TrainResult =
  | { outcome: 'trained'; network: TrainedNetwork; epochs: number; bestEpoch: number }
  | { outcome: 'stopped'; epochs: number };

/**
 * Trains a network. It gives way to other work of the process between batches, so messages and timers go on.
 * Throws `invalid_request` when the data does not fit the counts, or when the loss grows without bound.
 */
export async function train(input: TrainInput): Promise<TrainResult> {
  checkRows(input, input, 'rows');
  if (input.validation !== undefined) checkRows(input.validation, input, 'validation');
  const { parameters, featureCount, classCount } = input;
  const scaling = fitScaling(input.rows, featureCount, parameters);
  const random = createRandom(input.seed);
  const layers = createLayers(input, scaling, random);
  const runEpoch = createEpoch({ ...input, layers, scaling, random });
  let best = { loss: Number.POSITIVE_INFINITY, epoch: 0, layers: freezeLayers(layers) };
  let epoch = 0;
  while (epoch < parameters.epochs) {
    const trainLoss = await runEpoch();
    if (trainLoss === 'stopped') return { outcome: 'stopped', epochs: epoch };
    epoch += 1;
    if (!Number.isFinite(trainLoss))
      throw new AppError('invalid_request', `training diverged in epoch ${epoch}: lower parameters.learningRate`);
    input.onStep?.({ step: epoch, name: 'train_loss', value: trainLoss });
    const loss = validate(input, { layers, scaling, epoch }) ?? trainLoss;
    if (loss < best.loss || input.validation === undefined) best = { loss, epoch, layers: freezeLayers(layers) };
    else if (parameters.patience > 0 && epoch - best.epoch >= parameters.patience) break;
  }
  const network = { featureCount, classCount, scaling, layers: best.layers };
  return { outcome: 'trained', network, epochs: epoch, bestEpoch: best.epoch };
}

function checkRows({ rows, labels }: LabelledRows, { featureCount, classCount }: TrainInput, field: string): void {
  const fail = (message: string) => {
    throw new AppError('invalid_request', message, { errors: [{ field, message }] });
  };
  if (featureCount < 1 || classCount < 2) fail(`training needs a feature and two classes at least`);
  if (labels.length === 0) fail(`${field} is empty: training needs labelled samples`);
  if (rows.length !== labels.length * featureCount)
    fail(`${field} has ${rows.length} values for ${labels.length} labels of ${featureCount} features each`);
  const wrong = labels.findIndex((label) => label < 0 || label >= classCount);
  if (wrong !== -1) fail(`${field}: label ${labels[wrong]} of row ${wrong} is not one of ${classCount} classes`);
}

/** He's uniform initialisation for layers behind a ReLU; the last layer starts at 0, that is with equal scores. */
function createLayers(
  { kind, parameters, featureCount, classCount }: TrainInput,
  scaling: Scaling,
  random: () => number,
) {
  const hidden = kind === 'mlp' && 'hidden' in parameters ? parameters.hidden : [];
  const widths = [featureCount, ...hidden, classCount];
  return widths.slice(1).map((outputs, at): Dense => {
    const inputs = widths[at] ?? 0;
    const limit = at === hidden.length ? 0 : Math.sqrt(6 / inputs);
    const weights = new Float64Array(outputs * inputs).map(() => (random() * 2 - 1) * limit);
    if (at === 0) for (const i of weights.keys()) if (scaling.constant[i % inputs] === 1) weights[i] = 0;
    return { inputs, outputs, weights, bias: new Float64Array(outputs) };
  });
}

/** Reports and returns the mean cross-entropy on the validation rows; undefined when there are none. */
function validate(
  { validation, classCount, onStep }: TrainInput,
  { layers, scaling, epoch }: { layers: readonly Dense[]; scaling: Scaling; epoch: number },
): number | undefined {
  if (validation === undefined) return undefined;
  const { rows, labels } = validation;
  const scores = scoreRows({ layers, scaling, classCount }, rows);
  const classes = predictedClasses(scores, classCount);
  let loss = 0;
  let right = 0;
  for (const [row, label] of labels.entries()) {
    loss -= Math.log(Math.max(scores[row * classCount + label] ?? 0, 1e-12));
    if (classes[row] === label) right += 1;
  }
  onStep?.({ step: epoch, name: 'validation_loss', value: loss / labels.length });
  onStep?.({ step: epoch, name: 'validation_accuracy', value: right / labels.length });
  return loss / labels.length;
}
