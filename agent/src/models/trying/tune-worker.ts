// A thread of the measuring process: one session, run again and again for a while with made-up or golden inputs.
import { workerData } from 'node:worker_threads';
import { parse } from '@edgeloop/shared/errors';
import type { Tensor } from '@edgeloop/shared/tensor-data';
import type { TensorSpec } from '@edgeloop/shared/tensors';
import { z } from 'zod';
import { judgeJoining } from '../../inference/joining/joining.ts';
import { openModel } from '../../inference/worker/open-model.ts';
import { type OpenedSession, toOrt } from '../../inference/worker/session.ts';
import { ModelFiles } from '../../process/ipc.ts';
import { madeUpInput, smallestShape } from './made-up-input.ts';

export interface TuneTask {
  /** Size of the first dimension; as it comes where that is none of rows. */
  batch: number | undefined;
  /** Find out whether rows may share a run. */
  judge: boolean;
  /** 0 only warms up. */
  sliceMs: number;
  /** All `parties` threads meet there first, so that each takes one task and all run at the same time. */
  barrier: Int32Array;
  parties: number;
}

export interface TuneReport {
  /** As far as it was to be found out. */
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
const nowMs = (): number => performance.now();
let loaded: Promise<OpenedSession> | undefined;

/** Runs one slice; piscina calls it. */
export default async function runSlice({ batch, judge, sliceMs, barrier, parties }: TuneTask): Promise<TuneReport> {
  loaded ??= openModel(model.path, { intraOpThreads, pipeline: model.manifest.pipeline });
  const { session, graph } = await loaded;
  const { signature } = session;
  const batchable = judge && (await judgeJoining({ ...session, ...graph, golden: model.golden, nowMs })).allowed;
  const feeds = Object.fromEntries(signature.inputs.map((spec) => [spec.name, toOrt(inputOf(spec, batch))]));
  await session.runTensors(feeds); // The first one reserves memory.
  meet(barrier, parties);
  const begun = performance.now();
  let runs = 0;
  let ms = 0;
  while (ms < sliceMs) {
    await session.runTensors(feeds);
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

function inputOf(spec: TensorSpec, batch: number | undefined): Tensor {
  const golden = model.golden?.samples[0]?.inputs[spec.name];
  const shape = golden?.shape ?? smallestShape(spec);
  return madeUpInput(spec, batch === undefined ? shape : [batch, ...shape.slice(1)], golden?.data);
}
