// The part of ONNX's protobuf schema that we write, as a protobufjs descriptor. Names and field numbers are
// those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), names in camel case.
import protobuf from 'protobufjs/light.js';

const field = (id: number, type: string) => ({ id, type });
const list = (id: number, type: string) => ({ id, type, rule: 'repeated' as const });
const packed = (id: number, type: string) => ({ id, type, rule: 'repeated' as const, options: { packed: true } });

const tensorMessage = {
  TensorProto: {
    fields: {
      dims: packed(1, 'int64'),
      dataType: field(2, 'int32'),
      name: field(8, 'string'),
      rawData: field(9, 'bytes'),
    },
  },
};

const typeMessages = {
  TypeProto: { fields: { tensorType: field(1, 'TensorTypeProto') } },
  TensorTypeProto: { fields: { elemType: field(1, 'int32'), shape: field(2, 'TensorShapeProto') } },
  TensorShapeProto: { fields: { dim: list(1, 'DimensionProto') } },
  DimensionProto: { fields: { dimValue: field(1, 'int64'), dimParam: field(2, 'string') } },
  ValueInfoProto: { fields: { name: field(1, 'string'), type: field(2, 'TypeProto') } },
  OperatorSetIdProto: { fields: { domain: field(1, 'string'), version: field(2, 'int64') } },
  StringStringEntryProto: { fields: { key: field(1, 'string'), value: field(2, 'string') } },
};

const graphMessages = {
  AttributeProto: {
    fields: {
      name: field(1, 'string'),
      f: field(2, 'float'),
      i: field(3, 'int64'),
      s: field(4, 'bytes'),
      t: field(5, 'TensorProto'),
      g: field(6, 'GraphProto'),
      floats: packed(7, 'float'),
      ints: packed(8, 'int64'),
      strings: list(9, 'bytes'),
      type: field(20, 'int32'),
    },
  },
  NodeProto: {
    fields: {
      input: list(1, 'string'),
      output: list(2, 'string'),
      name: field(3, 'string'),
      opType: field(4, 'string'),
      attribute: list(5, 'AttributeProto'),
      domain: field(7, 'string'),
    },
  },
  GraphProto: {
    fields: {
      node: list(1, 'NodeProto'),
      name: field(2, 'string'),
      initializer: list(5, 'TensorProto'),
      input: list(11, 'ValueInfoProto'),
      output: list(12, 'ValueInfoProto'),
    },
  },
};

const modelMessage = {
  ModelProto: {
    fields: {
      irVersion: field(1, 'int64'),
      producerName: field(2, 'string'),
      producerVersion: field(3, 'string'),
      graph: field(7, 'GraphProto'),
      opsetImport: list(8, 'OperatorSetIdProto'),
      metadataProps: list(14, 'StringStringEntryProto'),
    },
  },
};

/** The whole file. */
export const ModelProto = protobuf.Root.fromJSON({
  nested: { ...typeMessages, ...tensorMessage, ...graphMessages, ...modelMessage },
}).lookupType('ModelProto');
