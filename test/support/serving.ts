// `edgeloop-agent serve DIR` from the build as tests use it: a folder of models, its port, and what its processes hold.
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { agentProgram, freePorts, type Program, startProgram } from './programs.ts';
import { until } from './until.ts';

export interface FolderServer {
  readonly url: string;
  readonly port: number;
  readonly program: Program;
  /** From the start of the program to the answer that it is ready. */
  readonly readyMs: number;
  /** Of the supervising process and all below it. */
  rssBytes(): Promise<number>;
  stop(): Promise<void>;
}

export interface ServeOptions {
  env?: Record<string, string>;
  timeoutMs?: number;
  /** Path that answers 200 once the test may begin; server readiness by default. */
  readyPath?: string;
}

/** Serves `folder` on a free port; resolves when `readyPath` answers 200. */
export async function startServing(folder: string, options: ServeOptions = {}): Promise<FolderServer> {
  const { env = {}, timeoutMs = 60_000, readyPath = '/v2/health/ready' } = options;
  const [port = 0] = await freePorts(1);
  const url = `http://127.0.0.1:${port}`;
  const begunMs = performance.now();
  const program = startProgram([agentProgram, 'serve', folder], {
    EDGELOOP_AGENT_DATA_DIR: join(folder, '.data'),
    EDGELOOP_AGENT_PORT: String(port),
    EDGELOOP_DRAIN_SECONDS: '2',
    ...env,
  });
  const answered = async () => {
    if (program.ended() !== undefined) throw new Error('the agent ended');
    return (await fetch(`${url}${readyPath}`)).ok || undefined;
  };
  const stop = async () => {
    if (program.ended() === undefined) program.signal('SIGTERM');
    await program.waitForEnd().catch(() => program.signal('SIGKILL'));
  };
  try {
    await until(`${readyPath} answering`, answered, { timeoutMs, everyMs: 10, context: program.output });
  } catch (error) {
    await stop();
    throw error;
  }
  const readyMs = performance.now() - begunMs;
  const rssBytes = async () => [...(await processTree(program.pid)).values()].reduce((sum, rss) => sum + rss, 0);
  return { url, port, program, readyMs, rssBytes, stop };
}

/** Writes `DIR/NAME/VERSION/model.onnx`, and the model's manifest if there is one. */
export async function writeModel(
  folder: string,
  name: string,
  bytes: Uint8Array,
  { version = 1, manifest }: { version?: number; manifest?: unknown } = {},
): Promise<void> {
  const own = join(folder, name, String(version));
  await mkdir(own, { recursive: true });
  await writeFile(join(own, 'model.onnx'), bytes);
  if (manifest !== undefined) await writeFile(join(folder, name, 'model.json'), JSON.stringify(manifest));
}

/** A process and its descendants with their resident bytes. */
export async function processTree(pid: number): Promise<Map<number, number>> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,rss=']);
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const inTree = new Set([pid]);
  // Children may be listed before their parents.
  for (let known = 0; known !== inTree.size; ) {
    known = inTree.size;
    for (const [id = 0, parent = 0] of rows) if (inTree.has(parent)) inTree.add(id);
  }
  return new Map(rows.flatMap(([id = 0, , rss = 0]) => (inTree.has(id) ? [[id, rss * 1024]] : [])));
}

/** The process that serves, on Linux; the command line tells it from one that waits. */
export async function servingPid({ program }: Pick<FolderServer, 'program'>): Promise<number> {
  for (const pid of (await processTree(program.pid)).keys()) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('serving.js') && !command.includes('--spare')) return pid;
  }
  throw new Error('nothing serves');
}
