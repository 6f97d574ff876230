// The real programs as child processes, from the build, each with its own folder and ports.
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ApiClient, createClient } from '@edgeloop/control-plane/cli/client';
import { until } from './until.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const serverProgram = join(root, 'control-plane/bin/edgeloop.js');
export const agentProgram = join(root, 'agent/bin/edgeloop-agent.js');
const keptLogBytes = 20_000;

export interface Program {
  readonly pid: number;
  /** The end of what it wrote. */
  output(): string;
  /** Code or signal, once it has ended. */
  ended(): number | NodeJS.Signals | undefined;
  signal(name: NodeJS.Signals): void;
  waitForEnd(timeoutMs?: number): Promise<number | NodeJS.Signals>;
}

/** `logPath`: a file that all it writes is appended to. */
export function startProgram(args: string[], env: Record<string, string>, logPath?: string): Program {
  const child: ChildProcess = spawn(process.execPath, args, {
    cwd: root,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...ofRun(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString('utf8')).slice(-keptLogBytes);
    if (logPath !== undefined) appendFileSync(logPath, chunk);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const ended = () => child.exitCode ?? child.signalCode ?? undefined;
  return {
    pid: child.pid ?? 0,
    output: () => output,
    ended,
    signal: (name) => void child.kill(name),
    waitForEnd: (timeoutMs = 60_000) =>
      until(`the end of ${args[0]}`, async () => ended(), { timeoutMs, context: () => output }),
  };
}

/** What holds for every program of a run: the way in which agents read requests, and whether they measure models. */
function ofRun(): Record<string, string> {
  const names = ['EDGELOOP_PLAIN_HTTP', 'EDGELOOP_TUNE_SECONDS'];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

/** Runs a command of `edgeloop` to its end. */
export async function runCli(
  args: string[],
  env: Record<string, string>,
): Promise<{ code: number | NodeJS.Signals; output: string }> {
  const program = startProgram([serverProgram, ...args], env);
  const code = await program.waitForEnd(60_000);
  return { code, output: program.output() };
}

export interface ControlPlane {
  readonly url: string;
  readonly folder: string;
  readonly env: Record<string, string>;
  api: ApiClient;
  program: Program;
  /** Starts it again on the same folder and ports. */
  start(): Promise<void>;
  /** The same where it cannot be ready: resolves when it answers. */
  startUnready(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export async function startControlPlane(
  folder: string,
  extra: Record<string, string> = {},
  logPath?: string,
): Promise<ControlPlane> {
  const [http, device, mqtt] = await freePorts(3);
  const url = `http://127.0.0.1:${http}`;
  const env = {
    EDGELOOP_DATA_DIR: folder,
    EDGELOOP_HTTP_PORT: String(http),
    EDGELOOP_DEVICE_HOST: '127.0.0.1',
    EDGELOOP_DEVICE_PORT: String(device),
    EDGELOOP_MQTT_PORT: String(mqtt),
    EDGELOOP_PUBLIC_HOST: '127.0.0.1',
    ...extra,
  };
  const launch = () => startProgram([serverProgram, 'server'], env, logPath);
  const answering = (program: Program, path: '/readyz' | '/healthz') =>
    until(
      `the control plane answering ${path}`,
      async () => {
        if (program.ended() !== undefined) throw new Error(`the control plane ended: ${program.output()}`);
        return (await fetch(`${url}${path}`)).ok || undefined;
      },
      { timeoutMs: 60_000, context: program.output },
    );
  const ready = async (program: Program) => {
    await answering(program, '/readyz');
    return createClient({}, { url, key: (await readFile(join(folder, 'admin.key'), 'utf8')).trim() });
  };
  const program = launch();
  const readyOrEnded = (started: Program) => ready(started).catch((error: unknown) => endAfter(started, error));
  const plane: ControlPlane = {
    url,
    folder,
    env,
    program,
    api: await readyOrEnded(program),
    start: async () => {
      plane.program = launch();
      plane.api = await readyOrEnded(plane.program);
    },
    startUnready: async () => {
      plane.program = launch();
      await answering(plane.program, '/healthz');
    },
    kill: () => endBy(plane.program, 'SIGKILL'),
    stop: () => endBy(plane.program, 'SIGTERM'),
  };
  return plane;
}

export interface Agent {
  readonly url: string;
  readonly id: string;
  program: Program;
  /** Starts it again on the same folder and port; resolves when its port answers. */
  start(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** Joins `folder` to a fleet with `token`; resolves when its port answers. */
export async function startAgent({
  folder,
  id,
  token,
  env = {},
  logPath,
}: {
  folder: string;
  id: string;
  token: string;
  env?: Record<string, string>;
  logPath?: string;
}): Promise<Agent> {
  const [port] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const settings = {
    EDGELOOP_AGENT_DATA_DIR: folder,
    EDGELOOP_JOIN: token,
    EDGELOOP_DEVICE_ID: id,
    EDGELOOP_AGENT_PORT: String(port),
    EDGELOOP_THREADS: '1',
    EDGELOOP_WINDOW_SECONDS: '1',
    EDGELOOP_PROBATION_SECONDS: '2',
    ...env,
  };
  const launch = () => startProgram([agentProgram, 'run'], settings, logPath);
  const answering = (program: Program) =>
    until('the agent’s port answering', async () => (await fetch(`${url}/healthz`)).ok || undefined, {
      timeoutMs: 60_000,
      context: program.output,
    }).catch((error: unknown) => endAfter(program, error));
  const agent: Agent = {
    url,
    id,
    program: launch(),
    start: async () => {
      agent.program = launch();
      await answering(agent.program);
    },
    kill: () => endBy(agent.program, 'SIGKILL'),
    stop: () => endBy(agent.program, 'SIGTERM'),
  };
  await answering(agent.program);
  return agent;
}

/** What did not start in time must not go on behind whoever gives it up. */
async function endAfter(program: Program, error: unknown): Promise<never> {
  await endBy(program, 'SIGKILL');
  throw error;
}

async function endBy(program: Program, signal: NodeJS.Signals): Promise<void> {
  if (program.ended() === undefined) program.signal(signal);
  await program.waitForEnd();
}

/** Below what systems give to port 0 and to outgoing connections, and above what browsers and `fetch` refuse. */
const portsFrom = 12_000;
/** Each worker of the tests has a stretch of its own, where it begins somewhere. */
const portsPerWorker = 5000;
const ownPorts = portsFrom + (Number(process.env.VITEST_POOL_ID ?? 0) % 4) * portsPerWorker;
let portsGiven = Math.floor(Math.random() * portsPerWorker);

/**
 * Free ports of this machine; none is given twice, and nothing else takes one by chance before its program listens or
 * while that starts again.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = ownPorts + (portsGiven++ % portsPerWorker);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A folder that `remove` removes with all that is in it. */
export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'edgeloop-test-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}
