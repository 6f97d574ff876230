// Which waiting requests share a run of the model, and how their tensors are joined and parted again. Pure; the
// batcher drives it.
import { AppError } from '@edgeloop/shared/errors';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { NamedTensor, TensorData } from './tensors.ts';

export interface BatchPolicy {
  /** Most rows in one run; a request with more rows runs alone. */
  maxBatch: number;
  /** How long the first request may wait for company while a worker is free. */
  maxDelayMs: number;
}

/** A request that waits for a worker. Those with the same `key` can share a run; without a key it runs alone. */
export interface Waiting {
  key: string | undefined;
  rows: number;
  enqueuedAtMs: number;
}

export type BatchPlan =
  /** Places in the queue, ascending, that make the next run. The first request is always among them. */
  | { kind: 'run'; places: number[] }
  /** Too few for now: plan again when more came, at the latest after so long. */
  | { kind: 'wait'; waitMs: number }
  | { kind: 'nothing' };

/** The next run for a free worker. The oldest request always goes first, so none starves. */
export function planBatch(queue: readonly Waiting[], policy: BatchPolicy, nowMs: number): BatchPlan {
  const head = queue[0];
  if (!head) return { kind: 'nothing' };
  if (head.key === undefined || head.rows >= policy.maxBatch) return { kind: 'run', places: [0] };
  const places = [0];
  let rows = head.rows;
  for (let place = 1; place < queue.length && rows < policy.maxBatch; place++) {
    const next = queue[place];
    if (next?.key !== head.key || rows + next.rows > policy.maxBatch) continue;
    places.push(place);
    rows += next.rows;
  }
  const waitMs = head.enqueuedAtMs + policy.maxDelayMs - nowMs;
  return waitMs > 0 && rows < policy.maxBatch ? { kind: 'wait', waitMs } : { kind: 'run', places };
}

/** What requests must have in common to share a run: all dimensions but the first. Undefined when the request must run alone. */
export function batchKey(inputs: readonly NamedTensor[]): string | undefined {
  const rows = inputs[0]?.shape[0];
  if (!rows || inputs.some(({ shape }) => shape[0] !== rows)) return undefined;
  return inputs.map(({ shape }) => shape.slice(1).join('x')).join(';');
}

/** Inputs of several requests as one, along the first dimension. All must be in the same order and have one key. */
export function joinInputs(requests: readonly (readonly NamedTensor[])[]): readonly NamedTensor[] {
  const [first = []] = requests;
  if (requests.length === 1) return first;
  return first.map((input, at) => {
    const parts = requests.flatMap((inputs) => inputs[at] ?? []);
    const rows = parts.reduce((sum, part) => sum + (part.shape[0] ?? 0), 0);
    return { ...input, shape: [rows, ...input.shape.slice(1)], data: joinData(parts.map(({ data }) => data)) };
  });
}

function joinData(parts: readonly TensorData[]): TensorData {
  const [first] = parts;
  if (first === undefined || Array.isArray(first)) return parts.flatMap((part) => (Array.isArray(part) ? part : []));
  const views = parts.flatMap((part) => (Array.isArray(part) ? [] : [part]));
  const bytes = new Uint8Array(views.reduce((sum, view) => sum + view.byteLength, 0));
  let offset = 0;
  for (const view of views) {
    bytes.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), offset);
    offset += view.byteLength;
  }
  return viewLike(first, bytes.buffer);
}

function viewLike(like: Exclude<TensorData, string[]>, buffer: ArrayBuffer): TensorData {
  if (like instanceof Float32Array) return new Float32Array(buffer);
  if (like instanceof Float64Array) return new Float64Array(buffer);
  if (like instanceof Uint8Array) return new Uint8Array(buffer);
  if (like instanceof Uint16Array) return new Uint16Array(buffer);
  if (like instanceof Uint32Array) return new Uint32Array(buffer);
  if (like instanceof BigUint64Array) return new BigUint64Array(buffer);
  if (like instanceof Int8Array) return new Int8Array(buffer);
  if (like instanceof Int16Array) return new Int16Array(buffer);
  if (like instanceof Int32Array) return new Int32Array(buffer);
  return new BigInt64Array(buffer);
}

/**
 * Outputs of a joined run, parted by the rows of each request. Undefined when the model did not give a row for each
 * row, so that nobody can say whose they are.
 */
export function splitOutputs(
  outputs: readonly NamedTensor[],
  rowsOfRequests: readonly number[],
): NamedTensor[][] | undefined {
  const rows = rowsOfRequests.reduce((sum, count) => sum + count, 0);
  if (outputs.some(({ shape }) => shape[0] !== rows)) return undefined;
  let start = 0;
  return rowsOfRequests.map((count) => {
    const from = start;
    start += count;
    return outputs.map((output) => slice(output, from, count, rows));
  });
}

function slice(output: NamedTensor, from: number, count: number, rows: number): NamedTensor {
  const width = output.data.length / rows;
  const [begin, end] = [from * width, (from + count) * width];
  const data = Array.isArray(output.data) ? output.data.slice(begin, end) : output.data.subarray(begin, end);
  return { ...output, shape: [count, ...output.shape.slice(1)], data };
}

/**
 * The inputs in the order of the signature, checked against it: names, datatypes, shapes. Throws `invalid_request`
 * naming the input.
 */
export function orderInputs(signature: ModelSignature, inputs: readonly NamedTensor[]): NamedTensor[] {
  const given = new Map(inputs.map((input) => [input.name, input]));
  if (given.size < inputs.length) throw new AppError('invalid_request', 'an input is given twice; name each one once');
  const known = signature.inputs.map(({ name }) => name);
  const unknown = inputs.find(({ name }) => !known.includes(name));
  if (unknown) throw new AppError('invalid_request', `unknown input "${unknown.name}"; the model takes ${list(known)}`);
  return signature.inputs.map((spec) => {
    const input = given.get(spec.name);
    if (!input) throw new AppError('invalid_request', `input "${spec.name}" is missing`);
    if (input.datatype !== spec.datatype) {
      throw new AppError(
        'invalid_request',
        `input "${spec.name}" is ${input.datatype}, the model takes ${spec.datatype}`,
      );
    }
    if (!fits(input.shape, spec.shape)) {
      throw new AppError(
        'invalid_request',
        `input "${spec.name}" has shape [${input.shape}], the model takes [${spec.shape}] (-1: any)`,
      );
    }
    return input;
  });
}

/** ONNX files may leave a shape unsaid, which reads as no dimensions; ONNX Runtime judges those itself. */
function fits(shape: readonly number[], spec: readonly number[]): boolean {
  if (spec.length === 0) return true;
  return shape.length === spec.length && spec.every((dim, i) => dim === -1 || dim === shape[i]);
}

function list(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}
