// What an ONNX Runtime session says of its inputs and outputs, in the terms of the Open Inference Protocol.
import { AppError } from '@edgeloop/shared/errors';
import type { Datatype, TensorSpec } from '@edgeloop/shared/tensors';
import type { InferenceSession, Tensor } from 'onnxruntime-node';

const datatypesOfOrt: Partial<Record<Tensor.Type, Datatype>> = {
  float32: 'FP32',
  float64: 'FP64',
  float16: 'FP16',
  bool: 'BOOL',
  string: 'BYTES',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
};

/** Free dimensions become -1. Throws `model_rejected` for what cannot be served. */
export function tensorSpec(role: 'input' | 'output', metadata: InferenceSession.ValueMetadata): TensorSpec {
  const { name } = metadata;
  if (!metadata.isTensor) {
    throw new AppError('model_rejected', `${role} "${name}" is not a tensor; only tensors can be served`);
  }
  const datatype = datatypesOfOrt[metadata.type];
  if (datatype === undefined) {
    throw new AppError('model_rejected', `${role} "${name}" has type ${metadata.type}, which cannot be served`);
  }
  return { name, datatype, shape: metadata.shape.map((dim) => (typeof dim === 'number' ? dim : -1)) };
}
