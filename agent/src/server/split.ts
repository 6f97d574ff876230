// Which requests a version answers that is given a share of them: decided by a hash of the caller's key, or of the request's id where
// it names none, so that whatever has the same key is answered by the same version; with a larger share it still is.
import { createHash } from 'node:crypto';
import { AppError } from '@edgeloop/shared/errors';
import type { Parameters } from './infer/fields.ts';

export function belongsToSplit(key: string, share: number): boolean {
  return createHash('sha256').update(`split\n${key}`).digest().readUInt32BE(0) / 2 ** 32 < share;
}

/** `split_key` of a request's parameters; an empty one is none. Throws `invalid_request`. */
export function splitKeyOf(parameters: Parameters): string | undefined {
  const key = parameters.get('split_key');
  if (key === undefined || key === null || key === '') return undefined;
  if (typeof key === 'string') return key;
  if (typeof key === 'number' && Number.isSafeInteger(key)) return String(key);
  throw new AppError('invalid_request', 'request.parameters.split_key must be a text or a whole number');
}
