// Which requests a version answers that is given a share of them: decided by a hash of the request's id, so that the same request
// is answered by the same version.
import { createHash } from 'node:crypto';

export function belongsToSplit(inferenceId: string, share: number): boolean {
  return createHash('sha256').update(`split\n${inferenceId}`).digest().readUInt32BE(0) / 2 ** 32 < share;
}
