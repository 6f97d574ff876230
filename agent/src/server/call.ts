// The way of one inference request, the same for every form of it: body, lease on a version, tensors, run, answer; and
// one observation however it ends.
import { AppError } from '@edgeloop/shared/errors';
import type { Size } from '@edgeloop/shared/meaning/picture-placement';
import { checkData, type NamedTensor } from '@edgeloop/shared/tensor-data';
import type { Engine, ModelLease } from '../inference/engine.ts';
import { ModelProcessDied } from '../inference/hosts/worker.ts';
import type { InferenceResult, RunOptions } from '../inference/queueing/batcher.ts';
import type { HangUp } from '../inference/queueing/hang-up.ts';
import { orderInputs } from '../inference/queueing/input-order.ts';
import { Abandoned } from '../inference/queueing/refusals.ts';
import type { Hold } from './body-memory.ts';
import type { CallHeaders } from './call-headers.ts';
import { createInferenceIds } from './inference-id.ts';
import type { Arrivals } from './known-models.ts';
import { leaseNamed } from './lease.ts';
import type { Neighbours } from './neighbours.ts';
import type { MissingPlace, Observer } from './observation.ts';
import { cacheOf, type ResponseCache } from './response-cache.ts';
import type { SequenceAsk, SequenceStep, Sequences } from './sequences.ts';
import type { Shadows } from './shadows.ts';
import { belongsToSplit } from './split.ts';

export interface CallDeps {
  engine: Engine;
  observer: Observer;
  /** For callers of models that come in a moment. */
  arrivals: Arrivals;
  sequences: Sequences;
  /** Versions that run in the shadow of what answers. */
  shadows: Shadows;
  /** Undefined where this is the only serving process. */
  neighbours: Neighbours | undefined;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
}

const newId = createInferenceIds();

type Submit = (inputs: readonly NamedTensor[]) => Promise<InferenceResult>;

/** A request as far as it is understood. */
export interface Call<Answer = object> {
  /** The caller's id for it; one is made when there is none. */
  id: string | undefined;
  /** What it is split by, before the header says so. */
  splitKey?: string | undefined;
  inputs: NamedTensor[];
  /** Features that the caller gave no value: they are recorded as missing, whatever the model got in their place. */
  missing?: readonly MissingPlace[];
  /** Of the picture that it brought, before it was made to fit. */
  picture?: Size | undefined;
  options?: RunOptions;
  /** How it is run, where not once as it is; the inputs are in the order of the signature. */
  run?: ((inputs: readonly NamedTensor[], submit: Submit) => Promise<InferenceResult>) | undefined;
  /** The answer, for example the JSON body of it. */
  answer(id: string, outputs: readonly NamedTensor[]): Answer | Promise<Answer>;
}

/** Which model a request is for, and what came with it. */
export interface Asked {
  /** As in the path, percent-decoded. */
  model: string;
  version: string | undefined;
  /** Path and query as they were sent. */
  url: string;
  headers: CallHeaders;
  /** An error counts against the model, if there is one. */
  body: Buffer | AppError;
  /** By `nowMs`, when the body was whole. */
  startedMs: number;
  caller: HangUp;
  /** What it takes of the memory of requests. */
  hold: Hold;
  /** Its place in a sequence, once that is known; whoever made this leaves it. */
  step: SequenceStep | undefined;
}

/** The request belongs to a sequence that runs on another version. */
class Elsewhere extends Error {
  readonly lease: ModelLease;

  constructor(lease: ModelLease) {
    super(`the sequence runs on version ${lease.version}`);
    this.lease = lease;
  }
}

/** The request belongs to a sequence that lives in another serving process. */
export class BelongsElsewhere extends Error {
  readonly home: number;

  constructor(home: number) {
    super(`its sequence lives in process ${home}`);
    this.home = home;
  }
}

/**
 * The call as a part of its sequence: with the states that were left for it, and leaving those of its own. A model that keeps
 * none has no sequences, whatever the request says.
 */
export async function inSequence<Answer>(
  { sequences, neighbours }: Pick<CallDeps, 'sequences' | 'neighbours'>,
  asked: Asked,
  { lease, ask, call }: { lease: ModelLease; ask: SequenceAsk; call: Call<Answer> },
): Promise<Call<Answer>> {
  const home = neighbours?.homeOf(lease.name);
  if (home !== undefined) throw new BelongsElsewhere(home);
  asked.step ??= await sequences.enter(lease, ask);
  const { step } = asked;
  if (step.lease.model !== lease.model) {
    if (asked.version === undefined) throw new Elsewhere(step.lease);
    const message = `sequence ${ask.id} runs on version ${step.lease.version} of the model, not on ${asked.version}`;
    throw new AppError('invalid_request', message);
  }
  return {
    ...call,
    inputs: step.withOwn(call.inputs),
    async run(inputs, submit) {
      const result = await submit(inputs);
      step.keep(result.outputs);
      return result;
    },
  };
}

/**
 * Answers what `understand` makes of the body; it throws `invalid_request` for what makes no sense to it. Where the version
 * that was asked proves to be none, the one that takes its place is.
 */
export async function runCall<Answer>(
  { engine, observer, arrivals, shadows, nowMs }: CallDeps,
  asked: Asked,
  understand: (body: Buffer, lease: ModelLease) => Call<Answer> | Promise<Call<Answer>>,
): Promise<Answer> {
  const { model, version, body, startedMs, caller } = asked;
  let lease: ModelLease;
  try {
    lease = leaseNamed(engine, model, version);
  } catch (error) {
    lease = await arrivals.next(error, asked);
  }
  /** Of the whole request, whichever version answers it. */
  let inferenceId: string | undefined;
  let mayBeSplit = version === undefined;
  for (let isSecond = false; ; ) {
    const present = lease;
    let deadline: number | undefined;
    try {
      if (body instanceof AppError) throw body;
      const understood = understand(body, present);
      const call = understood instanceof Promise ? await understood : understood;
      inferenceId ??= call.id ?? newId(Date.now());
      const beside = engine.beside(present);
      const isSplit = beside?.mode === 'split' && mayBeSplit && !asked.step;
      if (isSplit && belongsToSplit(call.splitKey || asked.headers.splitKey || inferenceId, beside.share)) {
        mayBeSplit = false;
        lease = engine.leaseBeside(present.name);
        continue;
      }
      const { options, missing, picture } = call;
      deadline = options?.deadline;
      const inputs = orderInputs(present.model.signature, call.inputs);
      const submittedMs = nowMs();
      const { batcher } = present.model;
      const how: RunOptions = { caller, deadline, priority: options?.priority };
      const submit = (part: readonly NamedTensor[]) => batcher.submit(part, how);
      // What takes several runs is more than its first inputs say.
      const cache = call.run === undefined ? cacheOf(present.model) : undefined;
      const result = await (cache
        ? cachedResult(cache, inputs, nowMs, () => submit(inputs))
        : call.run === undefined
          ? submit(inputs)
          : call.run(inputs, submit));
      const ranMs = nowMs();
      const answer = call.answer(inferenceId, result.outputs);
      const endedMs = nowMs();
      const spans = { inputMs: submittedMs - startedMs, outputMs: endedMs - ranMs };
      observer.observe({
        lease: present,
        inferenceId,
        startedMs,
        endedMs,
        spans,
        outcome: { inputs, result, missing, picture },
      });
      if (beside?.mode === 'shadow' && call.run === undefined && result.cache?.hit !== true)
        shadows.offer(beside, { lease: present, inferenceId, inputs, missing, result, endedMs });
      return answer;
    } catch (error) {
      if (error instanceof Elsewhere) {
        lease = error.lease;
        isSecond = true;
        continue;
      }
      // It is counted where it is answered.
      if (error instanceof BelongsElsewhere) throw error;
      // Asked once more, whoever's request it was that ended the process. One that was killed from outside failed nobody.
      const diedUnder = !isSecond && !caller.gone && isAbandoned(error) ? error : undefined;
      if (diedUnder?.code === 'unavailable') {
        lease = await arrivals.successor(diedUnder, present, asked);
        [isSecond, mayBeSplit] = [true, false];
        continue;
      }
      const endedMs = nowMs();
      const expired = isExpired(error, deadline, endedMs) ? 'expired' : undefined;
      observer.observe({
        lease: present,
        inferenceId: inferenceId ?? newId(Date.now()),
        startedMs,
        endedMs,
        outcome: { error, byCaller: caller.gone ? 'cancelled' : expired },
      });
      if (diedUnder === undefined) throw error;
      lease = await arrivals.successor(diedUnder, present, asked);
      [isSecond, mayBeSplit] = [true, false];
    } finally {
      present.release();
    }
  }
}

/** What was answered to the same inputs before, or a run; and how long it took to look, and to keep what is new. */
async function cachedResult(
  cache: ResponseCache,
  inputs: readonly NamedTensor[],
  nowMs: () => number,
  run: () => Promise<InferenceResult>,
): Promise<InferenceResult> {
  const beganMs = nowMs();
  // A run would refuse it, and its bytes could be those of other inputs.
  for (const input of inputs) checkData(input);
  const key = cache.keyOf(inputs);
  const outputs = cache.get(key);
  const lookedMs = nowMs() - beganMs;
  if (outputs)
    return { outputs: [...outputs], queueMs: 0, runMs: 0, runRows: 0, cache: { hit: true, tookMs: lookedMs } };
  const result = await run();
  const ranMs = nowMs();
  cache.put(key, result.outputs);
  return { ...result, cache: { hit: false, tookMs: lookedMs + (nowMs() - ranMs) } };
}

/** Whether what ran the model is gone, whether it was running the request or not yet. */
function isAbandoned(error: unknown): error is AppError {
  return error instanceof ModelProcessDied || error instanceof Abandoned;
}

/** Whether the caller's own deadline ended the request, which says nothing against the model. */
function isExpired(error: unknown, deadline: number | undefined, nowMs: number): boolean {
  return error instanceof AppError && error.code === 'timeout' && deadline !== undefined && nowMs >= deadline;
}
