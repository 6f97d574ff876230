// Which operators are looked at, by domain, and for the frequent ones that are not, why. What is in no list keeps requests from
// sharing runs: it may do anything.
import type { Operator } from './operator-call.ts';
import { alongOne, best, cumulated, layerNorm, meanVariance, reduced, softmax } from './operators/along.ts';
import {
  classifier,
  encodedCategory,
  extracted,
  featureVector,
  looked,
  mappedScores,
  prepared,
  regressor,
} from './operators/classical.ts';
import {
  cast,
  castLike,
  chosen,
  compared,
  divided,
  dropout,
  joint,
  same,
  truthOf,
  unary,
} from './operators/elementwise.ts';
import { constantNode, constantOfShape, expand, oneHot, range, shapeOf, sizeOf, tile } from './operators/making.ts';
import { einsum, gemm, matMul } from './operators/matrices.ts';
import {
  batchNorm,
  convolvedDims,
  depthToSpace,
  perRow,
  pooledDims,
  pooledToOne,
  resize,
  sameDims,
  spaceToDepth,
  unknownDims,
} from './operators/pictures.ts';
import {
  integerConv,
  integerProduct,
  quantisedConv,
  quantisedPair,
  quantisedProduct,
  rescaled,
} from './operators/quantised.ts';
import { recurrent } from './operators/recurrent.ts';
import { flatten, reshape, squeeze, transpose, unsqueeze } from './operators/regrouping.ts';
import { concat, elementsAlong, gather, gatherNd, pad, slice, split, topK, trilu } from './operators/selecting.ts';

/** Versions of the operator sets that the lists were made for; others may mean other things by the same names. */
export const versionsKnown: ReadonlyMap<string, readonly [least: number, most: number]> = new Map([
  ['', [7, 26]],
  ['ai.onnx.ml', [1, 5]],
  ['com.microsoft', [1, 1]],
]);

function all(names: string, operator: Operator): [string, Operator][] {
  return names.split(/\s+/).map((name) => [name, operator]);
}

const onnx = new Map<string, Operator>([
  ...all(
    'Abs Neg Ceil Floor Round Sign Sqrt Reciprocal Exp Log Erf Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh',
    unary(),
  ),
  ...all(
    'Acosh Atanh Tanh Sigmoid Relu LeakyRelu ThresholdedRelu Elu Selu Celu HardSigmoid HardSwish Softplus',
    unary(),
  ),
  ...all('Softsign Mish Gelu Swish Shrink Not BitwiseNot', unary()),
  ...all('Identity', same()),
  ...all('Dropout', dropout),
  ...all('Cast', cast),
  ...all('CastLike', castLike),
  ...all('IsNaN IsInf', truthOf),
  ...all('Add Sub Mul Pow Min Max Mean Sum Clip PRelu And Or Xor BitwiseAnd BitwiseOr BitwiseXor BitShift', joint()),
  ...all('Div Mod', divided),
  ...all('Equal Less Greater LessOrEqual GreaterOrEqual', compared),
  ...all('Where', chosen),
  ...all('Reshape', reshape),
  ...all('Flatten', flatten),
  ...all('Squeeze', squeeze),
  ...all('Unsqueeze', unsqueeze),
  ...all('Transpose', transpose),
  ...all('Shape', shapeOf),
  ...all('Size', sizeOf),
  ...all('Constant', constantNode),
  ...all('ConstantOfShape', constantOfShape),
  ...all('Range', range),
  ...all('Expand', expand),
  ...all('Tile', tile),
  ...all('OneHot', oneHot),
  ...all('Gather', gather),
  ...all('GatherElements ScatterElements', elementsAlong),
  ...all('GatherND', gatherNd),
  ...all('Concat', concat),
  ...all('Split', split),
  ...all('Slice', slice),
  ...all('Pad', pad),
  ...all('TopK', topK),
  ...all('Trilu', trilu),
  ...all('Softmax LogSoftmax Hardmax', softmax),
  ...all('LpNormalization', alongOne(-1)),
  ...all('LayerNormalization SimplifiedLayerNormalization RMSNormalization', layerNorm),
  ...all('MeanVarianceNormalization', meanVariance),
  ...all('CumSum', cumulated),
  ...all('ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp', reduced),
  ...all('ReduceSumSquare', reduced),
  ...all('ArgMax ArgMin', best),
  ...all('MatMul', matMul),
  ...all('Gemm', gemm),
  ...all('Einsum', einsum),
  ...all('Conv', perRow(convolvedDims(1))),
  ...all('ConvTranspose LpPool', perRow(unknownDims)),
  ...all('MaxPool AveragePool', perRow(pooledDims)),
  ...all('GlobalAveragePool GlobalMaxPool GlobalLpPool', perRow(pooledToOne)),
  ...all('InstanceNormalization GroupNormalization LRN', perRow(sameDims)),
  ...all('BatchNormalization', batchNorm),
  ...all('DepthToSpace', perRow(depthToSpace)),
  ...all('SpaceToDepth', perRow(spaceToDepth)),
  ...all('Resize Upsample', resize),
  ...all('LSTM GRU RNN', recurrent),
  ...all('QuantizeLinear DequantizeLinear', rescaled),
  ...all('QLinearConv', quantisedConv),
  ...all('ConvInteger', integerConv),
  ...all('QLinearMatMul', quantisedProduct),
  ...all('MatMulInteger', integerProduct),
]);

const classical = new Map<string, Operator>([
  ...all('TreeEnsembleClassifier LinearClassifier SVMClassifier', classifier),
  ...all('TreeEnsembleRegressor TreeEnsemble LinearRegressor SVMRegressor', regressor),
  ...all('Scaler Normalizer Imputer', prepared),
  ...all('Binarizer', unary()),
  ...all('LabelEncoder CategoryMapper', looked),
  ...all('OneHotEncoder', encodedCategory),
  ...all('ArrayFeatureExtractor', extracted),
  ...all('FeatureVectorizer', featureVector),
  ...all('ZipMap', mappedScores),
]);

const microsoft = new Map<string, Operator>([
  ...all('Gelu FastGelu BiasGelu QuickGelu', unary()),
  ...all('FusedConv', perRow(convolvedDims(1))),
  ...all('QuantizeLinear DequantizeLinear', rescaled),
  ...all('QLinearAdd QLinearMul', quantisedPair),
  ...all('QLinearSigmoid QLinearLeakyRelu', unary()),
]);

const operators = new Map([
  ['', onnx],
  ['ai.onnx.ml', classical],
  ['com.microsoft', microsoft],
]);

export function operatorOf(domain: string, opType: string): Operator | undefined {
  return operators.get(domain)?.get(opType);
}

const others: readonly [string, string][] = [
  ['If Loop Scan SequenceMap', 'what it does is decided while it runs'],
  ['DynamicQuantizeLinear DynamicQuantizeMatMul DynamicQuantizeLSTM', 'its scale is that of all rows together'],
  ['NonZero Unique Compress NonMaxSuppression', 'how much it gives depends on the values of all rows'],
  ['RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial', 'it draws at random'],
  ['Det Inverse EyeLike', 'it takes the rows for a matrix'],
];
const reasons = new Map(others.flatMap(([names, reason]) => names.split(' ').map((name) => [name, reason])));

/** Why an operator that is not looked at keeps requests apart. */
export function reasonAgainst(domain: string, opType: string): string {
  const name = domain === '' ? opType : `${domain}:${opType}`;
  return reasons.get(opType) ?? `"${name}" is not among the operators of which it is known that they keep rows apart`;
}
