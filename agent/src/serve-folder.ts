// `edgeloop-agent serve DIR`: a stand-alone inference server on a folder of models, with the same serving process and
// no control plane; telemetry windows are not kept.
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { ModelName } from '@edgeloop/shared/identifiers';
import { Manifest } from '@edgeloop/shared/manifest';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import { readIfPresent } from './durable-files.ts';
import type { ModelFiles } from './ipc.ts';
import { createListener } from './listener.ts';
import { createServingProcess, ServingGone } from './serving-process.ts';
import { servingEnvironment } from './supervisor.ts';

/**
 * Serves the highest version of every model in `folder` until `signal` aborts, then drains.
 * @throws AppError `not_found` when the folder holds no model
 */
export async function serveFolder(folder: string, config: Config, log: Logger, signal: AbortSignal): Promise<void> {
  const models = await modelsIn(resolve(folder), log);
  if (models.length === 0)
    throw new AppError('not_found', `${folder} holds no model; put one at ${join(folder, 'NAME', '1', 'model.onnx')}`);
  const serving = createServingProcess({
    marker: resolve(folder),
    env: servingEnvironment(config, config.deviceId),
    callTimeoutMs: Math.max(2 * config.prove.timeoutMs, 30_000),
    log,
    restore: () => loadAll(serving, models, log),
    onDied: async () => undefined,
    onCounts: () => undefined,
    onFeedback: async () => {
      throw new AppError('unsupported', 'feedback needs a control plane; this server was started with "serve"');
    },
  });
  const listener = createListener({ ...config, onConnection: (socket) => serving.hand(socket) });
  const port = await listener.start();
  serving.start();
  log.info({ host: config.host, port, socketPath: config.socketPath }, 'listening');
  await new Promise<void>((done) => {
    if (signal.aborted) done();
    signal.addEventListener('abort', () => done(), { once: true });
  });
  listener.close();
  await serving.stop(config.drainMs);
}

async function loadAll(
  serving: Pick<ReturnType<typeof createServingProcess>, 'load' | 'activate'>,
  models: readonly ModelFiles[],
  log: Logger,
): Promise<void> {
  for (const model of models) {
    const { name, version } = model;
    try {
      await serving.load(model);
      await serving.activate(name, version);
      log.info({ model: name, version }, 'serves');
    } catch (error) {
      if (error instanceof ServingGone) throw error;
      log.error({ model: name, version, reason: messageOf(error) }, 'cannot be served');
    }
  }
}

/** The highest version of each model; one that cannot be read is named in the log and left out. */
async function modelsIn(folder: string, log: Logger): Promise<ModelFiles[]> {
  const models: ModelFiles[] = [];
  for (const name of (await readdir(folder)).sort()) {
    if (!ModelName.safeParse(name).success) continue;
    try {
      const model = await modelIn(folder, name);
      if (model !== undefined) models.push(model);
    } catch (error) {
      log.error({ model: name, reason: messageOf(error) }, 'cannot be served');
    }
  }
  return models;
}

async function modelIn(folder: string, name: string): Promise<ModelFiles | undefined> {
  const entries = await readdir(join(folder, name), { withFileTypes: true }).catch(() => []);
  const versions: number[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory() || !/^[1-9]\d{0,9}$/.test(entry.name)) continue;
    if ((await readdir(join(folder, name, entry.name))).includes('model.onnx')) versions.push(Number(entry.name));
  }
  if (versions.length === 0) return undefined;
  const version = Math.max(...versions);
  const own = join(folder, name, String(version));
  const text = readIfPresent(join(own, 'model.json')) ?? readIfPresent(join(folder, name, 'model.json')) ?? '{}';
  const golden = readIfPresent(join(own, 'golden.json'));
  return {
    name,
    version,
    path: join(own, 'model.onnx'),
    manifest: parseJson(Manifest, text, `${name}/model.json`),
    ...(golden === undefined ? {} : { golden: parseJson(GoldenSamples, golden, `${name}/${version}/golden.json`) }),
  };
}
