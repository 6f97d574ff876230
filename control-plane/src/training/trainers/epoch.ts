// One pass over the training rows in minibatches: forward, loss, backward, one step of Adam for each batch. All buffers
// are made once and reused.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createAdam } from './adam.ts';
import { backwardThroughRelu, type Dense, gradients } from './dense.ts';
import { createActivations, runLayers } from './network.ts';
import type { MlpParameters, SoftmaxParameters } from './parameters.ts';
import { shuffle } from './random.ts';
import { type Scaling, scaleRow } from './scaling.ts';

interface EpochInput {
  rows: Float32Array;
  labels: Int32Array;
  classCount: number;
  parameters: SoftmaxParameters | MlpParameters;
  layers: readonly Dense[];
  scaling: Scaling;
  random: () => number;
  shouldStop?: () => boolean;
}

/** Batches between two turns of the event loop. */
const batchesPerTurn = 16;

/** Returns the function that trains `layers` in place for one epoch and gives the mean loss of its rows. */
export function createEpoch(input: EpochInput): () => Promise<number | 'stopped'> {
  const { labels, parameters, layers, random, shouldStop } = input;
  const order = Uint32Array.from(labels.keys());
  const batchSize = Math.min(parameters.batchSize, order.length);
  const trainBatch = createBatch(input, batchSize);
  return async () => {
    shuffle(order, random);
    let loss = 0;
    for (let start = 0, batch = 1; start < order.length; start += batchSize, batch++) {
      if (shouldStop?.() === true) return 'stopped';
      loss += trainBatch(order.subarray(start, start + batchSize));
      if (batch % batchesPerTurn === 0) await nextTurn();
    }
    await nextTurn();
    return layers.every((layer) => layer.bias.every(Number.isFinite)) ? loss / order.length : Number.NaN;
  };
}

/** Returns the function that takes one step along the gradient of the given rows and gives the sum of their losses. */
function createBatch({ rows, labels, classCount, parameters, layers, scaling }: EpochInput, batchSize: number) {
  const activations = createActivations(layers, batchSize);
  const deltas = activations.slice(1).map((values) => new Float64Array(values.length));
  const slopes = layers.map(emptyLike);
  const weights = classWeights(labels, classCount, parameters.classWeights);
  const step = createAdam(optimised(layers, slopes, parameters.l2), parameters.learningRate);
  const [first, scores, lastDelta] = [activations[0], activations.at(-1), deltas.at(-1)];
  if (first === undefined || scores === undefined || lastDelta === undefined)
    throw new RangeError('a network needs at least one layer');
  return (batch: Uint32Array): number => {
    for (const [to, from] of batch.entries()) scaleRow(scaling, { rows, from }, { target: first, to });
    runLayers(layers, activations, batch.length);
    let loss = 0;
    for (const [row, from] of batch.entries()) {
      const label = labels[from] ?? 0;
      const weight = weights[label] ?? 1;
      const at = row * classCount;
      loss -= weight * Math.log(Math.max(scores[at + label] ?? 0, 1e-12));
      for (let i = 0; i < classCount; i++)
        lastDelta[at + i] = (((scores[at + i] ?? 0) - (i === label ? 1 : 0)) * weight) / batch.length;
    }
    backward({ layers, slopes, activations, deltas }, batch.length);
    step();
    return loss;
  };
}

interface Backward {
  layers: readonly Dense[];
  slopes: readonly Dense[];
  activations: readonly Float64Array[];
  deltas: readonly Float64Array[];
}

function backward({ layers, slopes, activations, deltas }: Backward, rows: number): void {
  for (let at = layers.length - 1; at >= 0; at--) {
    const [layer, slope, x, delta] = [layers[at], slopes[at], activations[at], deltas[at]];
    if (layer === undefined || slope === undefined || x === undefined || delta === undefined) return;
    gradients(slope, x, delta, rows);
    const target = deltas[at - 1];
    if (target !== undefined) backwardThroughRelu(layer, { delta, x, target }, rows);
  }
}

function emptyLike({ inputs, outputs }: Dense): Dense {
  return { inputs, outputs, weights: new Float64Array(outputs * inputs), bias: new Float64Array(outputs) };
}

function optimised(layers: readonly Dense[], slopes: readonly Dense[], l2: number) {
  return layers.flatMap((layer, at) => {
    const slope = slopes[at] ?? emptyLike(layer);
    return [
      { values: layer.weights, gradient: slope.weights, decay: l2 },
      { values: layer.bias, gradient: slope.bias, decay: 0 },
    ];
  });
}

/** A factor per class; `balanced` is rows / (classes present * rows of the class), so the mean over rows is 1. */
function classWeights(labels: Int32Array, classCount: number, mode: 'none' | 'balanced'): Float64Array {
  const counts = new Float64Array(classCount);
  for (const label of labels) counts[label] = (counts[label] ?? 0) + 1;
  const present = counts.filter((count) => count > 0).length;
  return counts.map((count) => (mode === 'none' || count === 0 ? 1 : labels.length / (present * count)));
}
