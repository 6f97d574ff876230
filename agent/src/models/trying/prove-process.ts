// The process in which a candidate is loaded and run for the first time. It ends with its one answer.

import { AppError, messageOf, parse } from '@edgeloop/shared/errors';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import type { FailureKind } from '@edgeloop/shared/messages';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { elementCount } from '@edgeloop/shared/tensor-data';
import { proveGolden } from '../../inference/worker/golden-run.ts';
import { openModel } from '../../inference/worker/open-model.ts';
import { ModelFiles } from '../../process/ipc.ts';
import { madeUpInput, smallestShape } from './made-up-input.ts';
import type { ProofAnswer } from './prove.ts';

/** More values than this are not made up for a run with zeros. */
const zerosAtMost = 16_777_216;

answerBounded(async (input): Promise<ProofAnswer> => {
  const model = parse(ModelFiles, input, 'model to prove', 'internal');
  let kind: FailureKind = 'load';
  try {
    const { session } = await openModel(model.path, { pipeline: model.manifest.pipeline });
    kind = 'contract';
    interpret(model.manifest, session.signature);
    if (model.golden !== undefined && model.golden.samples.length > 0) {
      kind = 'golden';
      await proveGolden(session, model.golden);
      return {};
    }
    kind = 'load';
    const { inputs } = session.signature;
    if (inputs.every((spec) => elementCount(smallestShape(spec)) <= zerosAtMost))
      await runWithZeros(() => session.run(inputs.map((spec) => madeUpInput(spec, smallestShape(spec)))));
    return {};
  } catch (error) {
    const code = error instanceof AppError ? error.code : 'model_rejected';
    return { failure: { code, message: messageOf(error), kind } };
  }
});

/** Free dimensions made 1 may not fit each other; that says nothing about the model. */
async function runWithZeros(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}
