// What is counted of one model version, in the terms of the protocol's statistics extension.
import type { StepRun } from '@edgeloop/shared/pipeline/run';

/** How often, and how long altogether. */
interface Duration {
  count: number;
  ns: number;
}

interface BatchStatistics {
  /** Rows in a run. */
  size: number;
  input: Duration;
  infer: Duration;
  output: Duration;
}

/** Of one step of a pipeline. */
interface StepStatistics {
  success: Duration;
  fail: Duration;
  /** Runs in which it gave less than there was. */
  cut: number;
}

export interface ModelStatistics {
  /** From the arrival at the engine to the answer. */
  success: Duration;
  fail: Duration;
  /** Waiting for a worker thread. */
  queue: Duration;
  /** Of the run that a request was part of: copying in, ONNX Runtime, copying out. */
  computeInput: Duration;
  computeInfer: Duration;
  computeOutput: Duration;
  /** Rows that were answered. */
  inferenceCount: number;
  /** Runs of ONNX Runtime. */
  executionCount: number;
  batches: BatchStatistics[];
  /** In the order of their runs; those that have run. */
  steps: StepStatistics[];
  /** Milliseconds since 1970; 0 before the first. */
  lastInferenceMs: number;
  /** Told to come back because the queue was full. */
  rejected: number;
  /** Dropped because their deadline passed before they ran. */
  expired: number;
  /** Dropped because their caller left before they ran. */
  cancelled: number;
}

interface RunTimes {
  queueMs: number;
  inputMs: number;
  runMs: number;
  outputMs: number;
  /** Rows of the run, told by one of its requests; 0 by the others. */
  runRows: number;
}

export interface StatisticsRecorder {
  succeeded(rows: number, totalMs: number, times: RunTimes): void;
  failed(totalMs: number): void;
  /** The steps of one run of a pipeline. */
  stepped(runs: readonly StepRun[]): void;
  dropped(kind: 'rejected' | 'expired' | 'cancelled'): void;
  snapshot(): ModelStatistics;
  /** Runs so far, by their rows. */
  runs(): ReadonlyMap<number, number>;
}

const none = (): Duration => ({ count: 0, ns: 0 });

function add(duration: Duration, ms: number): void {
  duration.count++;
  duration.ns += Math.max(0, Math.round(ms * 1e6));
}

/** `now` gives milliseconds since 1970. */
export function createStatistics(now: () => number): StatisticsRecorder {
  const total = { success: none(), fail: none(), queue: none() };
  const compute = { computeInput: none(), computeInfer: none(), computeOutput: none() };
  const counts = { inferenceCount: 0, executionCount: 0, lastInferenceMs: 0, rejected: 0, expired: 0, cancelled: 0 };
  const batches = new Map<number, BatchStatistics>();
  const steps: StepStatistics[] = [];

  const batch = (size: number): BatchStatistics => {
    const known = batches.get(size);
    if (known) return known;
    const fresh = { size, input: none(), infer: none(), output: none() };
    batches.set(size, fresh);
    return fresh;
  };

  return {
    succeeded(rows, totalMs, times) {
      add(total.success, totalMs);
      add(total.queue, times.queueMs);
      add(compute.computeInput, times.inputMs);
      add(compute.computeInfer, times.runMs);
      add(compute.computeOutput, times.outputMs);
      counts.inferenceCount += rows;
      counts.lastInferenceMs = now();
      if (times.runRows === 0) return;
      counts.executionCount++;
      const sized = batch(times.runRows);
      add(sized.input, times.inputMs);
      add(sized.infer, times.runMs);
      add(sized.output, times.outputMs);
    },
    failed: (totalMs) => add(total.fail, totalMs),
    stepped(runs) {
      for (const { at, ms, failed, cut } of runs) {
        while (steps.length <= at) steps.push({ success: none(), fail: none(), cut: 0 });
        const step = steps[at];
        if (!step) continue;
        add(failed ? step.fail : step.success, ms);
        if (cut) step.cut++;
      }
    },
    dropped(kind) {
      counts[kind]++;
    },
    snapshot: () => ({
      ...structuredClone({ ...total, ...compute, ...counts, steps }),
      batches: structuredClone([...batches.values()].sort((a, b) => a.size - b.size)),
    }),
    runs: () => new Map([...batches].map(([size, { infer }]) => [size, infer.count])),
  };
}
