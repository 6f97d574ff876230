// A ModelInferResponse. Its tensors are raw, as Triton's always are, unless the caller asked for contents in their types.
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { type Answered, asAsked, isEchoed, selected } from '../infer/answer.ts';
import { encodeBlob } from '../infer/binary.ts';
import type { GrpcParameters } from './infer-request.ts';

/** As protobufjs encodes it. */
export interface InferAnswer {
  model_name: string;
  model_version: string;
  id: string;
  parameters: Record<string, object>;
  outputs: { name: string; datatype: string; shape: readonly number[]; contents?: object }[];
  raw_output_contents: Buffer[];
}

/** Throws `invalid_request` when an output was asked for in a form that it hasn't. */
export function inferAnswer({ request, outputs, scores, ...own }: Answered, parameters: GrpcParameters): InferAnswer {
  const chosen = selected(outputs, request.outputs);
  const tensors = chosen.map(({ output, asked }) => asAsked(output, asked, scores));
  const rawByDefault = request.parameters.get('binary_data_output') !== false;
  // One tensor without contents of its type makes all of them raw: the protocol knows no mixture.
  const typed = chosen.every(
    ({ asked }, i) => !(asked?.binary_data ?? rawByDefault) && tensors[i]?.datatype !== 'FP16',
  );
  return {
    model_name: own.name,
    model_version: String(own.version),
    id: own.id,
    parameters: echoed(parameters),
    outputs: tensors.map((tensor) => {
      const { name, datatype, shape } = tensor;
      return typed ? { name, datatype, shape, contents: contentsOf(tensor) } : { name, datatype, shape };
    }),
    raw_output_contents: typed ? [] : tensors.map(encodeBlob),
  };
}

function echoed(parameters: GrpcParameters = {}): Record<string, object> {
  return Object.fromEntries(
    Object.entries(parameters)
      .filter(([name]) => isEchoed(name))
      .map(([name, parameter]) => [
        name,
        Object.fromEntries(
          Object.entries(parameter).map(([kind, value]) => [kind, typeof value === 'bigint' ? longOf(value) : value]),
        ),
      ]),
  );
}

function contentsOf({ datatype, data }: NamedTensor): object {
  if (Array.isArray(data)) return { bytes_contents: data.map((text) => Buffer.from(text)) };
  if (data instanceof BigInt64Array) return { int64_contents: Array.from(data, longOf) };
  if (data instanceof BigUint64Array) return { uint64_contents: Array.from(data, longOf) };
  if (data instanceof Float32Array) return { fp32_contents: data };
  if (data instanceof Float64Array) return { fp64_contents: data };
  if (datatype === 'BOOL') return { bool_contents: Array.from(data, (value) => value !== 0) };
  return datatype.startsWith('U') ? { uint_contents: data } : { int_contents: data };
}

/** The two halves, as protobufjs writes them. */
function longOf(value: bigint): { low: number; high: number; unsigned: boolean } {
  return {
    low: Number(BigInt.asIntN(32, value)),
    high: Number(BigInt.asIntN(32, value >> 32n)),
    unsigned: value >= 2n ** 63n,
  };
}
