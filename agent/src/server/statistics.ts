// Statistics of models in Triton's shape: counts, and how long requests spent where.
import type { Context } from 'hono';
import type { Engine } from '../inference/engine.ts';
import { leaseNamed } from './lease.ts';
import type { Observer, Tally } from './observation.ts';

/** Of one model (all its loaded versions, or the one named), or of all models. */
export function handleStats(c: Context, deps: StatisticsDeps): Response {
  return c.json(statisticsOf(deps, c.req.param('model'), c.req.param('version')));
}

interface StatisticsDeps {
  engine: Engine;
  observer: Observer;
}

/** Throws `not_found` or `unavailable`. */
export function statisticsOf(
  { engine, observer }: StatisticsDeps,
  name: string | undefined,
  version: string | undefined,
): { model_stats: object[] } {
  if (name !== undefined) leaseNamed(engine, name, version).release();
  const wanted = engine
    .list()
    .filter((loaded) => name === undefined || loaded.name === name)
    .filter((loaded) => version === undefined || loaded.version === Number(version));
  return { model_stats: wanted.map((loaded) => statsOf(loaded, observer.tally(loaded.model))) };
}

function statsOf({ name, version, model }: ReturnType<Engine['list']>[number], tally: Readonly<Tally>): object {
  const { batches, ...engine } = model.batcher.statistics();
  const failed = tally.failed + tally.cancelled + tally.expired;
  const { files, runtime } = model;
  return {
    name,
    version: String(version),
    last_inference: tally.lastAtMs,
    inference_count: tally.rows,
    execution_count: engine.executionCount,
    inference_stats: {
      success: duration(tally.succeeded, tally.succeededMs),
      fail: duration(failed, tally.failedMs),
      queue: engine.queue,
      // Reading the tensors out of the request, then copying them to the run; and the way back.
      compute_input: plus(engine.computeInput, tally.inputMs),
      compute_infer: engine.computeInfer,
      compute_output: plus(engine.computeOutput, tally.outputMs),
      cache_hit: duration(tally.cacheHits, tally.cacheHitMs),
      cache_miss: duration(tally.cacheMisses, tally.cacheMissMs),
    },
    batch_stats: batches.map(({ size, input, infer, output }) => ({
      batch_size: size,
      compute_input: input,
      compute_infer: infer,
      compute_output: output,
    })),
    memory_usage: [],
    response_stats: {},
    // Ours: how the version runs here.
    runtime: {
      ...runtime,
      max_batch: model.batcher.maxBatch(),
      runs_in_http_thread: model.batcher.runsHere(),
      ...(files.tuning ? { tuning: files.tuning } : {}),
    },
  };
}

interface Duration {
  count: number;
  ns: number;
}

function duration(count: number, ms: number): Duration {
  return { count, ns: Math.round(ms * 1e6) };
}

function plus({ count, ns }: Duration, ms: number): Duration {
  return { count, ns: ns + Math.round(ms * 1e6) };
}
