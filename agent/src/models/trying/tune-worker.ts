// A thread of the measuring process: one session, run again and again for a while with made-up or golden inputs.
import { workerData } from 'node:worker_threads';
import { AppError, parse } from '@edgeloop/shared/errors';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { z } from 'zod';
import { ModelFiles } from '../../process/ipc.ts';

export interface TuneTask {
  /** Size of the first dimension. */
  batch: number;
  /** 0 only warms up. */
  sliceMs: number;
  /** All `parties` threads meet there first, so that each takes one task and all run at the same time. */
  barrier: Int32Array;
  parties: number;
}

export interface TuneReport {
  batchable: boolean;
  runs: number;
  ms: number;
}

const { model, intraOpThreads } = parse(
  z.object({ model: ModelFiles, intraOpThreads: z.number().int() }),
  workerData,
  'workerData',
  'internal',
);
let loaded: Promise<InferenceSession> | undefined;

function load(): Promise<InferenceSession> {
  loaded ??= InferenceSession.create(model.path, {
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 4,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  return loaded;
}

function isBatchable({ inputMetadata, outputMetadata }: InferenceSession): boolean {
  const all = [...inputMetadata, ...outputMetadata];
  return inputMetadata.length > 0 && all.every((each) => each.isTensor && typeof each.shape[0] === 'string');
}

/** Runs one slice; piscina calls it. */
export default async function runSlice({ batch, sliceMs, barrier, parties }: TuneTask): Promise<TuneReport> {
  const session = await load();
  const batchable = isBatchable(session);
  const first = batchable ? batch : undefined;
  const feeds = Object.fromEntries(session.inputMetadata.map((metadata) => [metadata.name, inputOf(metadata, first)]));
  await session.run(feeds); // The first one reserves memory.
  meet(barrier, parties);
  const begun = performance.now();
  let runs = 0;
  let ms = 0;
  while (ms < sliceMs) {
    await session.run(feeds);
    runs += 1;
    ms = performance.now() - begun;
  }
  return { batchable, runs, ms };
}

function meet(barrier: Int32Array, parties: number): void {
  let arrived = Atomics.add(barrier, 0, 1) + 1;
  Atomics.notify(barrier, 0);
  while (arrived < parties) {
    Atomics.wait(barrier, 0, arrived, 1000);
    arrived = Atomics.load(barrier, 0);
  }
}

function inputOf(metadata: InferenceSession.ValueMetadata, batch: number | undefined): Tensor {
  if (!metadata.isTensor) throw new AppError('model_rejected', `"${metadata.name}" is no tensor`);
  const golden = model.golden?.samples[0]?.inputs[metadata.name];
  const shape = golden?.shape ?? metadata.shape.map((dim) => (typeof dim === 'number' ? dim : 1));
  const dims = batch === undefined ? [...shape] : [batch, ...shape.slice(1)];
  const count = dims.reduce((product, dim) => product * dim, 1);
  const values = Array.isArray(golden?.data) ? golden.data.flat(32) : [];
  return tensorOf(metadata.type, dims, (at) => (values.length === 0 ? 0 : values[at % values.length]), count);
}

function tensorOf(type: Tensor.Type, dims: number[], value: (at: number) => unknown, count: number): Tensor {
  const numbers = { length: count };
  const number = (at: number): number => Number(value(at)) || 0;
  switch (type) {
    case 'float32':
      return new Tensor(
        type,
        Float32Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'float64':
      return new Tensor(
        type,
        Float64Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'int64':
      return new Tensor(
        type,
        BigInt64Array.from(numbers, (_, at) => BigInt(Math.trunc(number(at)))),
        dims,
      );
    case 'uint64':
      return new Tensor(
        type,
        BigUint64Array.from(numbers, (_, at) => BigInt(Math.trunc(number(at)))),
        dims,
      );
    case 'int32':
      return new Tensor(
        type,
        Int32Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'uint32':
      return new Tensor(
        type,
        Uint32Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'int16':
      return new Tensor(
        type,
        Int16Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'uint16':
      return new Tensor(
        type,
        Uint16Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'int8':
      return new Tensor(
        type,
        Int8Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'uint8':
      return new Tensor(
        type,
        Uint8Array.from(numbers, (_, at) => number(at)),
        dims,
      );
    case 'bool':
      return new Tensor(
        type,
        Uint8Array.from(numbers, (_, at) => (value(at) ? 1 : 0)),
        dims,
      );
    case 'float16':
      return new Tensor(type, new Uint16Array(count), dims);
    case 'string':
      return new Tensor(
        type,
        Array.from(numbers, (_, at) => String(value(at))),
        dims,
      );
    default:
      throw new AppError('unsupported', `inputs of type ${type} cannot be made up`);
  }
}
