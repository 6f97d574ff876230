// One run of ONNX Runtime for requests that lie in a ring's arena: joins their inputs, runs, and parts the outputs.
// Inputs are copied out of the arena since ONNX Runtime's binding refuses tensors over shared memory; buffers and
// tensors are kept from run to run.
import type { Datatype, TensorSpec } from '@edgeloop/shared/tensors';
import type { TakenSlot } from '../ring/consumer.ts';
import { type ArenaViews, readRecord, type ShapedData } from '../ring/records.ts';
import { elementCount } from '../tensors.ts';
import { elementBytes, type NumericData, viewOf } from '../typed-arrays.ts';
import { fromOrt, type OrtTensors, type Session, toOrt } from './session.ts';

export interface BatchOutcome {
  /** Outputs of each request; undefined when the model did not give a row for each row, so that nobody can say whose they are. */
  parts: ShapedData[][] | undefined;
  inputMs: number;
  runMs: number;
}

export interface BatchRunner {
  /** Runs one request, or several with rows. The parts are valid until the next run. Throws what the session throws. */
  run(slots: readonly TakenSlot[]): Promise<BatchOutcome>;
}

/** Tensors over kept buffers, for runs of one shape. */
interface Prepared {
  shapes: readonly (readonly number[])[];
  feeds: OrtTensors;
  inputs: Uint8Array[];
  fetches: OrtTensors | undefined;
}

/** Larger tensors are made anew for each run: kept, they would add up over many models. */
const keptAtMostBytes = 2 * 1024 * 1024;
const shapesKept = 64;

/** `arena` is the ring's; the model takes no strings (those come by message). */
export function createBatchRunner(session: Session, arena: ArenaViews): BatchRunner {
  const { signature } = session;
  const prepared = new Map<number, Prepared>();
  let mayPreallocate = true;
  let keptBytes = 0;

  const prepare = (shapes: readonly (readonly number[])[]): Prepared => {
    const key = shapes[0]?.[0] ?? 0;
    const known = prepared.get(key);
    if (known && sameShapes(known.shapes, shapes)) return known;
    const fresh = allocate(session, shapes, mayPreallocate);
    const bytes = fresh.inputs.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (bytes > keptAtMostBytes) return fresh;
    if (prepared.size >= shapesKept || keptBytes + bytes > keptAtMostBytes) {
      prepared.clear();
      keptBytes = 0;
    }
    keptBytes += bytes;
    prepared.set(key, fresh);
    return fresh;
  };

  const runPrepared = async (ready: Prepared): Promise<OrtTensors> => {
    if (ready.fetches === undefined || !mayPreallocate) return session.runTensors(ready.feeds);
    try {
      return await session.runTensors(ready.feeds, ready.fetches);
    } catch {
      // The file may declare other shapes than it computes; a run that fails either way says so itself.
      const results = await session.runTensors(ready.feeds);
      mayPreallocate = false;
      return results;
    }
  };

  return {
    async run(slots) {
      const startedMs = performance.now();
      const records = slots.map(({ inputAt }) => readRecord(arena, inputAt, signature.inputs));
      const rows = slots.map(({ rows }) => rows);
      const total = rows.reduce((sum, count) => sum + count, 0);
      const [first = []] = records;
      const shapes = first.map(({ shape }) => (slots.length > 1 ? [total, ...shape.slice(1)] : shape));
      const ready = prepare(shapes);
      for (const [at, target] of ready.inputs.entries()) {
        let offset = 0;
        for (const record of records) {
          const entry = record[at];
          if (entry === undefined) continue;
          target.set(arena.bytes.subarray(entry.at, entry.at + entry.byteLength), offset);
          offset += entry.byteLength;
        }
      }
      const runAtMs = performance.now();
      const results = await runPrepared(ready);
      const runMs = performance.now() - runAtMs;
      const outputs = signature.outputs.map((spec) => fromOrt(spec, results[spec.name]));
      const parts = slots.length > 1 ? partOutputs(outputs, rows) : [outputs];
      return { parts, inputMs: runAtMs - startedMs, runMs };
    },
  };
}

function sameShapes(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): boolean {
  return a.length === b.length && a.every((shape, i) => sameShape(shape, b[i] ?? []));
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

function allocate(session: Session, shapes: readonly (readonly number[])[], preallocate: boolean): Prepared {
  const inputs: Uint8Array[] = [];
  const feeds: OrtTensors = {};
  for (const [i, { name, datatype }] of session.signature.inputs.entries()) {
    const shape = shapes[i] ?? [];
    const { tensor, bytes } = emptyTensor(datatype, shape);
    Object.defineProperty(feeds, name, { value: tensor, enumerable: true, configurable: true, writable: true });
    inputs.push(bytes);
  }
  const rows = session.batchable ? shapes[0]?.[0] : undefined;
  return { shapes, feeds, inputs, fetches: preallocate ? outputsFor(session.signature.outputs, rows) : undefined };
}

function emptyTensor(datatype: Datatype, shape: readonly number[]) {
  const count = elementCount(shape);
  const buffer = new ArrayBuffer(count * (elementBytes(datatype) ?? 0));
  const data = datatype === 'BYTES' ? new Array<string>(count).fill('') : viewOf(datatype, buffer);
  return { tensor: toOrt({ datatype, shape, data }), bytes: new Uint8Array(buffer) };
}

/** Undefined when the shape of an output is not known before the run, or too large to keep. */
function outputsFor(outputs: readonly TensorSpec[], rows: number | undefined): OrtTensors | undefined {
  const fetches: OrtTensors = {};
  let bytes = 0;
  for (const { name, datatype, shape: declared } of outputs) {
    const shape = rows === undefined ? declared : [rows, ...declared.slice(1)];
    // A shape of no dimensions may be a scalar as well as one that the file does not say.
    if (datatype === 'BYTES' || shape.length === 0 || shape.includes(-1)) return undefined;
    bytes += elementCount(shape) * (elementBytes(datatype) ?? 0);
    if (bytes > keptAtMostBytes) return undefined;
    const { tensor } = emptyTensor(datatype, shape);
    Object.defineProperty(fetches, name, { value: tensor, enumerable: true, configurable: true, writable: true });
  }
  return fetches;
}

function partOutputs(outputs: readonly ShapedData[], rowsOfRequests: readonly number[]): ShapedData[][] | undefined {
  const rows = rowsOfRequests.reduce((sum, count) => sum + count, 0);
  if (outputs.some(({ shape }) => shape[0] !== rows)) return undefined;
  let from = 0;
  return rowsOfRequests.map((count) => {
    const start = from;
    from += count;
    return outputs.map(({ shape, data }) => {
      const width = data.length / rows;
      const [begin, end] = [start * width, (start + count) * width];
      return { shape: [count, ...shape.slice(1)], data: cut(data, begin, end) };
    });
  });
}

function cut(data: NumericData | string[], begin: number, end: number): NumericData | string[] {
  return Array.isArray(data) ? data.slice(begin, end) : data.subarray(begin, end);
}
