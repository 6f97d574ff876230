// Classifiers as converters of scikit-learn and LightGBM write them, and files that leave types unsaid. Used by tests only.
import protobuf from 'protobufjs/light.js';
import { dataTypes } from './data-types.ts';
import { encodeModel, type OnnxNode } from './encode.ts';

/** Class names as operators of `ai.onnx.ml` hold them. */
type MlClasses = readonly string[] | readonly number[];

/**
 * As converters of scikit-learn and LightGBM write classifiers: `x` [n, features] -> `label` [n], and `probabilities` [n, classes].
 * `weights` has a row per class. With `zipMap` the second output is a list of maps by class instead, `declared` or not.
 */
export function mlClassifier(
  weights: readonly (readonly number[])[],
  classes: MlClasses,
  { zipMap = false, declared = true, onlyMl = false }: { zipMap?: boolean; declared?: boolean; onlyMl?: boolean } = {},
): Uint8Array {
  const texts = classes.filter((each) => typeof each === 'string');
  const isText = texts.length > 0;
  const ints = classes.filter((each) => typeof each === 'number');
  const names = (key: string) => (isText ? { name: 'classlabels_strings', texts } : { name: key, ints });
  const scores = zipMap ? 'scores' : 'probabilities';
  const nodes: OnnxNode[] = [
    {
      opType: 'LinearClassifier',
      domain: 'ai.onnx.ml',
      inputs: ['x'],
      outputs: ['label', scores],
      attributes: [
        names('classlabels_ints'),
        { name: 'coefficients', floats: weights.flat() },
        { name: 'intercepts', floats: weights.map(() => 0) },
        { name: 'multi_class', int: 0 },
        { name: 'post_transform', text: 'SOFTMAX' },
      ],
    },
  ];
  if (zipMap) {
    const attributes = [names('classlabels_int64s')];
    nodes.push({ opType: 'ZipMap', domain: 'ai.onnx.ml', inputs: [scores], outputs: ['probabilities'], attributes });
  }
  const bytes = encodeModel({
    irVersion: 8,
    opset: 17,
    domains: { 'ai.onnx.ml': 1 },
    producer: { name: 'test', version: '1' },
    graph: {
      name: 'graph',
      nodes,
      inputs: [{ name: 'x', type: 'float', dims: ['n', weights[0]?.length ?? 1] }],
      outputs: [
        { name: 'label', type: isText ? 'string' : 'int64', dims: ['n'] },
        { name: 'probabilities', type: 'float', dims: ['n', classes.length] },
      ],
    },
  });
  const retyped = zipMap ? withType(bytes, 'probabilities', declared ? listOfMaps(isText) : undefined) : bytes;
  return onlyMl ? withoutDefaultOperators(retyped) : retyped;
}

/** `TypeProto`: a sequence of maps from text or int64 to float. */
function listOfMaps(isText: boolean): Uint8Array {
  const element = [10, 2, 8, dataTypes.float];
  const map = [8, isText ? dataTypes.string : dataTypes.int64, 18, element.length, ...element];
  const sequence = [10, map.length + 2, 42, map.length, ...map];
  return Uint8Array.from([34, sequence.length, ...sequence]);
}

/** The file with another type for one output, or none. */
export function withType(bytes: Uint8Array, output: string, type: Uint8Array | undefined): Uint8Array {
  const name = new TextEncoder().encode(output);
  const value = [10, name.length, ...name, ...(type ? [18, type.length, ...type] : [])];
  return edited(bytes, 7, (graph) =>
    edited(graph, 12, (found) => (new TextDecoder().decode(found).includes(output) ? Uint8Array.from(value) : found)),
  );
}

function withoutDefaultOperators(bytes: Uint8Array): Uint8Array {
  return edited(bytes, 8, (found) => (new TextDecoder().decode(found).includes('ai.onnx.ml') ? found : undefined));
}

/** Each message field `id` as `change` makes it, or without it. */
function edited(bytes: Uint8Array, id: number, change: (field: Uint8Array) => Uint8Array | undefined): Uint8Array {
  const writer = protobuf.Writer.create();
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < bytes.length) {
    const tag = reader.uint32();
    if (tag % 8 !== 2) {
      writer.uint32(tag).int64(Number(reader.int64()));
      continue;
    }
    const field = reader.bytes();
    const changed = tag === id * 8 + 2 ? change(field) : field;
    if (changed) writer.uint32(tag).bytes(changed);
  }
  return writer.finish();
}

/** `TypeProto`: a sequence of tensors of floats. */
export const sequenceOfFloats = Uint8Array.from([34, 6, 10, 4, 10, 2, 8, dataTypes.float]);
