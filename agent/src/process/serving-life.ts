// One life of the serving process, from its start to its end: what it says is told, its silence and its memory have bounds.
import { type ChildProcess, fork } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { messageOf } from '@edgeloop/shared/errors';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { type Death, deathOf, type End, type Fault, type Suspect } from './death.ts';
import { type ToServing, ToSupervisor } from './ipc.ts';
import { watchServing } from './watch.ts';

export interface ServingLifeOptions {
  /** Tells a leftover process by its command line; a folder that no other program has. */
  marker: string;
  /** Where the pid is kept for the next start. */
  pidPath: string;
  env: NodeJS.ProcessEnv;
  /** Silence after which it is killed. */
  silenceMs: number;
  maxRssBytes: number;
  log: Logger;
  /** What was running or being loaded when it died. */
  inFlight(): Suspect[];
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
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
export const servingModulePath = fileURLToPath(new URL(`../serving.${extension}`, import.meta.url));
/**
 * Its heap holds requests on their way, tensors are outside: a small young generation keeps the resident set small. V8 would
 * soon put what requests are made of straight into the old generation, where each keeps all it points to alive until the
 * next full collection: measured, a tenth of a second of every second. And it would collect the whole of that small heap
 * whenever some ten megabytes of bodies went by, a dozen times a second: three times the heap may come before it does.
 */
const heapOptions = ['--max-semi-space-size=4', '--no-allocation-site-pretenuring', '--heap-growing-percent=200'];

export function beginLife(options: ServingLifeOptions): ServingLife {
  const { marker, pidPath, env, log } = options;
  const child = fork(servingModulePath, [marker], {
    env,
    execArgv: [...sourceExecArgv(import.meta.url), ...heapOptions],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const end = endOf(child);
  if (child.pid !== undefined) writeDurablySync(pidPath, String(child.pid));
  let fault: Fault | undefined;
  let hasEnded = false;

  function kill(why?: Fault): void {
    fault ??= why;
    child.kill('SIGKILL');
  }

  const watch = watchServing({
    ...options,
    startMs,
    pid: child.pid ?? 0,
    // Silence is the HTTP thread's own doing; memory may be that of whatever runs.
    onFault: (reason, detail) => kill(reason === 'silence' ? { detail, suspects: [] } : { detail }),
  });
  const ended = end.then((how) => {
    hasEnded = true;
    watch.end();
    rmSync(pidPath, { force: true });
    return deathOf(how, fault, options.inFlight);
  });
  const life: ServingLife = { child, send: (message) => sendTo(child, message, log), kill, ended };
  child.on('message', (message) => {
    if (hasEnded) return; // Said before it died and read after.
    watch.heard();
    const said = parseSaid(message, log);
    if (said !== undefined) options.onSaid(said, life);
  });
  return life;
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', (error) => resolve({ code: null, signal: null, error }));
  });
}

function sendTo(child: ChildProcess, message: ToServing, log: Logger): void {
  child.send(message, (error) => {
    if (error !== null) log.debug({ reason: messageOf(error), kind: message.kind }, 'message not delivered');
  });
}

function parseSaid(message: unknown, log: Logger): ToSupervisor | undefined {
  const parsed = ToSupervisor.safeParse(message);
  if (!parsed.success) log.error({ reason: parsed.error.message }, 'the serving process sent an unknown message');
  return parsed.data;
}
