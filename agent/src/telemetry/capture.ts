// Which answers are kept for training. Decided by a hash of the inference id, so that the same answer is decided the
// same way whenever it is looked at again. Pure.
import { createHash } from 'node:crypto';
import type { CapturePolicy } from '@edgeloop/shared/manifest';
import type { JournalRecord } from './record.ts';

/** `waiting`: kept only in case that its truth is reported. */
export type CaptureReason = 'rate' | 'low_confidence' | 'waiting';

/** Why the one row of `record` is kept, or undefined. Answers of several rows and without features are not. */
export function captureReason(record: JournalRecord, policy: CapturePolicy): CaptureReason | undefined {
  if (record.outcome !== 'ok' || record.rows !== 1 || record.features === undefined) return undefined;
  if (chance('rate', record.inferenceId) < policy.rate) return 'rate';
  const score = record.scores?.[0];
  if (policy.confidenceBelow !== undefined && score !== undefined && score < policy.confidenceBelow)
    return 'low_confidence';
  return chance('labelled', record.inferenceId) < policy.labelledRate ? 'waiting' : undefined;
}

/** A number in [0, 1) that depends on `purpose` and `id` only. */
function chance(purpose: string, id: string): number {
  return createHash('sha256').update(`${purpose}\n${id}`).digest().readUInt32BE(0) / 2 ** 32;
}
