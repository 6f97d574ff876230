// What runs models for the scheduler: a thread of this process, or a process of its own.
import { AppError } from '@edgeloop/shared/errors';
import type { StepRun } from '@edgeloop/shared/pipeline/run';
import type { Job } from '../worker/job.ts';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';

/** The own process of a model ended with what ran in it. `internal`: by a fault of its own; `unavailable`: killed from outside. */
export class ModelProcessDied extends AppError {
  constructor(how: string, crashed: boolean) {
    super(crashed ? 'internal' : 'unavailable', `the model's process died: ${how}`);
  }
}

/** What a worker tells unasked. */
export interface WorkerEvents {
  /** Room has come free. */
  onEnded(): void;
  /** Requests of this model can't share a run after all. */
  onUnbatchable(model: number): void;
  /** The steps of one run of a pipeline. */
  onSteps(model: number, runs: readonly StepRun[]): void;
  /** It is gone; all its jobs have been settled. */
  onDied(error: Error): void;
}

export interface Worker {
  /** Resolves when it takes up work, or is gone, to what Linux calls its thread. */
  started: Promise<number | undefined>;
  /** Loads a model there. Throws `model_rejected`. */
  open(model: ModelToOpen): Promise<OpenedModel>;
  close(model: number): Promise<void>;
  /** A handle, or undefined when there is no room now. Seen there at the latest after `wake`. */
  submit(job: Job): number | undefined;
  wake(): void;
  /** True when it will not run; it is not settled then. */
  cancel(handle: number): boolean;
  /** Settles as lost what has not begun to run, so that it runs elsewhere. */
  takeBack(): void;
  /** Jobs on their way or running. */
  depth(): number;
  /** Changes with every start and end of a run; odd during one. */
  runs(): number;
  running(): number;
  /** Milliseconds of processor time that its thread has had; undefined where the system does not tell. */
  processorMs(): number | undefined;
  /** The same of its whole process, where it has one of its own. */
  processMs?(): number | undefined;
  /** Waits for what is on its way, then ends it. */
  end(): Promise<void>;
  /** Ends it now, busy or not; only a process can be ended so. */
  kill?(why: string): void;
}
