// The process in which an uploaded model is tried; see `validation.ts`.

import { AppError } from '@edgeloop/shared/errors';
import { answerBounded } from '@edgeloop/shared/node/bounded-process';
import { tryModel } from './trial.ts';
import { TrialInput, type TrialOutput } from './validation.ts';

answerBounded(async (input): Promise<TrialOutput> => {
  const { path, golden } = TrialInput.parse(input);
  try {
    return { accepted: true, signature: await tryModel(path, golden) };
  } catch (error) {
    if (error instanceof AppError && error.code === 'model_rejected') return { accepted: false, reason: error.message };
    throw error;
  }
});
