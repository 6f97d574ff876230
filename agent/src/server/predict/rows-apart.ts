// Several rows in one request are examples of their own. A model that is not proved to keep rows apart would answer each by
// the others, so it is asked for one after the other.
import type { NamedTensor, TensorData } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../../inference/engine.ts';
import type { InferenceResult } from '../../inference/queueing/batcher.ts';
import { viewOf } from '../../inference/typed-arrays.ts';

type Submit = (inputs: readonly NamedTensor[]) => Promise<InferenceResult>;
export type Run = (inputs: readonly NamedTensor[], submit: Submit) => Promise<InferenceResult>;

/** Runs of one request that wait at once. */
const atOnce = 16;

/** Undefined when they may run as they are. The operator may forbid what is proved, and nobody may allow what is not. */
export function runApart({ runtime, files, interpretation }: LoadedModel, rows: number): Run | undefined {
  const mayJoin = runtime.batchable && files.manifest.batching.maxBatch > 1;
  if (rows < 2 || mayJoin) return undefined;
  const rowed = new Set(interpretation.featureInputs.map(({ spec }) => spec.name));
  return async (inputs, submit) => {
    const isRowed = ({ name, shape }: NamedTensor): boolean => rowed.has(name) && shape[0] === rows;
    // Rows along another dimension are the steps of one window.
    if (!inputs.every((input) => isRowed(input) || !rowed.has(input.name))) return submit(inputs);
    const whole = await submit(inputs);
    // Many rows may make one answer, such as a forecast; that takes them together.
    if (!whole.outputs.every(({ shape }) => shape[0] === rows)) return whole;
    const parts = Array.from({ length: rows }, (_, row) =>
      inputs.map((input) => (isRowed(input) ? rowOf(input, row, rows) : input)),
    );
    const results: InferenceResult[] = [];
    for (let at = 0; at < rows; at += atOnce)
      results.push(...(await Promise.all(parts.slice(at, at + atOnce).map((part) => submit(part)))));
    return joined(results, whole);
  };
}

function rowOf(input: NamedTensor, row: number, rows: number): NamedTensor {
  const width = input.data.length / rows;
  return { ...input, shape: input.shape.with(0, 1), data: input.data.slice(row * width, (row + 1) * width) };
}

/** As if it had been one run. */
function joined(results: readonly InferenceResult[], whole: InferenceResult): InferenceResult {
  const outputs = whole.outputs.map(({ name, datatype }, place): NamedTensor => {
    const parts = results.flatMap(({ outputs }) => outputs[place] ?? []);
    const [first] = parts;
    const rows = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
    return { name, datatype, shape: [rows, ...(first?.shape.slice(1) ?? [])], data: concatenated(datatype, parts) };
  });
  const sum = (of: (result: InferenceResult) => number): number =>
    results.reduce((total, result) => total + of(result), of(whole));
  return { outputs, queueMs: sum(({ queueMs }) => queueMs), runMs: sum(({ runMs }) => runMs), runRows: whole.runRows };
}

function concatenated(datatype: NamedTensor['datatype'], parts: readonly NamedTensor[]): TensorData {
  if (datatype === 'BYTES') return parts.flatMap(({ data }) => (Array.isArray(data) ? data : []));
  const bytes = parts.map(({ data }) =>
    Array.isArray(data) ? new Uint8Array(0) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  return viewOf(datatype, Uint8Array.from(Buffer.concat(bytes)).buffer);
}
