// What a model takes and gives, from what ONNX Runtime says of a session and what the file says of its classes.
import { AppError } from '../app-error.ts';
import type { FileClasses } from '../onnx/class-names.ts';
import type { Datatype, ModelSignature, TensorSpec } from '../tensors.ts';

/** An input or output as ONNX Runtime's JavaScript binding describes it. */
export type ValueMetadata =
  | { readonly name: string; readonly isTensor: false }
  | {
      readonly name: string;
      readonly isTensor: true;
      readonly type: string;
      readonly shape: readonly (number | string)[];
    };

export interface SessionMetadata {
  readonly inputMetadata: readonly ValueMetadata[];
  readonly outputMetadata: readonly ValueMetadata[];
}

/** What is known of the file apart from ONNX Runtime. */
export interface FileFacts {
  classes: FileClasses;
  opset: number | undefined;
}

const datatypesOfOrt = new Map<string, Datatype>([
  ['float32', 'FP32'],
  ['float64', 'FP64'],
  ['float16', 'FP16'],
  ['bool', 'BOOL'],
  ['string', 'BYTES'],
  ['uint8', 'UINT8'],
  ['uint16', 'UINT16'],
  ['uint32', 'UINT32'],
  ['uint64', 'UINT64'],
  ['int8', 'INT8'],
  ['int16', 'INT16'],
  ['int32', 'INT32'],
  ['int64', 'INT64'],
]);

export type LeftOut = NonNullable<ModelSignature['leftOut']>[number];

/** Why an input or output cannot be served; undefined when it can. */
export function unservable(metadata: ValueMetadata): string | undefined {
  if (!metadata.isTensor) return 'is not a tensor; only tensors can be served';
  return datatypesOfOrt.has(metadata.type) ? undefined : `has type ${metadata.type}, which cannot be served`;
}

/**
 * Free dimensions become -1. `leftOut`: outputs of the file that the session has no more. Throws `model_rejected` for inputs
 * that cannot be served, and when no output can.
 */
export function signatureOf(
  { inputMetadata, outputMetadata }: SessionMetadata,
  { classes, opset }: FileFacts,
  leftOut: readonly LeftOut[],
): ModelSignature {
  const missing = [...leftOut];
  const outputs = outputMetadata.flatMap((metadata) => {
    const spec = tensorSpec(metadata);
    if (typeof spec !== 'string') return [spec];
    missing.push({ name: metadata.name, reason: spec });
    return [];
  });
  const [lost] = missing;
  if (outputs.length === 0 && lost) throw rejected('output', lost.name, lost.reason);
  const inputs = inputMetadata.map((metadata) => {
    const spec = tensorSpec(metadata);
    if (typeof spec === 'string') throw rejected('input', metadata.name, spec);
    return spec;
  });
  const { names, label } = classes;
  return {
    inputs,
    outputs,
    ...(opset === undefined ? {} : { opset }),
    ...(missing.length === 0 ? {} : { leftOut: missing }),
    ...(names === undefined ? {} : { classNames: names }),
    ...(label === undefined ? {} : { labelOutput: label }),
  };
}

/** A string says why it cannot be served. */
function tensorSpec(metadata: ValueMetadata): TensorSpec | string {
  const datatype = metadata.isTensor ? datatypesOfOrt.get(metadata.type) : undefined;
  if (!metadata.isTensor || !datatype) return unservable(metadata) ?? 'cannot be served';
  return { name: metadata.name, datatype, shape: metadata.shape.map((dim) => (typeof dim === 'number' ? dim : -1)) };
}

function rejected(role: 'input' | 'output', name: string, reason: string): AppError {
  return new AppError('model_rejected', `${role} "${name}" ${reason}`);
}
