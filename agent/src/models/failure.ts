// Why a model version cannot be served, as it is kept on disk and told to callers and to the control plane; and whose
// doing that is. Only what a model did itself counts against it.
import { AppError, type ErrorCode, errorCodes, messageOf } from '@edgeloop/shared/errors';
import { FailureKind } from '@edgeloop/shared/messages';
import { z } from 'zod';
import { isFull } from '../storage/refusal.ts';

export const Failure = z.object({ code: z.enum(errorCodes), message: z.string(), kind: FailureKind.optional() });
export type Failure = z.infer<typeof Failure>;

/** A file on this device's disk is not what it was when it was verified: the disk's doing, and mended by fetching it again. */
export class DamagedFile extends AppError {
  constructor(message: string) {
    super('integrity', message);
  }
}

/** What a model or its release is to blame for. All else is the machine's, the network's or ours, and may pass. */
const ofTheModel: readonly ErrorCode[] = ['model_rejected', 'integrity', 'timeout', 'unsupported', 'invalid_request'];

export function isModelsDoing(error: unknown): boolean {
  return error instanceof AppError && ofTheModel.includes(error.code) && !(error instanceof DamagedFile);
}

export function failureOf(error: unknown): Failure {
  if (error instanceof AppError) return { code: error.code, message: messageOf(error) };
  return { code: isFull(error) ? 'insufficient_storage' : 'internal', message: messageOf(error) };
}
