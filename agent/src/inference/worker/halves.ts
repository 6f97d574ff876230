// Tensors of FP16. From Node 24 on, which has Float16Array, the JavaScript part of ONNX Runtime 1.30 makes one of the bits
// that it is given, and its native part then reads nothing: "not enough space: expected 4, got 0".
import { Tensor } from 'onnxruntime-node';

const isTurnedIntoFloats = 'Float16Array' in globalThis;

/** Halves by their bits, which are not copied. */
export function halfTensor(bits: Uint16Array, shape: readonly number[]): Tensor {
  if (!isTurnedIntoFloats) return new Tensor('float16', bits, shape);
  // The native part wants the bits; only the name tells them from integers.
  return Object.defineProperty(new Tensor('uint16', bits, shape), 'type', { value: 'float16' });
}
