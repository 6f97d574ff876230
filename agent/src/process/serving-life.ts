// One life of the serving process, from its start to its end: what it says is told, its silence and its memory have bounds.
import { type ChildProcess, fork } from 'node:child_process';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '@edgeloop/shared/errors';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { listenForLastWords, withLastWords } from '@edgeloop/shared/node/last-words';
import type { Logger } from 'pino';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { type Death, deathOf, type End, type Fault, type Suspect } from './death.ts';
import { logFdVariable, spareArgument, type ToServing, ToSupervisor } from './ipc.ts';
import { logNativeLines } from './native-lines.ts';
import { writePid } from './pid-file.ts';
import type { Runner } from './running-report.ts';
import { watchServing } from './watch.ts';

export interface ServingLifeOptions {
  /** Tells a leftover process by its command line; a folder that no other program has. */
  marker: string;
  /** Where the pid is kept for the next start. */
  pidPath: string;
  env: NodeJS.ProcessEnv;
  /** Takes the pid also when the disk does not. */
  writes: PendingWrites;
  /** Silence after which it is killed. */
  silenceMs: number;
  maxRssBytes: number;
  log: Logger;
  /** What was running or being loaded when it died. */
  inFlight(of: Runner): Suspect[];
  /** Not called any more once it has ended. */
  onSaid(message: ToSupervisor, life: ServingLife): void;
}

export interface ServingLife {
  child: ChildProcess;
  send(message: ToServing): void;
  /** `why`: it is to blame itself. The first reason holds. */
  kill(why?: Fault): void;
  ended: Promise<Death>;
}

const startMs = 60_000;
/** Place of our stderr among the streams of the child. */
const logFd = 4;
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
export const servingModulePath = fileURLToPath(new URL(`../serving.${extension}`, import.meta.url));
/**
 * Its heap holds requests on their way, tensors are outside: a small young generation keeps the resident set small. V8 would
 * soon put what requests are made of straight into the old generation, where each keeps all it points to alive until the
 * next full collection: measured, a tenth of a second of every second. And it would collect the whole of that small heap
 * whenever some ten megabytes of bodies went by, a dozen times a second: three times the heap may come before it does.
 */
const heapOptions = ['--max-semi-space-size=4', '--no-allocation-site-pretenuring', '--heap-growing-percent=200'];

/** A serving process; a spare one does nothing before it is told to begin. */
export function startServing(
  { marker, env, log }: Pick<ServingLifeOptions, 'marker' | 'env' | 'log'>,
  spare: boolean,
): ChildProcess {
  const child = fork(servingModulePath, spare ? [marker, spareArgument] : [marker], {
    env: { ...env, [logFdVariable]: String(logFd) },
    execArgv: [...sourceExecArgv(import.meta.url), ...heapOptions],
    // What it logs goes where this process logs; what native code in it writes is made a part of the log here.
    stdio: ['ignore', 'inherit', 'pipe', 'ipc', 2],
  });
  if (child.stderr) logNativeLines(child.stderr, log);
  return child;
}

/** From here on `child` is the one that serves. */
export function beginLife(child: ChildProcess, options: ServingLifeOptions): ServingLife {
  const { pidPath, writes, log } = options;
  const end = endOf(child);
  const lastWords = listenForLastWords(child.stderr);
  const keepPid = (pid: number | undefined) => writes.write(basename(pidPath), () => writePid(pidPath, pid));
  try {
    keepPid(child.pid);
  } catch (error) {
    child.kill('SIGKILL'); // Nobody would know of it.
    throw error;
  }
  let fault: Fault | undefined;
  let hasEnded = false;

  function kill(why?: Fault): void {
    fault ??= why;
    child.kill('SIGKILL');
  }

  /** What cannot be done for one message must not end this process. */
  function tell(said: ToSupervisor): void {
    try {
      options.onSaid(said, life);
    } catch (error) {
      log.error({ err: error, kind: said.kind }, 'a message of the serving process could not be handled');
    }
  }

  const watch = watchServing({
    ...options,
    startMs,
    pid: child.pid ?? 0,
    // Silence is the doing of the HTTP thread, or of what runs there; memory may be that of whatever runs.
    onFault: (reason, detail) => kill(reason === 'silence' ? { detail, suspects: 'http-thread' } : { detail }),
  });
  const ended = end.then(async (how) => {
    hasEnded = true;
    watch.end();
    keepPid(undefined);
    const death = deathOf(how, fault, options.inFlight);
    if (!death.crashed) return death;
    return { ...death, detail: withLastWords(death.detail, await lastWords.whole()) };
  });
  const life: ServingLife = { child, send: (message) => sendTo(child, message, log), kill, ended };
  child.on('message', (message) => {
    if (hasEnded) return; // Said before it died and read after.
    watch.heard();
    const said = parseSaid(message, log);
    if (said !== undefined) tell(said);
  });
  return life;
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // One that runs has an end of its own.
    child.on('error', (error) => child.pid === undefined && resolve({ code: null, signal: null, error }));
  });
}

function sendTo(child: ChildProcess, message: ToServing, log: Logger): void {
  if (!child.connected) return; // It could not be started, or has ended: its end is handled where it is seen.
  child.send(message, (error) => {
    if (error !== null) log.debug({ reason: messageOf(error), kind: message.kind }, 'message not delivered');
  });
}

function parseSaid(message: unknown, log: Logger): ToSupervisor | undefined {
  const parsed = ToSupervisor.safeParse(message);
  if (!parsed.success) log.error({ reason: parsed.error.message }, 'the serving process sent an unknown message');
  return parsed.data;
}
