// One run of ONNX Runtime for requests that lie in a ring's arena: joins their inputs, runs, and parts the outputs.
// Inputs are copied out of the arena since ONNX Runtime's binding refuses tensors over shared memory.
import type { TakenSlot } from '../ring/consumer.ts';
import { type ArenaViews, type RecordEntry, readRecord, type ShapedData } from '../ring/records.ts';
import type { NumericData } from '../typed-arrays.ts';
import { createKeptTensors, type PreparedTensors } from './kept-tensors.ts';
import { fromOrt, type OrtTensors, type Session } from './session.ts';

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

/** `arena` is the ring's; the model takes no strings (those come by message). `rowed`: its first dimension is that of rows. */
export function createBatchRunner(session: Session, arena: ArenaViews, rowed: boolean): BatchRunner {
  const { signature } = session;
  const tensors = createKeptTensors(session, rowed);
  let mayPreallocate = session.takesRoom;

  const runPrepared = async (prepared: PreparedTensors): Promise<OrtTensors> => {
    const { feeds, fetches } = prepared;
    if (fetches === undefined || !mayPreallocate) return session.runTensors(feeds);
    if (!prepared.fetchesFill) return tryFetches(prepared, fetches);
    try {
      return await session.runTensors(feeds, fetches);
    } catch {
      // The file may declare other shapes than it computes; a run that fails either way says so itself.
      const results = await session.runTensors(feeds);
      mayPreallocate = false;
      return results;
    }
  };

  /**
   * ONNX Runtime leaves room that was allocated for an output untouched where it hands on what it has, such as an input. So
   * before it is relied on, the same run must fill it with what a run without it gives.
   */
  const tryFetches = async (prepared: PreparedTensors, fetches: OrtTensors): Promise<OrtTensors> => {
    const { feeds } = prepared;
    const results = await session.runTensors(feeds);
    const filled = await fillsAll(results, fetches, () => session.runTensors(feeds, fetches));
    if (filled) prepared.fetchesFill = true;
    else mayPreallocate = false;
    return results;
  };

  return {
    async run(slots) {
      const startedMs = performance.now();
      const records = slots.map(({ inputAt }) => readRecord(arena, inputAt, signature.inputs));
      const rows = slots.map(({ rows }) => rows);
      const total = rows.reduce((sum, count) => sum + count, 0);
      const [first = []] = records;
      const shapes = first.map(({ shape }) => (slots.length > 1 ? [total, ...shape.slice(1)] : shape));
      const ready = tensors.of(shapes, mayPreallocate);
      joinInputs(arena, records, ready.inputs);
      const runAtMs = performance.now();
      const results = await runPrepared(ready);
      const runMs = performance.now() - runAtMs;
      const outputs = signature.outputs.map((spec) => fromOrt(spec, results[spec.name]));
      const parts = slots.length > 1 ? partOutputs(outputs, rows) : [outputs];
      return { parts, inputMs: runAtMs - startedMs, runMs };
    },
  };
}

/** Whether a run fills the room for outputs with these results, whatever was there before. */
async function fillsAll(results: OrtTensors, fetches: OrtTensors, run: () => Promise<unknown>): Promise<boolean> {
  const pairs: [Uint8Array, Uint8Array][] = [];
  for (const [name, { data: room }] of Object.entries(fetches)) {
    const result = results[name]?.data;
    if (result === undefined || Array.isArray(result) || Array.isArray(room)) return false;
    pairs.push([bytesIn(result), bytesIn(room)]);
  }
  if (pairs.some(([result, room]) => result.length !== room.length)) return false;
  for (const [result, room] of pairs) for (const [at, byte] of result.entries()) room[at] = ~byte;
  try {
    await run();
  } catch {
    return false;
  }
  return pairs.every(([result, room]) => Buffer.compare(result, room) === 0);
}

function bytesIn({ buffer, byteOffset, byteLength }: NumericData): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** The inputs of all requests, one behind the other. */
function joinInputs(
  arena: ArenaViews,
  records: readonly (readonly RecordEntry[])[],
  targets: readonly Uint8Array[],
): void {
  for (const [at, target] of targets.entries()) {
    let offset = 0;
    for (const record of records) {
      const entry = record[at];
      if (entry === undefined) continue;
      target.set(arena.bytes.subarray(entry.at, entry.at + entry.byteLength), offset);
      offset += entry.byteLength;
    }
  }
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
