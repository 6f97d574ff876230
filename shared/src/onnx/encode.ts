// Writes ONNX files. The types below are the few shapes that our trainers need; the same model always gives the same
// bytes, because protobufjs writes fields in the order of their numbers.
import { AppError } from '../errors.ts';
import { attributeTypes, dataTypes } from './data-types.ts';
import { ModelProto } from './schema.ts';

/** A constant of the graph. An empty `dims` is a scalar. */
export interface OnnxTensor {
  name: string;
  dims: readonly number[];
  data: OnnxNumbers;
}

type OnnxNumbers = Float32Array | Float64Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

/** An operator's setting: integers, floats (32 bit), texts, a tensor or a subgraph. */
type OnnxAttribute =
  | { name: string; int: number }
  | { name: string; ints: readonly number[] }
  | { name: string; float: number }
  | { name: string; floats: readonly number[] }
  | { name: string; text: string }
  | { name: string; texts: readonly string[] }
  | { name: string; tensor: OnnxTensor }
  | { name: string; graph: OnnxGraph };

export interface OnnxNode {
  opType: string;
  /** The default operator set when unset. */
  domain?: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes?: readonly OnnxAttribute[];
}

/** An input or output of the graph; a dimension is a size or the name of a free one. */
interface OnnxValue {
  name: string;
  type: keyof typeof dataTypes;
  dims: readonly (number | string)[];
}

export interface OnnxGraph {
  name: string;
  nodes: readonly OnnxNode[];
  initializers?: readonly OnnxTensor[];
  inputs: readonly OnnxValue[];
  outputs: readonly OnnxValue[];
}

export interface OnnxModel {
  irVersion: number;
  opset: number;
  /** Versions of further operator sets, by domain. */
  domains?: Readonly<Record<string, number>>;
  producer: { name: string; version: string };
  graph: OnnxGraph;
  /** Free-form text kept in the file's `metadata_props`. */
  metadata?: Readonly<Record<string, string>>;
}

/** The bytes of an `.onnx` file. Throws `internal` when the model cannot be written, which is a mistake of the caller. */
export function encodeModel(model: OnnxModel): Uint8Array {
  const message = {
    irVersion: model.irVersion,
    producerName: model.producer.name,
    producerVersion: model.producer.version,
    graph: graphMessage(model.graph),
    opsetImport: Object.entries({ '': model.opset, ...model.domains }).map(([domain, version]) => ({
      domain,
      version,
    })),
    metadataProps: Object.entries(model.metadata ?? {}).map(([key, value]) => ({ key, value })),
  };
  const problem = ModelProto.verify(message);
  if (problem !== null) throw new AppError('internal', `the ONNX model cannot be written: ${problem}`);
  return ModelProto.encode(message).finish();
}

function graphMessage(graph: OnnxGraph): Record<string, unknown> {
  return {
    name: graph.name,
    node: graph.nodes.map(nodeMessage),
    initializer: (graph.initializers ?? []).map(tensorMessage),
    input: graph.inputs.map(valueMessage),
    output: graph.outputs.map(valueMessage),
  };
}

function nodeMessage(node: OnnxNode): Record<string, unknown> {
  return {
    opType: node.opType,
    ...(node.domain === undefined ? {} : { domain: node.domain }),
    name: node.outputs[0] ?? node.opType,
    input: node.inputs,
    output: node.outputs,
    attribute: (node.attributes ?? []).map(attributeMessage),
  };
}

function attributeMessage(attribute: OnnxAttribute): Record<string, unknown> {
  const { name } = attribute;
  if ('int' in attribute) return { name, type: attributeTypes.int, i: attribute.int };
  if ('ints' in attribute) return { name, type: attributeTypes.ints, ints: attribute.ints };
  if ('float' in attribute) return { name, type: attributeTypes.float, f: attribute.float };
  if ('floats' in attribute) return { name, type: attributeTypes.floats, floats: attribute.floats };
  if ('text' in attribute) return { name, type: attributeTypes.text, s: Buffer.from(attribute.text) };
  if ('texts' in attribute) {
    return { name, type: attributeTypes.texts, strings: attribute.texts.map((each) => Buffer.from(each)) };
  }
  if ('tensor' in attribute) return { name, type: attributeTypes.tensor, t: tensorMessage(attribute.tensor) };
  return { name, type: attributeTypes.graph, g: graphMessage(attribute.graph) };
}

function tensorMessage({ name, dims, data }: OnnxTensor): Record<string, unknown> {
  const size = dims.reduce((product, dim) => product * dim, 1);
  if (size !== data.length)
    throw new AppError('internal', `tensor ${name} has ${data.length} values, but its shape [${dims}] holds ${size}`);
  return { name, dims, dataType: dataTypeOf(data), rawData: littleEndianBytes(data) };
}

function dataTypeOf(data: OnnxNumbers): number {
  if (data instanceof Float32Array) return dataTypes.float;
  if (data instanceof Float64Array) return dataTypes.double;
  if (data instanceof BigInt64Array) return dataTypes.int64;
  if (data instanceof Int32Array) return dataTypes.int32;
  return data instanceof Int8Array ? dataTypes.int8 : dataTypes.uint8;
}

function littleEndianBytes(data: OnnxNumbers): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(data.byteLength));
  const size = data.BYTES_PER_ELEMENT;
  for (const [i, value] of data.entries()) {
    if (typeof value === 'bigint') bytes.setBigInt64(i * size, value, true);
    else if (data instanceof Float32Array) bytes.setFloat32(i * size, value, true);
    else if (data instanceof Float64Array) bytes.setFloat64(i * size, value, true);
    else if (data instanceof Int32Array) bytes.setInt32(i * size, value, true);
    else bytes.setUint8(i, value & 0xff);
  }
  return new Uint8Array(bytes.buffer);
}

function valueMessage({ name, type, dims }: OnnxValue): Record<string, unknown> {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: dataTypes[type], shape: { dim } } } };
}
