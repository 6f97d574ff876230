// Tensors between the steps of a pipeline and ONNX Runtime; no data is copied.
import { AppError } from '@edgeloop/shared/errors';
import type { NamedTensor, TensorData } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { Tensor } from 'onnxruntime-node';
import { halfTensor } from './json-tensors.ts';

/** Throws `internal` when there is no such tensor. */
export function fromOrt({ name, datatype }: TensorSpec, tensor: Tensor | undefined): NamedTensor {
  if (tensor === undefined) throw new AppError('internal', `ONNX Runtime gave no output "${name}"`);
  let data: TensorData = tensor.data;
  // From Node 24 on, halves come as Float16Array, whose bits are below.
  if (datatype === 'FP16' && !Array.isArray(data)) data = new Uint16Array(data.buffer, data.byteOffset, data.length);
  return { name, datatype, shape: tensor.dims, data };
}

export function toOrt({ datatype, shape, data }: NamedTensor): Tensor {
  if (Array.isArray(data)) return new Tensor('string', data, shape);
  if (data instanceof Float32Array) return new Tensor('float32', data, shape);
  if (data instanceof Float64Array) return new Tensor('float64', data, shape);
  if (data instanceof Uint8Array) return new Tensor(datatype === 'BOOL' ? 'bool' : 'uint8', data, shape);
  if (data instanceof Uint16Array)
    return datatype === 'FP16' ? halfTensor(data, shape) : new Tensor('uint16', data, shape);
  if (data instanceof Uint32Array) return new Tensor('uint32', data, shape);
  if (data instanceof BigUint64Array) return new Tensor('uint64', data, shape);
  if (data instanceof Int8Array) return new Tensor('int8', data, shape);
  if (data instanceof Int16Array) return new Tensor('int16', data, shape);
  if (data instanceof Int32Array) return new Tensor('int32', data, shape);
  return new Tensor('int64', data, shape);
}
