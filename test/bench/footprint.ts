// Memory and start: one small model idle and loaded, a hundred small models, and what many swaps leave behind.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { identity, perceptron } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';
import { binaryRequest, jsonRequest } from './contestants.ts';
import { type LoadGenerator, median } from './load.ts';
import { type BenchModel, tiny, writeBenchModels } from './models.ts';

export interface Footprint {
  /** Of a folder seen for the first time, and of later starts. */
  firstReadyMs: number;
  readyMs: number;
  idleBytes: number;
  /** Highest, while 64 callers sent small and large bodies, JSON and binary. */
  loadedBytes: number;
}

/** A folder for one measurement, and a server on it. */
export async function withServer<T>(
  write: (folder: string) => Promise<void>,
  measure: (server: FolderServer, folder: string) => Promise<T>,
  env: Record<string, string> = {},
): Promise<T> {
  const folder = await temporaryFolder();
  try {
    await write(folder.path);
    const server = await startServing(folder.path, {
      env: { EDGELOOP_LOG_LEVEL: 'error', ...env },
      timeoutMs: 180_000,
    });
    try {
      return await measure(server, folder.path);
    } finally {
      await server.stop();
    }
  } finally {
    await folder.remove();
  }
}

/** Two models: the tiny one, and an echo that takes whatever size. */
export async function measureFootprint(load: LoadGenerator, durationMs: number): Promise<Footprint> {
  const echo: BenchModel = { name: 'echo', input: 'x', shape: [250_000], bytes: identity('float', ['n']) };
  const starts = async (folder: string) => {
    const server = await startServing(folder, { env: { EDGELOOP_LOG_LEVEL: 'error' } });
    const { readyMs } = server;
    await server.stop();
    return readyMs;
  };
  const folder = await temporaryFolder();
  try {
    await writeBenchModels(folder.path, [tiny]);
    const firstReadyMs = await starts(folder.path);
    const readyMs = median([await starts(folder.path), await starts(folder.path), await starts(folder.path)]);
    const idleBytes = await idleRss(folder.path);
    await writeBenchModels(folder.path, [echo]);
    return {
      firstReadyMs,
      readyMs,
      idleBytes,
      loadedBytes: await loadedRss(folder.path, load, [tiny, echo], durationMs),
    };
  } finally {
    await folder.remove();
  }
}

async function idleRss(folder: string): Promise<number> {
  const server = await startServing(folder, { env: { EDGELOOP_LOG_LEVEL: 'error' } });
  const bytes = await settledRss(server);
  await server.stop();
  return bytes;
}

/** What is left when the garbage of what was just done is gone; a server that never gets calm gives its last. */
async function settledRss(server: FolderServer): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    samples.push(await server.rssBytes());
  }
  return median(samples.slice(-5));
}

async function loadedRss(
  folder: string,
  load: LoadGenerator,
  models: readonly BenchModel[],
  durationMs: number,
): Promise<number> {
  const server = await startServing(folder, { env: { EDGELOOP_LOG_LEVEL: 'error' } });
  let peak = 0;
  let going = true;
  const sampling = (async () => {
    while (going) {
      peak = Math.max(peak, await server.rssBytes());
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  })();
  for (const model of models) {
    for (const request of [jsonRequest(model), binaryRequest(model)]) {
      await load.run({ target: { port: server.port }, callers: 64, durationMs, request });
    }
  }
  going = false;
  await sampling;
  await server.stop();
  return peak;
}

/** Resident bytes with a hundred small models that have each answered once, and the time until they were ready. */
export function measureHundred(): Promise<{ readyMs: number; rssBytes: number }> {
  const names = Array.from({ length: 100 }, (_, i) => `model-${i}`);
  const write = async (folder: string) => {
    for (const [i, name] of names.entries()) await writeModel(folder, name, perceptron([16, 32, 4], i + 1));
  };
  return withServer(write, async ({ url, readyMs, rssBytes }) => {
    const body = JSON.stringify({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 16], data: Array(16).fill(0.5) }],
    });
    for (const name of names) {
      const answer = await fetch(`${url}/v2/models/${name}/infer`, { method: 'POST', body });
      if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
      await answer.arrayBuffer();
    }
    return { readyMs, rssBytes: await rssBytes() };
  });
}

/** Makes `version` the one that answers, and waits until it does. Versions below it are removed from the folder. */
export async function swapTo(server: FolderServer, folder: string, version: number): Promise<void> {
  await writeModel(folder, tiny.name, perceptron([16, 32, 4], version), { version });
  await (await fetch(`${server.url}/v2/repository/models/${tiny.name}/load`, { method: 'POST' })).arrayBuffer();
  await until(`version ${version} answering`, async () => (await answering(server)) === version || undefined, {
    everyMs: 10,
    timeoutMs: 60_000,
    context: server.program.output,
  });
  await rm(join(folder, tiny.name, String(version - 1)), { recursive: true, force: true });
}

async function answering({ url }: FolderServer): Promise<number> {
  const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 16], data: Array(16).fill(0.5) }] });
  const answer = await fetch(`${url}/v2/models/${tiny.name}/infer`, { method: 'POST', body });
  const { model_version: version }: { model_version?: string } = JSON.parse(await answer.text());
  return Number(version);
}

/** Resident bytes after the tenth swap and after the last, when worker threads that were being replaced are gone. */
export function measureSwaps(count: number): Promise<{ swaps: number; beforeBytes: number; afterBytes: number }> {
  const measure = async (server: FolderServer, folder: string) => {
    const atStart = 10;
    for (let version = 2; version <= atStart + 1; version++) await swapTo(server, folder, version);
    const beforeBytes = await settledRss(server);
    for (let version = atStart + 2; version <= count + 1; version++) await swapTo(server, folder, version);
    return { swaps: count, beforeBytes, afterBytes: await settledRss(server) };
  };
  return withServer((folder) => writeBenchModels(folder, [tiny]), measure, { EDGELOOP_TUNE_SECONDS: '0' });
}
