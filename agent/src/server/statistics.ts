// Statistics of models in Triton's shape: counts, and how long requests spent where, in all serving processes of this device.
import type { Context } from 'hono';
import type { Engine, LoadedModel } from '../inference/engine.ts';
import type { VersionFigures } from '../process/figures.ts';
import type { DeviceFigures } from './device-figures.ts';
import { leaseNamed } from './lease.ts';

/** Of one model (all its loaded versions, or the one named), or of all models. */
export async function handleStats(c: Context, deps: StatisticsDeps): Promise<Response> {
  return c.json(await statisticsOf(deps, c.req.param('model'), c.req.param('version')));
}

interface StatisticsDeps {
  engine: Engine;
  figures: DeviceFigures;
}

/** Throws `not_found` or `unavailable`. */
export async function statisticsOf(
  { engine, figures }: StatisticsDeps,
  name: string | undefined,
  version: string | undefined,
): Promise<{ model_stats: object[] }> {
  if (name !== undefined) leaseNamed(engine, name, version).release();
  const { versions } = await figures.whole();
  const wanted = engine
    .list()
    .filter((loaded) => name === undefined || loaded.name === name)
    .filter((loaded) => version === undefined || loaded.version === Number(version));
  return {
    model_stats: wanted.flatMap((loaded) => {
      const counted = versions.find((each) => each.model === loaded.name && each.version === loaded.version);
      return counted === undefined ? [] : [statsOf(loaded, counted, figures.processes)];
    }),
  };
}

function statsOf(
  { name, version, model }: ReturnType<Engine['list']>[number],
  { tally, runs, lastAtMs }: VersionFigures,
  processes: number,
): object {
  const failed = tally.failed + tally.cancelled + tally.expired;
  const { files, runtime } = model;
  return {
    name,
    version: String(version),
    last_inference: lastAtMs,
    inference_count: tally.rows,
    execution_count: runs.executionCount,
    inference_stats: {
      success: duration(tally.succeeded, tally.succeededMs),
      fail: duration(failed, tally.failedMs),
      queue: runs.queue,
      // Reading the tensors out of the request, then copying them to the run; and the way back.
      compute_input: plus(runs.computeInput, tally.inputMs),
      compute_infer: runs.computeInfer,
      compute_output: plus(runs.computeOutput, tally.outputMs),
      cache_hit: duration(tally.cacheHits, tally.cacheHitMs),
      cache_miss: duration(tally.cacheMisses, tally.cacheMissMs),
    },
    // Keys that are whole numbers come in their order.
    batch_stats: Object.entries(runs.batches).map(([size, { input, infer, output }]) => ({
      batch_size: Number(size),
      compute_input: input,
      compute_infer: infer,
      compute_output: output,
    })),
    ...(model.steps.length === 0 ? {} : { steps: stepsOf(model, runs.steps) }),
    memory_usage: [],
    response_stats: {},
    // Ours: how the version runs here; in each of the processes where there are several.
    runtime: {
      ...runtime,
      ...(processes > 1 ? { processes } : {}),
      max_batch: model.batcher.maxBatch(),
      runs_in_http_thread: runs.runsHere,
      ...(files.tuning ? { tuning: files.tuning } : {}),
    },
  };
}

/** Ours: of each step of a pipeline. */
function stepsOf({ steps }: LoadedModel, counted: VersionFigures['runs']['steps']): object[] {
  const none = { count: 0, ns: 0 };
  return steps.map(({ name, does }, at) => ({
    name,
    does,
    success: counted[at]?.success ?? none,
    fail: counted[at]?.fail ?? none,
    cut: counted[at]?.cut ?? 0,
  }));
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
