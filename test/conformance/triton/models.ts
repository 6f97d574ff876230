// The models that the examples of NVIDIA's client ask for by name, as Triton's own example repository has them.

import { dataTypes } from '@edgeloop/shared/onnx/data-types';
import type { OnnxNode } from '@edgeloop/shared/onnx/encode';
import { type ElementType, encodeGraph } from '../../support/onnx-models.ts';
import { writeModel } from '../../support/serving.ts';

interface GraphParts {
  inputs: readonly string[];
  outputs: readonly string[];
  type: ElementType;
  dims: readonly (number | string)[];
  nodes: readonly OnnxNode[];
}

function model({ inputs, outputs, type, dims, nodes }: GraphParts): Uint8Array {
  const values = (names: readonly string[]) => names.map((name) => ({ name, type, dims }));
  return encodeGraph({ inputs: values(inputs), outputs: values(outputs), nodes });
}

/** INPUT0 + INPUT1 and INPUT0 - INPUT1. */
function sumAndDifference(type: 'int32' | 'int8'): Uint8Array {
  return model({
    inputs: ['INPUT0', 'INPUT1'],
    outputs: ['OUTPUT0', 'OUTPUT1'],
    type,
    dims: ['batch', 16],
    nodes: [
      { opType: 'Add', inputs: ['INPUT0', 'INPUT1'], outputs: ['OUTPUT0'] },
      { opType: 'Sub', inputs: ['INPUT0', 'INPUT1'], outputs: ['OUTPUT1'] },
    ],
  });
}

const cast = (input: string, output: string, type: ElementType): OnnxNode => ({
  opType: 'Cast',
  inputs: [input],
  outputs: [output],
  attributes: [{ name: 'to', int: dataTypes[type] }],
});

/** The same with numbers written as strings. */
function strings(): Uint8Array {
  return model({
    inputs: ['INPUT0', 'INPUT1'],
    outputs: ['OUTPUT0', 'OUTPUT1'],
    type: 'string',
    dims: ['batch', 16],
    nodes: [
      cast('INPUT0', 'a', 'int32'),
      cast('INPUT1', 'b', 'int32'),
      { opType: 'Add', inputs: ['a', 'b'], outputs: ['sum'] },
      { opType: 'Sub', inputs: ['a', 'b'], outputs: ['difference'] },
      cast('sum', 'OUTPUT0', 'string'),
      cast('difference', 'OUTPUT1', 'string'),
    ],
  });
}

function identity(type: ElementType): Uint8Array {
  return model({
    inputs: ['INPUT0'],
    outputs: ['OUTPUT0'],
    type,
    dims: ['batch', 16],
    nodes: [{ opType: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] }],
  });
}

/** Mean of each colour of an image as scores of three classes. */
function colours(): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'image', type: 'float', dims: [1, 3, 32, 32] }],
    outputs: [{ name: 'scores', type: 'float', dims: [1, 3] }],
    nodes: [
      { opType: 'GlobalAveragePool', inputs: ['image'], outputs: ['means'] },
      { opType: 'Flatten', inputs: ['means'], outputs: ['flat'] },
      { opType: 'Softmax', inputs: ['flat'], outputs: ['scores'] },
    ],
  });
}

/** INPUT, and one more at the beginning of a sequence, which a state knows: it is 1 there and 0 from then on. */
function startOfSequence(): Uint8Array {
  const one = (name: string) => ({ name, type: 'int32', dims: ['batch', 1] }) as const;
  return encodeGraph({
    inputs: [one('INPUT'), one('isFirst')],
    outputs: [one('OUTPUT'), one('isNext')],
    nodes: [
      { opType: 'Add', inputs: ['INPUT', 'isFirst'], outputs: ['OUTPUT'] },
      { opType: 'Sub', inputs: ['isFirst', 'isFirst'], outputs: ['isNext'] },
    ],
  });
}

/** Writes seven models, which is how many the model control example over HTTP counts. */
export async function writeExampleModels(folder: string): Promise<void> {
  await writeModel(folder, 'simple', sumAndDifference('int32'));
  await writeModel(folder, 'simple_int8', sumAndDifference('int8'));
  await writeModel(folder, 'simple_string', strings());
  await writeModel(folder, 'simple_identity', identity('string'));
  await writeModel(folder, 'identity_fp16', identity('float16'));
  await writeModel(folder, 'identity_uint64', identity('uint64'));
  await writeModel(folder, 'colours', colours(), {
    manifest: { task: 'classification', outputs: { labels: ['red', 'green', 'blue'], scores: 'scores' } },
  });
}

/** The eighth, which the example over gRPC counts, too. */
export async function writeSequenceModel(folder: string): Promise<void> {
  await writeModel(folder, 'simple_sequence', startOfSequence(), {
    manifest: { inputs: { isFirst: { state: 'isNext', value: 1 } } },
  });
}
