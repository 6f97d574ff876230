// A trained network as an ONNX graph with everything inside that lies between raw features and class scores, so that a
// device needs no code of ours to use it.
import { AppError } from '@edgeloop/shared/errors';
import { encodeModel, type OnnxNode, type OnnxTensor } from '@edgeloop/shared/onnx/encode';
import type { NetworkLayer, TrainedNetwork } from './network.ts';
import type { Scaling } from './scaling.ts';

export interface ExportNames {
  /** Names of the features in the order of the input's columns. */
  featureNames: readonly string[];
  /** Class names in the order of the scores. */
  labels: readonly string[];
  /** Name of the input tensor; `features` when unset. */
  inputName?: string;
  /** Name of the output tensor; `scores` when unset. */
  scores?: string;
}

/** Both are old enough for every ONNX Runtime since 1.11. */
const opset = 17;
const irVersion = 8;

/**
 * The bytes of an ONNX file: FP32 [-1, features] in, FP32 [-1, classes] out, each row of scores sums to 1. The same
 * network and names give the same bytes. Feature and class names are kept in the file's metadata as JSON.
 * Throws `invalid_request` when the names do not match the network.
 */
export function exportNetwork(network: TrainedNetwork, names: ExportNames): Uint8Array {
  const { featureCount, classCount, scaling, layers } = network;
  if (names.featureNames.length !== featureCount)
    throw new AppError('invalid_request', `featureNames has ${names.featureNames.length} of ${featureCount} names`);
  if (names.labels.length !== classCount)
    throw new AppError('invalid_request', `labels has ${names.labels.length} of ${classCount} names`);
  const { inputName = 'features', scores = 'scores' } = names;
  const parts = [scalingNodes(scaling, inputName), ...layers.map((layer, at) => layerNodes(layer, at, layers.length))];
  const logits = `layer${layers.length}.output`;
  const softmax = { opType: 'Softmax', inputs: [logits], outputs: [scores], attributes: [{ name: 'axis', int: -1 }] };
  return encodeModel({
    irVersion,
    opset,
    producer: { name: 'edgeloop', version: '1' },
    graph: {
      name: 'network',
      nodes: [...parts.flatMap((part) => part.nodes), softmax],
      initializers: parts.flatMap((part) => part.initializers),
      inputs: [{ name: inputName, type: 'float', dims: ['batch', featureCount] }],
      outputs: [{ name: scores, type: 'float', dims: ['batch', classCount] }],
    },
    metadata: { features: JSON.stringify(names.featureNames), labels: JSON.stringify(names.labels) },
  });
}

interface Part {
  nodes: OnnxNode[];
  initializers: OnnxTensor[];
}

/** Missing -> fill, the transform, (x - mean) * scale, clip; the result is called `layer0.output`. */
function scalingNodes({ transform, fill, mean, scale, clip }: Scaling, inputName: string): Part {
  const vector = (name: string, data: Float32Array): OnnxTensor => ({ name, dims: [data.length], data });
  const scalar = (name: string, value: number): OnnxTensor => ({ name, dims: [], data: Float32Array.of(value) });
  const log = transform === 'log1p';
  const logNodes = [
    { opType: 'Relu', inputs: ['scaling.filled'], outputs: ['scaling.positive'] },
    { opType: 'Add', inputs: ['scaling.positive', 'scaling.one'], outputs: ['scaling.shifted'] },
    { opType: 'Log', inputs: ['scaling.shifted'], outputs: ['scaling.transformed'] },
  ];
  const value = log ? 'scaling.transformed' : 'scaling.filled';
  return {
    nodes: [
      { opType: 'IsNaN', inputs: [inputName], outputs: ['scaling.missing'] },
      { opType: 'Where', inputs: ['scaling.missing', 'scaling.fill', inputName], outputs: ['scaling.filled'] },
      ...(log ? logNodes : []),
      { opType: 'Sub', inputs: [value, 'scaling.mean'], outputs: ['scaling.centred'] },
      { opType: 'Mul', inputs: ['scaling.centred', 'scaling.scale'], outputs: ['scaling.scaled'] },
      { opType: 'Clip', inputs: ['scaling.scaled', 'scaling.low', 'scaling.high'], outputs: ['layer0.output'] },
    ],
    initializers: [
      vector('scaling.fill', fill),
      ...(log ? [scalar('scaling.one', 1)] : []),
      vector('scaling.mean', mean),
      vector('scaling.scale', scale),
      scalar('scaling.low', -clip),
      scalar('scaling.high', clip),
    ],
  };
}

/** `layer<n>.output` from `layer<n-1>.output`, with n from 1; a ReLU follows every layer but the last. */
function layerNodes({ inputs, outputs, weights, bias }: NetworkLayer, at: number, count: number): Part {
  const name = `layer${at + 1}`;
  const last = at === count - 1;
  const sum = last ? `${name}.output` : `${name}.sum`;
  const gemm = {
    opType: 'Gemm',
    inputs: [`layer${at}.output`, `${name}.weights`, `${name}.bias`],
    outputs: [sum],
    attributes: [{ name: 'transB', int: 1 }],
  };
  return {
    nodes: last ? [gemm] : [gemm, { opType: 'Relu', inputs: [sum], outputs: [`${name}.output`] }],
    initializers: [
      { name: `${name}.weights`, dims: [outputs, inputs], data: weights },
      { name: `${name}.bias`, dims: [outputs], data: bias },
    ],
  };
}
