// The demo's programs as real processes: each with its own folder, log file and ports.
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { endLeftover } from '@edgeloop/shared/node/leftover-process';

export interface Program {
  name: string;
  pid: number;
  /** Asks it to stop, waits, and kills it after 15 seconds. */
  stop(): Promise<void>;
}

export interface ProgramStart {
  name: string;
  /** JavaScript file and arguments. */
  args: string[];
  env: Record<string, string>;
  logPath: string;
  /** Called when it ends without having been asked to. */
  onDeath: (error: AppError) => void;
}

/**
 * Starts it in a process group of its own: Ctrl-C in a terminal reaches the demo alone, which then stops its programs
 * in order.
 */
export function startProgram({ name, args, env, logPath, onDeath }: ProgramStart): Program {
  mkdirSync(dirname(logPath), { recursive: true });
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const log = createWriteStream(logPath, { flags: 'a' });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let stopping = false;
  child.once('exit', (code, signal) => {
    if (!stopping)
      onDeath(
        new AppError('internal', `${name} ended by itself (${signal ?? `exit code ${code}`}); its log is ${logPath}`),
      );
  });
  child.once('error', (cause) =>
    onDeath(new AppError('internal', `${name} cannot be started: ${messageOf(cause)}`, { cause })),
  );
  return {
    name,
    pid: child.pid ?? 0,
    stop: async () => {
      stopping = true;
      await endChild(child, ended);
      log.end();
    },
  };
}

async function endChild(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(timer);
}

/** Ends what an earlier demo left behind when it was killed: the processes of `pids` that still run our programs. */
export async function endLeftovers(pids: number[]): Promise<void> {
  for (const pid of pids) await endLeftover(pid, { marks: ['/bin/edgeloop'] });
}

/** `wanted` when nobody listens there, else any free port of this machine. */
export async function freePort(wanted: number): Promise<number> {
  return (await canListen(wanted)) ?? (await canListen(0)) ?? wanted;
}

function canListen(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}
