// What the serving process and a model's own process say to each other. Both are of one release and one start, so the
// messages are typed and not checked; typed arrays travel as they are.

import type { StepRun } from '@edgeloop/shared/pipeline/run';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { SlotOutcome } from '../ring/ring.ts';
import type { Job } from '../worker/job.ts';
import type { Failure, ModelToOpen, OpeningAnswer } from '../worker/messages.ts';

/** A job with what is left of its deadline, since clocks differ. */
export interface SentJob extends Omit<Job, 'deadline' | 'settle'> {
  sequence: number;
  leftMs: number | undefined;
}

export type ToModelProcess =
  | { kind: 'open'; model: ModelToOpen }
  | { kind: 'close'; id: number }
  /** What came together; it runs together as far as it can. */
  | { kind: 'jobs'; jobs: readonly SentJob[] }
  /** Give back what has not begun to run. */
  | { kind: 'take-back' }
  /** End once what was sent has run. */
  | { kind: 'stop' };

export type SentEnding =
  | { kind: 'done'; outputs: NamedTensor[]; outcome: SlotOutcome }
  | { kind: 'failed'; failure: Failure }
  | { kind: 'expired' }
  | { kind: 'lost' };

export type FromModelProcess =
  | OpeningAnswer
  /** Its thread is up. */
  | { kind: 'started'; taskId: number | undefined }
  | { kind: 'ended'; sequence: number; ending: SentEnding }
  | { kind: 'unbatchable'; id: number }
  | { kind: 'steps'; id: number; runs: readonly StepRun[] }
  /** Why it ends itself now. */
  | { kind: 'dying'; reason: string };
