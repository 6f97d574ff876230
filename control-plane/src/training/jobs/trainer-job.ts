// Runs a trainer in its job folder: a process group of its own, its output as lines, its metrics as they are written,
// and an end that is always reached.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { RunStep } from '@edgeloop/shared/api/training';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { writeDurably } from '@edgeloop/shared/node/durable-files';
import { signalProcess } from '@edgeloop/shared/node/leftover-process';
import { readFailure } from './job-folder.ts';
import { tailMetrics } from './metrics-tail.ts';
import { exitCodes, jobFiles } from './trainer-contract.ts';

export interface TrainerCommand {
  file: string;
  args: string[];
}

export interface TrainerJob {
  runId: string;
  /** The prepared job folder, in which the command starts. */
  folder: string;
  /** Where the process id is kept while it runs. */
  pidPath: string;
  command: TrainerCommand;
  timeoutMs: number;
  /** Time between SIGTERM and SIGKILL. */
  graceMs?: number;
  /** Stops the trainer. */
  signal: AbortSignal;
  onLine: (text: string) => void;
  onStep: (step: RunStep) => void;
}

/** `retry`: the trainer asks to be tried again. */
export type TrainerOutcome =
  | { kind: 'done' }
  | { kind: 'stopped' }
  | { kind: 'failed'; reason: string; retry: boolean };

/** What a trainer may know of the control plane's environment, which holds secrets. */
const passedOn = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'TEMP', 'SYSTEMROOT'];

/** The built-in trainer. The folder is an argument only to be seen in the list of processes. */
export function builtInTrainer(folder: string): TrainerCommand {
  const isSource = import.meta.url.endsWith('.ts');
  const program = fileURLToPath(new URL(`../trainers/trainer-process.${isSource ? 'ts' : 'js'}`, import.meta.url));
  const resolve = createRequire(import.meta.url).resolve;
  // It starts in the job folder, from where no package would be found by name.
  const options = sourceExecArgv(import.meta.url).map((option) => (option === 'tsx' ? resolve('tsx') : option));
  return { file: process.execPath, args: [...options, program, folder] };
}

/** Resolves when the trainer and every process of its group are gone. */
export async function runTrainerJob(run: TrainerJob): Promise<TrainerOutcome> {
  if (run.signal.aborted) return { kind: 'stopped' };
  const child = spawn(run.command.file, run.command.args, {
    cwd: run.folder,
    env: environmentOf(run),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const end = endOf(child);
  const { pid } = child;
  if (pid === undefined) return { kind: 'failed', reason: (await end).how, retry: false };
  const stopping = stopOnRequest(pid, run);
  const printed = [lines(child.stdout, run.onLine), lines(child.stderr, run.onLine)];
  const tail = tailMetrics(join(run.folder, jobFiles.metrics), run.onStep);
  try {
    yieldPriority(pid);
    await writeDurably(run.pidPath, String(pid));
    const { code, how } = await end;
    signalProcess(-pid, 'SIGKILL');
    // A process that left the group may hold the output open for ever.
    await Promise.race([Promise.all(printed), delay(2000, undefined, { ref: false })]);
    return await outcomeOf(run, { code, how, stopped: stopping.reason() });
  } finally {
    stopping.end();
    signalProcess(-pid, 'SIGKILL');
    await tail.close();
  }
}

function environmentOf({ runId, folder }: TrainerJob): Record<string, string> {
  const environment: Record<string, string> = { EDGELOOP_RUN_ID: runId, EDGELOOP_JOB_DIR: folder };
  for (const name of passedOn) {
    const value = process.env[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

/** Training takes the processor that serving the API leaves. */
function yieldPriority(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch (error) {
    // It ended at once; how is known in a moment.
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SYSTEM_ERROR')) throw error;
  }
}

type StopReason = 'asked' | 'timeout';

/** SIGTERM when asked to or when the time is over, SIGKILL when that does not help. */
function stopOnRequest(pid: number, { signal, timeoutMs, graceMs = 10_000 }: TrainerJob) {
  let reason: StopReason | undefined;
  let grace: NodeJS.Timeout | undefined;
  const stop = (why: StopReason) => {
    if (reason !== undefined) return;
    reason = why;
    signalProcess(-pid, 'SIGTERM');
    grace = setTimeout(() => signalProcess(-pid, 'SIGKILL'), graceMs);
  };
  const asked = () => stop('asked');
  const timer = setTimeout(() => stop('timeout'), timeoutMs);
  signal.addEventListener('abort', asked, { once: true });
  if (signal.aborted) asked();
  return {
    reason: () => reason,
    end: () => {
      clearTimeout(timer);
      clearTimeout(grace);
      signal.removeEventListener('abort', asked);
    },
  };
}

interface End {
  code: number | null;
  /** How it ended, for people. */
  how: string;
}

function endOf(child: ReturnType<typeof spawn>): Promise<End> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      if (child.pid === undefined) resolve({ code: null, how: `could not be started: ${error.message}` });
    });
    child.once('exit', (code, signal) => {
      resolve({ code, how: signal === null ? `ended with exit code ${code}` : `was ended by ${signal}` });
    });
  });
}

async function outcomeOf(
  { folder, timeoutMs }: TrainerJob,
  { code, how, stopped }: End & { stopped: StopReason | undefined },
): Promise<TrainerOutcome> {
  // One that was done before it could be stopped counts as done only if nobody asked it to stop.
  if (stopped === 'asked') return { kind: 'stopped' };
  if (stopped === 'timeout')
    return { kind: 'failed', reason: `the trainer took longer than ${timeoutMs / 1000} s`, retry: false };
  if (code === exitCodes.done) return { kind: 'done' };
  const said = await readFailure(folder);
  const memory = code === exitCodes.outOfMemory ? ' (out of memory)' : '';
  const reason = said === undefined ? `the trainer ${how}${memory}` : `the trainer ${how}: ${said}`;
  return { kind: 'failed', reason, retry: code === exitCodes.tryAgain };
}

async function lines(stream: Readable, onLine: (text: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) onLine(line);
}
