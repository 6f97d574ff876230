// Starts the serving process, watches it and starts it again; what happens to callers and calls meanwhile is decided in
// `waiting-callers.ts` and `calls.ts`.
import { type ChildProcess, fork } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { writeDurablySync } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { createServingCalls, ServingGone } from './calls.ts';
import { type Death, deathOf, type Fault, type Suspect } from './death.ts';
import {
  type KnownModel,
  type LoadOverride,
  type ModelFiles,
  type ServingCounts,
  type ToServing,
  ToSupervisor,
} from './ipc.ts';
import { createWaitingCallers } from './waiting-callers.ts';
import { type ServingWatch, watchServing } from './watch.ts';

export interface ServingProcessOptions {
  /** Tells a leftover process by its command line; the data or model folder. */
  marker: string;
  /** Where the pid is kept for the next start; unset keeps none. */
  pidPath?: string;
  env: NodeJS.ProcessEnv;
  callTimeoutMs: number;
  /** Silence after which it is killed. */
  silenceMs: number;
  maxRssBytes: number;
  log: Logger;
  /** What was running when it died; it is told once. */
  takeRunningNote(): Suspect[];
  /** Puts a fresh process into the state that callers expect; called at every start, after `onDied` has ended. */
  restore(): Promise<void>;
  /** Callers are let in before this resolves, but told that the server is not ready. */
  settled(): Promise<void>;
  /** The own process of a model died; everything else goes on. */
  onModelDied(suspect: Suspect, detail: string): void;
  /** Nothing is asked of the next process before this ends. */
  onDied(death: Death): Promise<void>;
  onCounts(counts: ServingCounts[]): void;
  /** @throws AppError that the caller is told */
  onFeedback(inferenceId: string, label: string): Promise<void>;
  /** A caller of the port asks for a model to be loaded or unloaded. @throws AppError that the caller is told */
  onRepository(action: 'load' | 'unload', name: string, override?: LoadOverride): Promise<void>;
}

export interface ServingProcess {
  start(): void;
  /** Resolves when the process is up and restored. Rejects when `signal` aborts. */
  up(signal: AbortSignal): Promise<void>;
  load(model: ModelFiles): Promise<void>;
  activate(name: string, version: number): Promise<void>;
  unload(name: string, version: number): Promise<void>;
  journal(path: string): Promise<void>;
  /** Tells what is known and not loaded. */
  tell(known: readonly KnownModel[]): void;
  hand(socket: Socket): void;
  /** Lets it finish what is in flight; kills it at the deadline. */
  stop(deadlineMs: number): Promise<void>;
}

const restart = { firstMs: 100, mostMs: 10_000 };
/** A process that lived this long starts its backoff anew. */
const stableMs = 10_000;
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

export function createServingProcess(options: ServingProcessOptions): ServingProcess {
  const { log } = options;
  const callers = createWaitingCallers();
  const calls = createServingCalls({
    timeoutMs: options.callTimeoutMs,
    send,
    onTimeout(body) {
      const suspects = body.kind === 'load' ? [body.model] : [];
      kill({ detail: `it did not answer "${body.kind}" within ${options.callTimeoutMs / 1000} s`, suspects });
    },
  });
  let child: ChildProcess | undefined;
  let watch: ServingWatch | undefined;
  let started = false;
  let restored = false;
  const ending = new AbortController();
  let fault: Fault | undefined;
  let handled: Promise<void> = Promise.resolve();
  const upWaiters: (() => void)[] = [];
  let running: Promise<void> = Promise.resolve();

  function send(message: ToServing): void {
    child?.send(message, (error) => {
      if (error !== null) log.debug({ reason: messageOf(error), kind: message.kind }, 'message not delivered');
    });
  }

  function call(body: Parameters<typeof calls.call>[0]): Promise<void> {
    if (child === undefined || !started) return Promise.reject(new ServingGone('it is being started'));
    return calls.call(body);
  }

  function kill(why: Fault): void {
    fault ??= why;
    child?.kill('SIGKILL');
  }

  function receive(message: unknown, from: ChildProcess): void {
    if (from !== child) return; // Said before it died and read after.
    watch?.heard();
    const parsed = ToSupervisor.safeParse(message);
    if (!parsed.success) {
      log.error({ reason: parsed.error.message }, 'the serving process sent an unknown message');
      return;
    }
    const said = parsed.data;
    switch (said.kind) {
      case 'started':
        void bringUp(from);
        break;
      case 'reply':
        calls.settle(said);
        break;
      case 'counts':
        options.onCounts(said.models);
        break;
      case 'stuck': {
        const { name, version } = said;
        kill({ detail: `a run of model "${name}" version ${version} did not return`, suspects: [{ name, version }] });
        break;
      }
      case 'model_died':
        options.onModelDied({ name: said.name, version: said.version }, said.detail);
        break;
      case 'feedback':
        void answerFeedback(said.requestId, said.inferenceId, said.label);
        break;
      case 'repository':
        void answerRepository(said.requestId, options.onRepository(said.action, said.name, said.override));
    }
  }

  async function answerFeedback(requestId: number, inferenceId: string, label: string): Promise<void> {
    const error = await errorOf(options.onFeedback(inferenceId, label), log);
    send({ kind: 'feedback_result', requestId, ...(error === undefined ? {} : { error }) });
  }

  async function answerRepository(requestId: number, change: Promise<void>): Promise<void> {
    const error = await errorOf(change, log);
    send({ kind: 'repository_result', requestId, ...(error === undefined ? {} : { error }) });
  }

  /** One life of the process, from its start to its end. */
  async function live(): Promise<Death> {
    const process_ = fork(servingModulePath, [options.marker], {
      env: options.env,
      execArgv: [...sourceExecArgv(import.meta.url), ...heapOptions],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child = process_;
    fault = undefined;
    if (options.pidPath !== undefined && process_.pid !== undefined)
      writeDurablySync(options.pidPath, String(process_.pid));
    const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null; error?: Error }>((resolve) => {
      process_.once('exit', (code, signal) => resolve({ code, signal }));
      process_.once('error', (error) => resolve({ code: null, signal: null, error }));
    });
    process_.on('message', (message) => receive(message, process_));
    watch = watchServing({ ...options, startMs, pid: process_.pid ?? 0, onFault });
    const end = await ended;
    watch.end();
    const death = deathOf(end, fault, () => [...options.inFlight(), ...calls.loading()]);
    started = false;
    restored = false;
    child = undefined;
    callers.gone();
    if (options.pidPath !== undefined) rmSync(options.pidPath, { force: true });
    calls.rejectAll(death.detail);
    return death;
  }

  /** Silence is the HTTP thread's own doing; memory may be that of whatever runs. */
  function onFault(reason: 'silence' | 'memory', detail: string): void {
    kill(reason === 'silence' ? { detail, suspects: [] } : { detail });
  }

  async function bringUp(fresh: ChildProcess): Promise<void> {
    await handled;
    if (child !== fresh) return;
    started = true;
    try {
      await options.restore();
    } catch (error) {
      if (error instanceof ServingGone) return; // Its end is handled where it is seen.
      log.error({ err: error }, 'the serving process could not be restored and is started again');
      fresh.kill('SIGKILL');
      return;
    }
    if (child !== fresh || ending.signal.aborted) return;
    restored = true;
    callers.open(fresh);
    for (const resolve of upWaiters.splice(0)) resolve();
    await options.settled();
    if (child === fresh) send({ kind: 'ready' });
  }

  async function keepAlive(): Promise<void> {
    let failures = 0;
    while (!ending.signal.aborted) {
      const since = performance.now();
      const death = await live();
      if (ending.signal.aborted) break;
      failures = performance.now() - since > stableMs ? 1 : failures + 1;
      log.error({ ...death, suspects: death.suspects.map(({ name, version }) => `${name} ${version}`) }, diedMessage);
      // The next process starts meanwhile; it is asked for nothing before this is done.
      handled = options
        .onDied(death)
        .catch((error: unknown) => log.error({ err: error }, 'a death was not handled whole'));
      if (failures > 1) await pause(backoffMs(failures - 1, restart), ending.signal);
    }
    await handled;
  }

  async function stop(deadlineMs: number): Promise<void> {
    ending.abort();
    callers.close();
    const target = child;
    send({ kind: 'stop' });
    const timer = setTimeout(() => {
      log.warn('the serving process did not drain in time and is killed');
      target?.kill('SIGKILL');
    }, deadlineMs);
    await running;
    clearTimeout(timer);
  }

  return {
    start() {
      running = keepAlive().catch((error: unknown) => log.fatal({ err: error }, 'supervision ended'));
    },
    up(signal) {
      if (restored) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const give = () => reject(signal.reason);
        if (signal.aborted) return give();
        signal.addEventListener('abort', give, { once: true });
        upWaiters.push(() => {
          signal.removeEventListener('abort', give);
          resolve();
        });
      });
    },
    load: (model) => call({ kind: 'load', model }),
    activate: (name, version) => call({ kind: 'activate', name, version }),
    unload: (name, version) => call({ kind: 'unload', name, version }),
    journal: (path) => call({ kind: 'journal', path }),
    tell: (known) => send({ kind: 'known', models: [...known] }),
    hand: callers.hand,
    stop,
  };
}

/** What a caller is told of a failure. */
async function errorOf(work: Promise<void>, log: Logger) {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (!(error instanceof AppError)) log.error({ err: error }, 'a wish of a caller failed');
    const { code, errors } = error instanceof AppError ? error : { code: 'internal' as const, errors: [] };
    return { code, message: messageOf(error), errors };
  }
}

const diedMessage = 'the serving process died';
