// The way of one inference request, the same for every form of it: body, lease on a version, tensors, run, answer; and
// one observation however it ends.
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import type { Engine, ModelLease } from '../inference/engine.ts';
import type { RunOptions } from '../inference/queueing/batcher.ts';
import { callerOf, type HangUp } from '../inference/queueing/hang-up.ts';
import { orderInputs } from '../inference/queueing/input-order.ts';
import type { NamedTensor } from '../inference/tensors.ts';
import { readBytes } from './body.ts';
import { createInferenceIds } from './inference-id.ts';
import type { Observer } from './observation.ts';

export interface CallDeps {
  engine: Engine;
  observer: Observer;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
}

const newId = createInferenceIds();

/** A request as far as it is understood. */
export interface Call<Answer = object> {
  /** The caller's id for it; one is made when there is none. */
  id: string | undefined;
  inputs: NamedTensor[];
  options?: RunOptions;
  /** The answer, for example the JSON body of it. */
  answer(id: string, outputs: readonly NamedTensor[]): Answer | Promise<Answer>;
}

/** Which model a request is for, and what came with it. */
export interface Asked {
  /** As in the path, percent-decoded. */
  model: string;
  version: string | undefined;
  /** An error counts against the model, if there is one. */
  body: Buffer | AppError;
  /** By `nowMs`, when the body was whole. */
  startedMs: number;
  caller: HangUp;
}

/** Answers what `understand` makes of the body; it throws `invalid_request` for what makes no sense to it. */
export async function runCall<Answer>(
  { engine, observer, nowMs }: CallDeps,
  { model, version, body, startedMs, caller }: Asked,
  understand: (body: Buffer, lease: ModelLease) => Call<Answer> | Promise<Call<Answer>>,
): Promise<Answer> {
  const lease = leaseNamed(engine, model, version);
  let inferenceId: string | undefined;
  let deadline: number | undefined;
  try {
    if (body instanceof AppError) throw body;
    const understood = understand(body, lease);
    const call = understood instanceof Promise ? await understood : understood;
    inferenceId = call.id ?? newId(Date.now());
    const { options } = call;
    deadline = options?.deadline;
    const inputs = orderInputs(lease.model.signature, call.inputs);
    const submittedMs = nowMs();
    const result = await lease.model.batcher.submit(inputs, { caller, deadline, priority: options?.priority });
    const ranMs = nowMs();
    const answer = call.answer(inferenceId, result.outputs);
    const endedMs = nowMs();
    const spans = { inputMs: submittedMs - startedMs, outputMs: endedMs - ranMs };
    observer.observe({ lease, inferenceId, latencyMs: endedMs - startedMs, spans, outcome: { inputs, result } });
    return answer;
  } catch (error) {
    const endedMs = nowMs();
    const expired = isExpired(error, deadline, endedMs) ? 'expired' : undefined;
    observer.observe({
      lease,
      inferenceId: inferenceId ?? newId(Date.now()),
      latencyMs: endedMs - startedMs,
      outcome: { error, byCaller: caller.gone ? 'cancelled' : expired },
    });
    throw error;
  } finally {
    lease.release();
  }
}

/** Whether the caller's own deadline ended the request, which says nothing against the model. */
function isExpired(error: unknown, deadline: number | undefined, nowMs: number): boolean {
  return error instanceof AppError && error.code === 'timeout' && deadline !== undefined && nowMs >= deadline;
}

/** The request in `c` with its whole body; `onBytes` hears of the memory that it takes, and may throw. */
export async function askedOf(c: Context, { nowMs }: CallDeps, onBytes?: (bytes: number) => void): Promise<Asked> {
  // The version is chosen when the body is whole, so that a slow upload does not keep an old version alive.
  const body = await bodyOrError(c, onBytes);
  return {
    model: c.req.param('model') ?? '',
    version: c.req.param('version'),
    body,
    startedMs: nowMs(),
    caller: callerOf(c.req.raw.signal),
  };
}

async function bodyOrError(c: Context, onBytes?: (bytes: number) => void): Promise<Buffer | AppError> {
  try {
    return await readBytes(c.req, undefined, onBytes);
  } catch (error) {
    // Whether it counts against a model is known only once the model is.
    if (error instanceof AppError) return error;
    throw error;
  }
}

/** The lease that the path of `c` asks for: `:model` and perhaps `:version`. Throws `not_found` or `unavailable`. */
export function leaseOf(c: Context, engine: Engine): ModelLease {
  return leaseNamed(engine, c.req.param('model') ?? '', c.req.param('version'));
}

function leaseNamed(engine: Engine, model: string, version: string | undefined): ModelLease {
  if (version === undefined) return engine.lease(model);
  if (!/^[0-9]{1,10}$/.test(version))
    throw new AppError('not_found', `Request for unknown model: "${model}" version "${version}"`);
  return engine.lease(model, Number(version));
}
