// The servers that the inference bench compares, each asked with its own form of the same request.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type FolderServer, startServing } from '../support/serving.ts';
import { binaryBody, jsonBody, type WireTensor } from '../support/v2.ts';
import { httpPost, type Load } from './load.ts';
import type { BenchModel } from './models.ts';
import type { RawRun } from './raw-process.ts';

export interface Contestant {
  name: string;
  target: Load['target'];
  /** The server's first process. */
  pid: number;
  /** Undefined where the contestant cannot serve the model. */
  request(model: BenchModel): string | undefined;
}

/** Like the agent, the other contestants run from the build. */
const built = import.meta.url.endsWith('.ts') ? '../dist/bench/' : './';
const modulePath = (name: string) => fileURLToPath(new URL(`${built}${name}.js`, import.meta.url));

/** Values as sensors give them: most have a handful of digits, so JSON is not made to look smaller than it is. */
function tensorOf({ input, shape }: BenchModel): WireTensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const values = Float32Array.from({ length: size }, (_, i) => Math.round(((i * 7919) % 2000) - 1000) / 1000);
  const bytes = new Uint8Array(values.buffer);
  return { name: input, datatype: 'FP32', shape, bytes };
}

const rounded = (json: string): string =>
  json.replaceAll(/\d\.\d{5,}/g, (digits) => String(Math.round(Number(digits) * 1000) / 1000));

export function jsonRequest(model: BenchModel): string {
  const body = rounded(jsonBody([tensorOf(model)]));
  return httpPost(`/v2/models/${model.name}/infer`, body, { 'content-type': 'application/json' });
}

export function binaryRequest(model: BenchModel): string {
  const { body, jsonBytes } = binaryBody([tensorOf(model)]);
  return httpPost(`/v2/models/${model.name}/infer`, body, {
    'content-type': 'application/octet-stream',
    'inference-header-content-length': String(jsonBytes),
  });
}

export function predictRequest({ name, manifest, shape }: BenchModel): string | undefined {
  if (manifest === undefined) return undefined;
  const named = Array.from({ length: shape[1] ?? 0 }, (_, i) => [`f${i}`, i / 1000]);
  const body = JSON.stringify({ features: Object.fromEntries(named) });
  return httpPost(`/predict/${name}`, body, { 'content-type': 'application/json' });
}

export interface Field {
  contestants: Contestant[];
  agent: FolderServer;
  stop(): Promise<void>;
}

/** Starts this agent and the naive server on the same models. */
export async function startField(folder: string, models: readonly BenchModel[]): Promise<Field> {
  const socketPath = join(folder, 'agent.sock');
  const agent = await startServing(join(folder, 'models'), {
    env: { EDGELOOP_AGENT_SOCKET: socketPath, EDGELOOP_LOG_LEVEL: 'warn' },
    timeoutMs: 120_000,
  });
  const naive = await startNaive(join(folder, 'models'), models);
  const tcp = { port: agent.port };
  const { pid } = agent.program;
  const contestants: Contestant[] = [
    { name: 'JSON', target: tcp, pid, request: jsonRequest },
    { name: 'binary', target: tcp, pid, request: binaryRequest },
    { name: 'socket', target: { path: socketPath }, pid, request: binaryRequest },
    { name: '/predict', target: tcp, pid, request: predictRequest },
    { name: 'naive', target: { port: naive.port }, pid: naive.child.pid ?? 0, request: jsonRequest },
  ];
  return {
    contestants,
    agent,
    async stop() {
      naive.child.kill();
      await agent.stop();
    },
  };
}

async function startNaive(
  folder: string,
  models: readonly BenchModel[],
): Promise<{ child: ChildProcess; port: number }> {
  const paths = Object.fromEntries(models.map(({ name }) => [name, join(folder, name, '1/model.onnx')]));
  const child = startChild('naive-server', paths);
  return { child, port: Number(await answerOf(child)) };
}

export interface Raw {
  /** Milliseconds of each run of a model, in one process or in two at once. */
  run(name: string, workers: 1 | 2, durationMs: number): Promise<number[]>;
  stop(): void;
}

export async function startRaw(folder: string, models: readonly BenchModel[]): Promise<Raw> {
  const listed = models.map(({ name, input, shape }) => [
    name,
    { path: join(folder, name, '1/model.onnx'), input, shape },
  ]);
  const children = [1, 2].map(() => startChild('raw-process', Object.fromEntries(listed)));
  await Promise.all(children.map(answerOf));
  return {
    async run(name, workers, durationMs) {
      const runs = children.slice(0, workers).map((child) => {
        child.send({ name, durationMs } satisfies RawRun);
        return answerOf(child);
      });
      return (await Promise.all(runs)).flatMap((tookMs) => (Array.isArray(tookMs) ? tookMs.map(Number) : []));
    },
    stop() {
      for (const child of children) child.kill();
    },
  };
}

function startChild(name: string, argument: unknown): ChildProcess {
  return fork(modulePath(name), [JSON.stringify(argument)], {
    execArgv: [],
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    serialization: 'advanced',
  });
}

/** Its next message. Rejects when the process ends instead. */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const settled = new AbortController();
  const { signal } = settled;
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([message]): unknown => message),
      once(child, 'exit', { signal }).then(() => {
        throw new Error(`${child.spawnargs.join(' ').slice(0, 300)} ended`);
      }),
    ]);
  } finally {
    settled.abort();
  }
}
