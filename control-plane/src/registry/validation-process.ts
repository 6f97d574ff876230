// The process in which an uploaded model is tried; see `validation.ts`.

import { AppError } from '@edgeloop/shared/errors';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { tryModel } from './trial.ts';
import { TrialInput, type TrialOutput } from './validation.ts';

answerBounded(async (input): Promise<TrialOutput> => {
  const tried = TrialInput.parse(input);
  try {
    return { accepted: true, signature: await tryModel(tried) };
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'model_rejected') throw error;
    return { accepted: false, reason: error.message, errors: error.errors };
  }
});
