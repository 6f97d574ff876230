// Runs one job in a process of its own with bounds on time and memory. A model can end its process (SIGFPE) or never
// return, and no thread is a wall against that; only killing the process is.
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { childEnvironment } from './child-environment.ts';
import { endWithParent } from './end-with-parent.ts';
import { listenForLastWords, withLastWords } from './last-words.ts';

export interface BoundedRun {
  /** File of the child; it calls `answerBounded`. */
  modulePath: string;
  /** Sent to the child by structured clone. */
  input: unknown;
  timeoutMs: number;
  /** Largest resident set of the child. */
  maxRssBytes: number;
  args?: string[];
  /** Added to what children are given of this process's environment. */
  env?: Record<string, string>;
  /** Node options of the child; see `sourceExecArgv`. */
  execArgv?: string[];
  /** Kills the child; the run is then rejected with the signal's reason. */
  signal?: AbortSignal;
}

export type BoundedFailure = {
  ok: false;
  reason: 'timeout' | 'memory' | 'died';
  /** For people: which bound, or how it ended and the last lines of its stderr. */
  detail: string;
  signal: NodeJS.Signals | null;
  /** It ended by nothing that it did: it was killed from outside (as by the kernel when memory is short), or never started. */
  outside: boolean;
};
/** `output` is what the child answered; parse it. */
export type BoundedResult = { ok: true; output: unknown } | BoundedFailure;

/** Signals that a process brings upon itself. All others are sent by somebody else. */
const crashSignals: readonly NodeJS.Signals[] = [
  'SIGFPE',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGBUS',
  'SIGTRAP',
  'SIGSYS',
];

export function isCrash(signal: NodeJS.Signals | null): boolean {
  return signal !== null && crashSignals.includes(signal);
}

const pollMs = 50;
const lingerMs = 2000;
const run = promisify(execFile);

/** Node options that let a child of a `.ts` module run `.ts`; none when running the build. */
export function sourceExecArgv(moduleUrl: string): string[] {
  return moduleUrl.endsWith('.ts') ? ['--import', 'tsx', '--conditions', '@edgeloop/source'] : [];
}

/**
 * Starts `modulePath`, hands it `input`, and waits for its one answer. When a bound is passed the child is killed.
 * Resolves once the child is gone, so nothing of it stays behind.
 */
export async function runBounded(options: BoundedRun): Promise<BoundedResult> {
  options.signal?.throwIfAborted();
  const child = fork(options.modulePath, options.args ?? [], {
    env: { ...childEnvironment(), ...options.env },
    execArgv: options.execArgv ?? [],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const words = listenForLastWords(child.stderr);
  const bounds = watch(child, options);
  const answer: { value?: { output: unknown } } = {};
  child.on('message', (output: unknown) => {
    answer.value ??= { output };
    bounds.answered();
  });
  child.send({ input: options.input, timeoutMs: options.timeoutMs }, () => {
    // A child that is already gone is reported by its exit.
  });
  const end = await ended(child);
  bounds.stop();
  options.signal?.throwIfAborted();
  if (answer.value !== undefined) return { ok: true, output: answer.value.output };
  const passed = bounds.passed();
  const { signal } = end;
  if (passed !== undefined) return { ok: false, ...passed, signal, outside: false };
  const outside = end.error !== undefined || (signal !== null && !isCrash(signal));
  return { ok: false, reason: 'died', detail: deathDetail(end, words.now()), signal, outside };
}

/**
 * The child's side: takes the one input, answers with what `work` gives, and ends the process. A throw ends it with
 * code 1 and the error on stderr. A watchdog thread kills the process when its parent is gone or its time is over,
 * even while native code blocks the main thread.
 */
export function answerBounded(work: (input: unknown) => Promise<unknown>): void {
  process.once('message', (message: unknown) => {
    endWithParent();
    const { input, timeoutMs } = openEnvelope(message);
    startWatchdog(timeoutMs);
    work(input).then(
      (output) => process.send?.(output, () => process.exit(0)),
      (error: unknown) => {
        process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`, () =>
          process.exit(1),
        );
      },
    );
  });
}

function openEnvelope(message: unknown): { input: unknown; timeoutMs: number } {
  if (typeof message !== 'object' || message === null || !('input' in message) || !('timeoutMs' in message))
    throw new TypeError('a bounded process was started without its input');
  return { input: message.input, timeoutMs: Number(message.timeoutMs) };
}

function startWatchdog(timeoutMs: number): void {
  const code = `
    const { workerData } = require('node:worker_threads');
    const until = performance.now() + workerData.timeoutMs;
    setInterval(() => {
      if (process.ppid !== workerData.ppid || performance.now() > until) process.kill(process.pid, 'SIGKILL');
    }, 250);`;
  // Twice the time: the parent, which can say why, goes first.
  const workerData = { ppid: process.ppid, timeoutMs: timeoutMs * 2 + 1000 };
  new Worker(code, { eval: true, workerData, execArgv: [] }).unref();
}

function watch(child: ChildProcess, { timeoutMs, maxRssBytes, signal }: BoundedRun) {
  let passed: { reason: 'timeout' | 'memory'; detail: string } | undefined;
  let linger: NodeJS.Timeout | undefined;
  const kill = () => void child.kill('SIGKILL');
  const exceed = (reason: 'timeout' | 'memory', detail: string) => {
    passed ??= { reason, detail };
    kill();
  };
  const seconds = timeoutMs / 1000;
  const timer = setTimeout(() => exceed('timeout', `did not finish within ${seconds} s`), timeoutMs);
  let polling = true;
  const poll = async () => {
    while (polling && child.pid !== undefined) {
      const rss = await peakRssBytes(child.pid);
      if (polling && rss !== undefined && rss > maxRssBytes)
        exceed('memory', `used ${megabytes(rss)} MB of memory, allowed are ${megabytes(maxRssBytes)} MB`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  };
  void poll();
  signal?.addEventListener('abort', kill);
  return {
    passed: () => passed,
    answered: () => {
      polling = false;
      clearTimeout(timer);
      linger ??= setTimeout(kill, lingerMs);
    },
    stop: () => {
      polling = false;
      clearTimeout(timer);
      clearTimeout(linger);
      signal?.removeEventListener('abort', kill);
    },
  };
}

/** Peak resident set, from /proc where there is one, else the present one from `ps`; undefined once it is gone. */
async function peakRssBytes(pid: number): Promise<number | undefined> {
  try {
    if (process.platform !== 'linux') {
      const { stdout } = await run('ps', ['-o', 'rss=', '-p', String(pid)]);
      return Number(stdout.trim()) * 1024;
    }
    const match = /VmHWM:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'));
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined; // It ended between two looks; its exit tells the rest.
  }
}

type End = { code: number | null; signal: NodeJS.Signals | null; error?: Error };

function ended(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
    child.once('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, signal: null, error });
    });
  });
}

function deathDetail(end: End, words: string): string {
  if (end.error !== undefined) return `could not be started: ${end.error.message}`;
  const how = end.signal === null ? `ended with exit code ${end.code}` : `was ended by ${end.signal}`;
  return withLastWords(how, words);
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}
