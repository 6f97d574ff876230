// Tries uploaded models in a process of its own with bounds on time and memory, a few at a time.

import { fileURLToPath } from 'node:url';
import { AppError, FieldError } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { Manifest } from '@edgeloop/shared/manifest';
import { type BoundedFailure, runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { createTurn } from '@edgeloop/shared/node/turn';
import { ModelSignature } from '@edgeloop/shared/tensors';
import { z } from 'zod';

export const TrialInput = z.object({ path: z.string(), manifest: Manifest, golden: GoldenSamples });
export type TrialInput = z.infer<typeof TrialInput>;

export const TrialOutput = z.discriminatedUnion('accepted', [
  z.object({ accepted: z.literal(true), signature: ModelSignature }),
  z.object({ accepted: z.literal(false), reason: z.string(), errors: z.array(FieldError) }),
]);
export type TrialOutput = z.infer<typeof TrialOutput>;

export interface ValidationLimits {
  timeoutMs: number;
  /** Largest resident set of the process that tries a model. */
  maxRssBytes: number;
  /** Models that may wait for their turn; further ones are refused. */
  maxWaiting: number;
}

const modulePath = fileURLToPath(
  new URL(`./validation-process${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

/** One model is tried at a time: each may take all the memory that it is allowed. */
export function createValidator(limits: ValidationLimits) {
  const stopping = new AbortController();
  let waiting = 0;
  const trials = createTurn();

  async function attempt(input: TrialInput): Promise<ModelSignature> {
    const result = await runBounded({
      modulePath,
      input,
      timeoutMs: limits.timeoutMs,
      maxRssBytes: limits.maxRssBytes,
      env: { ORT_DISABLE_TELEMETRY: '1' },
      execArgv: sourceExecArgv(import.meta.url),
      signal: stopping.signal,
    });
    if (!result.ok) throw failureOf(result);
    const output = TrialOutput.parse(result.output);
    if (output.accepted) return output.signature;
    throw new AppError('model_rejected', output.reason, { errors: output.errors });
  }

  return {
    /**
     * The signature of the model in the file `path`, once its manifest fits it.
     * @throws AppError `model_rejected` with the reason and the fields of the manifest; `too_many_requests` when too many wait already
     */
    async validate(input: TrialInput): Promise<ModelSignature> {
      if (waiting >= limits.maxWaiting) {
        throw new AppError('too_many_requests', `${waiting} models wait to be validated already; try again later`, {
          retryAfterSeconds: 10,
        });
      }
      waiting++;
      try {
        return await trials.run(() => attempt(input));
      } finally {
        waiting--;
      }
    },

    /** Ends what is being tried; resolves once its process is gone. */
    async close(): Promise<void> {
      stopping.abort(new AppError('unavailable', 'the server is stopping; upload the model again'));
      await trials.idle();
    },
  };
}

function failureOf(failure: BoundedFailure): AppError {
  if (failure.outside) {
    const what = `a model could not be tried, by no fault of its own: its process ${failure.detail}`;
    return new AppError('unavailable', `${what}; upload it again`, { retryAfterSeconds: 10 });
  }
  if (failure.reason === 'died' && failure.signal === null) {
    return new AppError('internal', `a model could not be tried: its process ${failure.detail}`);
  }
  const how =
    failure.reason === 'died'
      ? `it ended the process that tried it by ${failure.signal}${failure.signal === 'SIGKILL' ? ', as when memory runs out' : ''}`
      : failure.detail;
  return new AppError('model_rejected', `the model cannot be run safely: ${how}`);
}
