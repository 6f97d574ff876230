// A network on the forward path: the finished model that is exported, and the activations that training shares with it.
import { AppError } from '@edgeloop/shared/errors';
import { type Dense, forward, paddedRows, relu, softmax } from './dense.ts';
import { type Scaling, scaleRow } from './scaling.ts';

/** A fully connected layer of a finished network; `weights` holds one row of `inputs` values per output. */
export interface NetworkLayer {
  inputs: number;
  outputs: number;
  weights: Float32Array;
  bias: Float32Array;
}

/** Scaling, then layers with ReLU between them, then softmax. Plain data: it can be copied between threads. */
export interface TrainedNetwork {
  featureCount: number;
  classCount: number;
  scaling: Scaling;
  layers: NetworkLayer[];
}

/** Inputs of the first layer and outputs of each layer, for up to `capacity` rows. */
export function createActivations(layers: readonly Dense[], capacity: number): Float64Array[] {
  const widths = [layers[0]?.inputs ?? 0, ...layers.map((layer) => layer.outputs)];
  return widths.map((width) => new Float64Array(paddedRows(capacity) * width));
}

/** Fills activations[1...] from activations[0]; the last one holds class scores that sum to 1 in each row. */
export function runLayers(layers: readonly Dense[], activations: readonly Float64Array[], rows: number): void {
  for (const [i, layer] of layers.entries()) {
    const [x, z] = [activations[i], activations[i + 1]];
    if (x === undefined || z === undefined) throw new RangeError(`layer ${i} has no activations`);
    forward(layer, x, z, rows);
    if (i < layers.length - 1) relu(z, rows * layer.outputs);
    else softmax(z, rows, layer.outputs);
  }
}

/** Rounds the layers to 32 bits, as they are exported. */
export function freezeLayers(layers: readonly Dense[]): NetworkLayer[] {
  return layers.map(({ inputs, outputs, weights, bias }) => ({
    inputs,
    outputs,
    weights: Float32Array.from(weights),
    bias: Float32Array.from(bias),
  }));
}

function thawLayers(layers: readonly NetworkLayer[]): Dense[] {
  return layers.map(({ inputs, outputs, weights, bias }) => ({
    inputs,
    outputs,
    weights: Float64Array.from(weights),
    bias: Float64Array.from(bias),
  }));
}

const chunkRows = 256;

/**
 * Class scores (rows x classes, row-major, each row sums to 1) of raw features (rows x features, row-major; NaN is
 * missing). Throws `invalid_request` when the rows are not whole.
 */
export function predict(network: TrainedNetwork, rows: Float32Array): Float32Array {
  const { featureCount, classCount, scaling } = network;
  if (rows.length % featureCount !== 0)
    throw new AppError('invalid_request', `${rows.length} values are not whole rows of ${featureCount} features`);
  return scoreRows({ layers: thawLayers(network.layers), scaling, classCount }, rows);
}

/** `predict` for layers that are still being trained. */
export function scoreRows(
  { layers, scaling, classCount }: { layers: readonly Dense[]; scaling: Scaling; classCount: number },
  rows: Float32Array,
): Float32Array {
  const count = rows.length / scaling.mean.length;
  const activations = createActivations(layers, chunkRows);
  const [target, output] = [activations[0], activations.at(-1)];
  const scores = new Float32Array(count * classCount);
  if (target === undefined || output === undefined) return scores;
  for (let start = 0; start < count; start += chunkRows) {
    const size = Math.min(chunkRows, count - start);
    for (let row = 0; row < size; row++) scaleRow(scaling, { rows, from: start + row }, { target, to: row });
    runLayers(layers, activations, size);
    scores.set(output.subarray(0, size * classCount), start * classCount);
  }
  return scores;
}

/** Index of the highest score of each row; the first of equals. */
export function predictedClasses(scores: Float32Array, classCount: number): Int32Array {
  const classes = new Int32Array(scores.length / classCount);
  for (let row = 0; row < classes.length; row++) {
    let best = 0;
    for (let i = 1; i < classCount; i++)
      if ((scores[row * classCount + i] ?? 0) > (scores[row * classCount + best] ?? 0)) best = i;
    classes[row] = best;
  }
  return classes;
}
