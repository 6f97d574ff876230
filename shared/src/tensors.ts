// Tensors in the JSON form of the Open Inference Protocol (REST, "Tensor Data").
import { z } from 'zod';

export const datatypes = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'FP32',
  'FP64',
  'BYTES',
] as const;
export const Datatype = z.enum(datatypes);
export type Datatype = z.infer<typeof Datatype>;

export const Shape = z.array(z.number().int().min(0)).max(32);

/** Row-major, flat data. 64-bit integers beyond 2^53 are written as strings of digits. Non-finite floats are the strings "NaN", "Infinity", "-Infinity". */
export const JsonTensor = z.object({
  datatype: Datatype,
  shape: Shape,
  data: z.array(z.union([z.number(), z.boolean(), z.string()])),
});
export type JsonTensor = z.infer<typeof JsonTensor>;

/** What a model takes or gives: -1 is a free dimension. */
export const TensorSpec = z.object({ name: z.string(), datatype: Datatype, shape: z.array(z.number().int().min(-1)) });
export type TensorSpec = z.infer<typeof TensorSpec>;

export const ModelSignature = z.object({
  inputs: z.array(TensorSpec),
  outputs: z.array(TensorSpec),
  /** Version of the default operators; absent for files that use none. */
  opset: z.number().int().optional(),
  /** Outputs of the file that are not served, and why. */
  leftOut: z.array(z.object({ name: z.string(), reason: z.string() })).optional(),
  /** What the file itself calls its classes, in the order of the scores. */
  classNames: z.array(z.string()).optional(),
  /** The output whose values are classes, where the file's operators tell. */
  labelOutput: z.string().optional(),
});
export type ModelSignature = z.infer<typeof ModelSignature>;
