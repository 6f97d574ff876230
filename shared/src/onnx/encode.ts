// Writes ONNX files. The types below are the few shapes that our trainers need; the same model always gives the same
// bytes, because protobufjs writes fields in the order of their numbers.
import { AppError } from '../errors.ts';
import { attributeTypes, dataTypes, ModelProto } from './schema.ts';

/** A constant of the graph. An empty `dims` is a scalar. */
export interface OnnxTensor {
  name: string;
  dims: readonly number[];
  data: Float32Array | BigInt64Array;
}

/** An operator's setting: an integer, a float (32 bit), a tensor or a subgraph. */
type OnnxAttribute =
  | { name: string; int: number }
  | { name: string; float: number }
  | { name: string; tensor: OnnxTensor }
  | { name: string; graph: OnnxGraph };

export interface OnnxNode {
  opType: string;
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
    opsetImport: [{ domain: '', version: model.opset }],
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
    name: node.outputs[0] ?? node.opType,
    input: node.inputs,
    output: node.outputs,
    attribute: (node.attributes ?? []).map(attributeMessage),
  };
}

function attributeMessage(attribute: OnnxAttribute): Record<string, unknown> {
  const { name } = attribute;
  if ('int' in attribute) return { name, type: attributeTypes.int, i: attribute.int };
  if ('float' in attribute) return { name, type: attributeTypes.float, f: attribute.float };
  if ('tensor' in attribute) return { name, type: attributeTypes.tensor, t: tensorMessage(attribute.tensor) };
  return { name, type: attributeTypes.graph, g: graphMessage(attribute.graph) };
}

function tensorMessage({ name, dims, data }: OnnxTensor): Record<string, unknown> {
  const size = dims.reduce((product, dim) => product * dim, 1);
  if (size !== data.length)
    throw new AppError('internal', `tensor ${name} has ${data.length} values, but its shape [${dims}] holds ${size}`);
  const dataType = data instanceof Float32Array ? dataTypes.float : dataTypes.int64;
  return { name, dims, dataType, rawData: littleEndianBytes(data) };
}

function littleEndianBytes(data: Float32Array | BigInt64Array): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(data.byteLength));
  if (data instanceof Float32Array) for (const [i, value] of data.entries()) bytes.setFloat32(i * 4, value, true);
  else for (const [i, value] of data.entries()) bytes.setBigInt64(i * 8, value, true);
  return new Uint8Array(bytes.buffer);
}

function valueMessage({ name, type, dims }: OnnxValue): Record<string, unknown> {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: dataTypes[type], shape: { dim } } } };
}
