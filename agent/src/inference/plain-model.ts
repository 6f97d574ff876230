// Which models may run in the thread that answers HTTP: what a run does follows from the shapes of its inputs alone, so that
// runs that were measured tell of those to come. Nothing loops, nothing calls out of ONNX's own operators, and no
// value says how large something is to be.
import { AppError } from '@edgeloop/shared/app-error';
import type { GraphModel, GraphNode } from '@edgeloop/shared/onnx/graph';
import type { ModelSignature } from '@edgeloop/shared/tensors';

/** ONNX's own; whatever else is registered may do anything. */
const domains = new Set(['', 'ai.onnx.ml']);

const loops = ['If', 'Loop', 'Scan', 'SequenceMap'];
/** Their outputs are as large as a value of an input says, or hold as much as meets a condition. */
const sizedByValues = [
  ...['ConstantOfShape', 'Range', 'Expand', 'Tile', 'Resize', 'Upsample', 'Pad', 'OneHot', 'CenterCropPad', 'Col2Im'],
  ...[
    'NonZero',
    'Compress',
    'Unique',
    'NonMaxSuppression',
    'MaxUnpool',
    'AffineGrid',
    'SplitToSequence',
    'ImageDecoder',
  ],
  ...['HannWindow', 'HammingWindow', 'BlackmanWindow', 'MelWeightMatrix', 'DFT', 'STFT', 'StringSplit'],
];
const left = new Set([...loops, ...sizedByValues]);

/** Whether the HTTP thread may run it as far as its graph goes; never where that cannot be read. */
export function isPlain(model: GraphModel | AppError, { inputs }: ModelSignature): boolean {
  const shaped = inputs.every(({ datatype, shape }) => datatype !== 'BYTES' && !shape.slice(1).includes(-1));
  if (!shaped || model instanceof AppError) return false;
  const { graph, functions } = model;
  // What has a graph inside is among those that are left out, and a function may stand in the place of any operator.
  return functions.length === 0 && graph.nodes.every(isPlainOperator);
}

function isPlainOperator({ domain, opType }: GraphNode): boolean {
  return domains.has(domain) && !left.has(opType);
}
