// Why a model version cannot be served, as it is kept on disk and told to callers and to the control plane.
import { AppError, errorCodes, messageOf } from '@edgeloop/shared/errors';
import { z } from 'zod';

export const Failure = z.object({ code: z.enum(errorCodes), message: z.string() });
export type Failure = z.infer<typeof Failure>;

export function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}
