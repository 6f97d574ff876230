// SHA-256 of files and of their segments.
import { createHash } from 'node:crypto';
import type { Sha256 } from '../identifiers.ts';

/** SHA-256 in lower-case hex. */
export function sha256(bytes: Uint8Array | string): Sha256 {
  return createHash('sha256').update(bytes).digest('hex');
}
