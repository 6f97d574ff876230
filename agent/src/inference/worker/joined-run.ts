// One run of ONNX Runtime for one request, or for several whose rows stay apart: joins their inputs in tensors that are kept,
// runs, and parts the outputs. Inputs are copied: the binding refuses tensors over shared memory, and to make a tensor for
// each run costs more than to fill one. Where the session runs at once so does this: promises cost a small model much of its run.
import type { ShapedData } from '../ring/records.ts';
import type { NumericData } from '../typed-arrays.ts';
import { createKeptTensors, type PreparedTensors } from './kept-tensors.ts';
import { fromOrt, type OrtTensors, type Session } from './session.ts';

/** A request's inputs in the order of the signature. */
export interface RunRequest {
  rows: number;
  inputs: readonly { shape: readonly number[]; bytes: Uint8Array }[];
}

export interface RunOutcome {
  /** Outputs of each request; undefined when the model did not give a row for each row, so that nobody can say whose they are. */
  parts: ShapedData[][] | undefined;
  inputMs: number;
  runMs: number;
}

export interface JoinedRunner {
  /** Runs one request, or several with rows. The parts are valid until the next run. Throws, or rejects, what the session does. */
  run(requests: readonly RunRequest[]): RunOutcome | Promise<RunOutcome>;
}

/** The model takes no strings. `rowed`: its first dimension is that of rows. */
export function createJoinedRunner(session: Session, rowed: boolean): JoinedRunner {
  const { signature } = session;
  const tensors = createKeptTensors(session, rowed);
  let mayPreallocate = session.takesRoom;

  /** The file may declare other shapes than it computes; a run that fails either way says so itself. */
  const runWithoutRoom = async (feeds: OrtTensors): Promise<OrtTensors> => {
    const results = await session.runTensors(feeds);
    mayPreallocate = false;
    return results;
  };

  /**
   * ONNX Runtime leaves room that was allocated for an output untouched where it hands on what it has, such as an input. So
   * before it is relied on, the same run must fill it with what a run without it gives.
   */
  const tryFetches = async (prepared: PreparedTensors, fetches: OrtTensors): Promise<OrtTensors> => {
    const { feeds } = prepared;
    const results = await session.runTensors(feeds);
    const filled = await fillsAll(results, fetches, async () => session.runTensors(feeds, fetches));
    if (filled) prepared.fetchesFill = true;
    else mayPreallocate = false;
    return results;
  };

  const runPrepared = (prepared: PreparedTensors): OrtTensors | Promise<OrtTensors> => {
    const { feeds, fetches } = prepared;
    if (fetches === undefined || !mayPreallocate) return session.runTensors(feeds);
    if (!prepared.fetchesFill) return tryFetches(prepared, fetches);
    try {
      const results = session.runTensors(feeds, fetches);
      return results instanceof Promise ? results.catch(() => runWithoutRoom(feeds)) : results;
    } catch {
      return runWithoutRoom(feeds);
    }
  };

  const outcomeOf = (
    results: OrtTensors,
    requests: readonly RunRequest[],
    startedMs: number,
    runAtMs: number,
  ): RunOutcome => {
    const runMs = performance.now() - runAtMs;
    const outputs = signature.outputs.map((spec) => fromOrt(spec, results[spec.name]));
    const parts = requests.length > 1 ? partOutputs(outputs, requests) : [outputs];
    return { parts, inputMs: runAtMs - startedMs, runMs };
  };

  return {
    run(requests) {
      const startedMs = performance.now();
      const prepared = tensors.of(shapesOf(requests), mayPreallocate);
      joinInputs(requests, prepared.inputs);
      const runAtMs = performance.now();
      const results = runPrepared(prepared);
      if (!(results instanceof Promise)) return outcomeOf(results, requests, startedMs, runAtMs);
      return results.then((given) => outcomeOf(given, requests, startedMs, runAtMs));
    },
  };
}

/** Of all of them together. */
function shapesOf(requests: readonly RunRequest[]): (readonly number[])[] {
  const shapes = (requests[0]?.inputs ?? []).map(({ shape }) => shape);
  if (requests.length <= 1) return shapes;
  const total = rowsOf(requests);
  return shapes.map((shape) => [total, ...shape.slice(1)]);
}

function rowsOf(requests: readonly RunRequest[]): number {
  return requests.reduce((sum, { rows }) => sum + rows, 0);
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
function joinInputs(requests: readonly RunRequest[], targets: readonly Uint8Array[]): void {
  for (let at = 0; at < targets.length; at++) {
    let offset = 0;
    for (const { inputs } of requests) {
      const bytes = inputs[at]?.bytes;
      if (bytes === undefined) continue;
      targets[at]?.set(bytes, offset);
      offset += bytes.length;
    }
  }
}

function partOutputs(outputs: readonly ShapedData[], requests: readonly RunRequest[]): ShapedData[][] | undefined {
  const rows = rowsOf(requests);
  if (outputs.some(({ shape }) => shape[0] !== rows)) return undefined;
  let from = 0;
  return requests.map(({ rows: count }) => {
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
