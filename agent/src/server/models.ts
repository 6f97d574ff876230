// What the Open Inference Protocol tells of the server and its models.
import { parseJson } from '@edgeloop/shared/errors';
import type { Context } from 'hono';
import { z } from 'zod';
import type { Engine } from '../inference/engine.ts';
import { readBody } from './body.ts';
import { leaseOf } from './call.ts';
import type { Observer, Tally } from './observation.ts';

export interface ModelsDeps {
  engine: Engine;
  observer: Observer;
}

/** `{name, versions, platform, inputs, outputs}`. */
export function handleModel(c: Context, { engine }: ModelsDeps): Response {
  const { name, model, release } = leaseOf(c, engine);
  const versions = engine.list().filter((loaded) => loaded.name === name);
  const answer = c.json({
    name,
    versions: versions.map(({ version }) => String(version)),
    platform: 'onnxruntime_onnx',
    inputs: model.signature.inputs,
    outputs: model.signature.outputs,
  });
  release();
  return answer;
}

/** 200 when the version can be asked. */
export function handleModelReady(c: Context, { engine }: ModelsDeps): Response {
  const { name, release } = leaseOf(c, engine);
  release();
  return c.json({ name, ready: true });
}

/** Statistics of one model (all its loaded versions, or the one named), or of all models, in Triton's shape. */
export function handleStats(c: Context, { engine, observer }: ModelsDeps): Response {
  const name = c.req.param('model');
  const version = c.req.param('version');
  if (name !== undefined) leaseOf(c, engine).release();
  const wanted = engine
    .list()
    .filter((loaded) => name === undefined || loaded.name === name)
    .filter((loaded) => version === undefined || loaded.version === Number(version));
  return c.json({
    model_stats: wanted.map((loaded) => statsOf(loaded, observer.tally(loaded.model))),
  });
}

function statsOf(loaded: ReturnType<Engine['list']>[number], tally: Readonly<Tally>): object {
  const runs = [...loaded.model.batcher.runs()].sort(([a], [b]) => a - b);
  const duration = (count: number, ms: number): object => ({ count, ns: Math.round(ms * 1e6) });
  return {
    name: loaded.name,
    version: String(loaded.version),
    last_inference: tally.lastAtMs,
    inference_count: tally.rows,
    execution_count: runs.reduce((sum, [, count]) => sum + count, 0),
    inference_stats: {
      success: duration(tally.succeeded, tally.succeededMs),
      fail: duration(tally.failed, tally.failedMs),
      queue: duration(tally.succeeded, tally.queueMs),
      compute_infer: duration(tally.succeeded, tally.runMs),
    },
    batch_stats: runs.map(([size, count]) => ({ batch_size: size, execution_count: count })),
  };
}

const IndexRequest = z.object({ ready: z.boolean().default(false) });

/** Every loaded version: `READY` when it answers or can be asked by its number. `{"ready": true}` leaves out others. */
export async function handleRepositoryIndex(c: Context, { engine }: ModelsDeps): Promise<Response> {
  const body = await readBody(c.req);
  if (body.trim() !== '') parseJson(IndexRequest, body, 'request');
  const loaded = engine.list();
  return c.json(loaded.map(({ name, version }) => ({ name, version: String(version), state: 'READY', reason: '' })));
}
