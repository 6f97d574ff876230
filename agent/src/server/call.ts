// The way of one inference request, the same for every form of it: body, lease on a version, tensors, run, answer; and
// one observation however it ends.
import { AppError } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { v7 as uuidv7 } from 'uuid';
import type { InferenceResult } from '../inference/batcher.ts';
import { orderInputs } from '../inference/batching.ts';
import type { Engine, ModelLease } from '../inference/engine.ts';
import type { NamedTensor } from '../inference/tensors.ts';
import { readBody } from './body.ts';
import type { Observer } from './observation.ts';

export interface CallDeps {
  engine: Engine;
  observer: Observer;
  /** Monotonic clock in milliseconds. */
  nowMs(): number;
}

/** A request as far as it is understood. */
export interface Call {
  /** The caller's id for it; one is made when there is none. */
  id: string | undefined;
  inputs: NamedTensor[];
  /** The JSON body of the answer. */
  answer(id: string, outputs: readonly NamedTensor[]): object;
}

/** Answers an inference request. `understand` throws `invalid_request` for bodies that make no sense to it. */
export async function handleCall(
  c: Context,
  { engine, observer, nowMs }: CallDeps,
  understand: (body: string, lease: ModelLease) => Call,
): Promise<Response> {
  // The version is chosen when the body is whole, so that a slow upload does not keep an old version alive.
  const body = await bodyOrError(c);
  const startedMs = nowMs();
  const lease = leaseOf(c, engine);
  let inferenceId: string | undefined;
  const observe = (outcome: { inputs: readonly NamedTensor[]; result: InferenceResult } | { error: unknown }): void =>
    observer.observe({ lease, inferenceId: inferenceId ?? uuidv7(), latencyMs: nowMs() - startedMs, outcome });
  try {
    if (body instanceof AppError) throw body;
    const call = understand(body, lease);
    inferenceId = call.id ?? uuidv7();
    const inputs = orderInputs(lease.model.signature, call.inputs);
    const result = await lease.model.batcher.submit(inputs);
    const answer = c.json(call.answer(inferenceId, result.outputs));
    observe({ inputs, result });
    return answer;
  } catch (error) {
    observe({ error });
    throw error;
  } finally {
    lease.release();
  }
}

async function bodyOrError(c: Context): Promise<string | AppError> {
  try {
    return await readBody(c.req);
  } catch (error) {
    // Whether it counts against a model is known only once the model is.
    if (error instanceof AppError) return error;
    throw error;
  }
}

/** The lease that the path asks for: `:model` and perhaps `:version`. Throws `not_found` or `unavailable`. */
export function leaseOf(c: Context, engine: Engine): ModelLease {
  const name = c.req.param('model') ?? '';
  const version = c.req.param('version');
  if (version === undefined) return engine.lease(name);
  if (!/^[0-9]{1,10}$/.test(version)) throw new AppError('not_found', `unknown model "${name}" version "${version}"`);
  return engine.lease(name, Number(version));
}
