// The process in which a candidate is loaded and run for the first time. It ends with its one answer.
import '../../parsed-seldom.ts';
import type { Measured } from '@edgeloop/shared/acceptance';
import { AppError, messageOf, parse } from '@edgeloop/shared/errors';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import type { FailureKind } from '@edgeloop/shared/messages';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { elementCount, type NamedTensor, tensorFromJson } from '@edgeloop/shared/tensor-data';
import { proveGolden } from '../../inference/worker/golden-run.ts';
import { openModel } from '../../inference/worker/open-model.ts';
import { openSession, type Session, toOrt } from '../../inference/worker/session.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import { brokenBound, measureRuns, ownMemoryMb, rounded } from './bounds.ts';
import { madeUpInput, smallestShape } from './made-up-input.ts';
import { type Proof, ProofInput } from './prove.ts';

/** More values than this are not made up for a run with zeros. */
const zerosAtMost = 16_777_216;
/** An ONNX file with one operator, "Identity" from `x` to `y`: what it takes, the runtime takes. */
const smallestModel =
  'CAgSBHRlc3QaATE6QAoTCgF4EgF5GgF5IghJZGVudGl0eRIFZ3JhcGhaEAoBeBILCgkIARIFCgMSAW5iEAoBeRILCgkIARIFCgMSAW5CAhAR';

answerBounded(async (input): Promise<Proof> => {
  const { model, providers, measure } = parse(ProofInput, input, 'model to prove', 'internal');
  const { manifest, golden } = model;
  const { acceptance, pipeline } = manifest;
  let kind: FailureKind = 'load';
  try {
    const emptyMb = acceptance?.maxMemoryMb === undefined ? undefined : await memoryOfRuntime(providers);
    const { session } = await openModel(model.path, { pipeline, providers });
    kind = 'contract';
    interpret(manifest, session.signature);
    if (golden !== undefined && golden.samples.length > 0) {
      kind = 'golden';
      await proveGolden(session, golden);
    } else {
      kind = 'load';
      const inputs = madeUpInputs(session);
      if (inputs !== undefined) await runWithZeros(() => session.run(inputs));
    }
    if (acceptance === undefined && !measure) return {};
    kind = 'contract';
    const measured = await measureModel(session, model, emptyMb);
    const broken = acceptance && brokenBound(measured, acceptance);
    return broken === undefined ? { measured } : { measured, failure: { code: 'unsupported', message: broken, kind } };
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'model_rejected';
    return { failure: { code, message: messageOf(error), kind } };
  }
});

/** Of this process once it has run a model that does nothing. */
async function memoryOfRuntime(providers: readonly string[]): Promise<number> {
  const file = { bytes: Buffer.from(smallestModel, 'base64'), folder: '' };
  const { session } = await openSession(file, { providers });
  await session.run([{ name: 'x', datatype: 'FP32', shape: [1], data: new Float32Array(1) }]);
  await session.release();
  return ownMemoryMb();
}

async function measureModel(session: Session, model: ModelFiles, emptyMb: number | undefined): Promise<Measured> {
  const feeds = inputsOf(session, model).map((inputs) =>
    Object.fromEntries(inputs.map((each) => [each.name, toOrt(each)])),
  );
  let next = 0;
  const run = async () => session.runTensors(feeds[next++ % feeds.length] ?? {});
  const runs = await measureRuns({ run, bounds: model.manifest.acceptance, nowMs: () => performance.now() });
  if (emptyMb === undefined) return runs;
  return { ...runs, memoryMb: rounded(Math.max(0, (await ownMemoryMb()) - emptyMb)) };
}

/** The golden samples, else an input that is made up. @throws AppError `unsupported` when there is neither */
function inputsOf(session: Session, { golden }: ModelFiles): NamedTensor[][] {
  const samples = golden?.samples ?? [];
  if (samples.length > 0)
    return samples.map(({ inputs }) =>
      Object.entries(inputs).map(([name, tensor]) => tensorFromJson({ name, ...tensor })),
    );
  const inputs = madeUpInputs(session);
  if (inputs !== undefined) return [inputs];
  throw new AppError('unsupported', 'its inputs are too large to be made up: add golden samples to measure it with');
}

function madeUpInputs({ signature: { inputs } }: Session): NamedTensor[] | undefined {
  if (inputs.some((spec) => elementCount(smallestShape(spec)) > zerosAtMost)) return undefined;
  return inputs.map((spec) => madeUpInput(spec, smallestShape(spec)));
}

/** Free dimensions made 1 may not fit each other; that says nothing about the model. */
async function runWithZeros(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}
