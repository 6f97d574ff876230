// Starts the serving process, watches it and starts it again; carries requests to it and sockets with callers on them.
// While it is down callers wait in a bounded queue instead of being refused.
import { type ChildProcess, fork } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { sourceExecArgv } from '@edgeloop/shared/bounded-process';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import { backoffMs, pause } from './backoff.ts';
import { writeDurably } from './durable-files.ts';
import { type ModelFiles, type ServingCounts, type ToServing, ToSupervisor } from './ipc.ts';

export interface Death {
  /** By a fault of its own (a crash signal, an exit code), not by being killed from outside. */
  crashed: boolean;
  detail: string;
}

export interface ServingProcessOptions {
  /** Tells a leftover process by its command line; the data or model folder. */
  marker: string;
  /** Where the pid is kept for the next start; unset keeps none. */
  pidPath?: string;
  env: NodeJS.ProcessEnv;
  callTimeoutMs: number;
  log: Logger;
  /** Puts a fresh process into the state that callers expect; called at every start. */
  restore(): Promise<void>;
  onDied(death: Death): Promise<void>;
  onCounts(counts: ServingCounts[]): void;
  /** @throws AppError that the caller is told */
  onFeedback(inferenceId: string, label: string): Promise<void>;
}

export interface ServingProcess {
  start(): void;
  /** Resolves when the process is up and restored. Rejects when `signal` aborts. */
  up(signal: AbortSignal): Promise<void>;
  load(model: ModelFiles): Promise<void>;
  activate(name: string, version: number): Promise<void>;
  unload(name: string, version: number): Promise<void>;
  journal(path: string): Promise<void>;
  hand(socket: Socket): void;
  /** Lets it finish what is in flight; kills it at the deadline. */
  stop(deadlineMs: number): Promise<void>;
}

type Call = Extract<ToServing, { kind: 'load' | 'activate' | 'unload' | 'journal' }>;
type CallBody = Call extends infer Each ? (Each extends Call ? Omit<Each, 'requestId'> : never) : never;

const waitingAtMost = 1024;
const handAgainMs = 50;
const restart = { firstMs: 100, mostMs: 10_000 };
/** A process that lived this long starts its backoff anew. */
const stableMs = 10_000;
const crashSignals: readonly (NodeJS.Signals | null)[] = [
  'SIGFPE',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGBUS',
  'SIGTRAP',
];
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
export const servingModulePath = fileURLToPath(new URL(`./serving.${extension}`, import.meta.url));

/** What calls fail with while the process is not there; the same call may succeed after `up`. */
export class ServingGone extends AppError {
  constructor(detail: string) {
    super('unavailable', `the serving process is not there: ${detail}`);
  }
}

export function createServingProcess(options: ServingProcessOptions): ServingProcess {
  const { log } = options;
  const calls = new Map<number, { resolve(): void; reject(error: Error): void; timer: NodeJS.Timeout }>();
  const waiting: Socket[] = [];
  /** Sent, and not yet known to have left this process. */
  const inTransit = new Set<Socket>();
  let child: ChildProcess | undefined;
  let started = false;
  let restored = false;
  const ending = new AbortController();
  let fault: string | undefined;
  let lastRequestId = 0;
  const upWaiters: (() => void)[] = [];
  let running: Promise<void> = Promise.resolve();

  function send(message: ToServing): void {
    child?.send(message, (error) => {
      if (error !== null) log.debug({ reason: messageOf(error), kind: message.kind }, 'message not delivered');
    });
  }

  function call(body: CallBody): Promise<void> {
    const target = child;
    if (target === undefined || !started) return Promise.reject(new ServingGone('it is being started'));
    lastRequestId += 1;
    const requestId = lastRequestId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        fault = `it did not answer "${body.kind}" within ${options.callTimeoutMs / 1000} s`;
        target.kill('SIGKILL');
      }, options.callTimeoutMs);
      calls.set(requestId, { resolve, reject, timer });
      send({ ...body, requestId });
    });
  }

  function receive(message: unknown, from: ChildProcess): void {
    const parsed = ToSupervisor.safeParse(message);
    if (!parsed.success) {
      log.error({ reason: parsed.error.message }, 'the serving process sent an unknown message');
      return;
    }
    switch (parsed.data.kind) {
      case 'started':
        started = true;
        void bringUp(from);
        break;
      case 'reply':
        settle(parsed.data.requestId, parsed.data.error);
        break;
      case 'counts':
        options.onCounts(parsed.data.models);
        break;
      case 'feedback':
        void answerFeedback(parsed.data.requestId, parsed.data.inferenceId, parsed.data.label);
    }
  }

  function settle(requestId: number, error: { code: AppError['code']; message: string } | undefined): void {
    const pending = calls.get(requestId);
    calls.delete(requestId);
    clearTimeout(pending?.timer);
    if (error === undefined) pending?.resolve();
    else pending?.reject(new AppError(error.code, error.message));
  }

  async function answerFeedback(requestId: number, inferenceId: string, label: string): Promise<void> {
    try {
      await options.onFeedback(inferenceId, label);
      send({ kind: 'feedback_result', requestId });
    } catch (error) {
      if (!(error instanceof AppError)) log.error({ err: error }, 'feedback failed');
      const { code, errors } = error instanceof AppError ? error : { code: 'internal' as const, errors: [] };
      send({ kind: 'feedback_result', requestId, error: { code, message: messageOf(error), errors } });
    }
  }

  /** One life of the process, from its start to its end. */
  async function live(): Promise<Death> {
    const process_ = fork(servingModulePath, [options.marker], {
      env: options.env,
      execArgv: sourceExecArgv(import.meta.url),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child = process_;
    fault = undefined;
    if (options.pidPath !== undefined && process_.pid !== undefined)
      writeDurably(options.pidPath, String(process_.pid));
    const ended = new Promise<Death>((resolve) => {
      process_.once('exit', (code, signal) => resolve(deathOf(code, signal, fault)));
      process_.once('error', (error) => resolve({ crashed: true, detail: messageOf(error) }));
    });
    process_.on('message', (message) => receive(message, process_));
    const death = await ended;
    started = false;
    restored = false;
    child = undefined;
    for (const socket of inTransit) wait(socket);
    inTransit.clear();
    if (options.pidPath !== undefined) rmSync(options.pidPath, { force: true });
    for (const requestId of [...calls.keys()]) {
      const pending = calls.get(requestId);
      calls.delete(requestId);
      clearTimeout(pending?.timer);
      pending?.reject(new ServingGone(death.detail));
    }
    return death;
  }

  async function bringUp(fresh: ChildProcess): Promise<void> {
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
    send({ kind: 'ready' });
    handWaiting();
    for (const resolve of upWaiters.splice(0)) resolve();
  }

  async function keepAlive(): Promise<void> {
    let failures = 0;
    while (!ending.signal.aborted) {
      const since = performance.now();
      const death = await live();
      if (ending.signal.aborted) return;
      failures = performance.now() - since > stableMs ? 1 : failures + 1;
      log.error({ detail: death.detail, crashed: death.crashed }, 'the serving process died');
      await options.onDied(death).catch((error: unknown) => log.error({ err: error }, 'a death was not handled whole'));
      if (failures > 1) await pause(backoffMs(failures - 1, restart), ending.signal);
    }
  }

  function hand(socket: Socket): void {
    const target = child;
    if (socket.destroyed) return;
    if (target === undefined || !restored || ending.signal.aborted) {
      wait(socket);
      return;
    }
    const message: ToServing = { kind: 'connection' };
    inTransit.add(socket);
    // Kept open here until it is on its way: what a dying process never took can be handed to the next one.
    target.send(message, socket, { keepOpen: true }, (error) => {
      if (!inTransit.delete(socket)) return;
      if (error === null) socket.destroy();
      else {
        wait(socket);
        if (target.connected) setTimeout(handWaiting, handAgainMs);
      }
    });
  }

  function handWaiting(): void {
    for (const socket of waiting.splice(0)) hand(socket);
  }

  function wait(socket: Socket): void {
    if (waiting.length >= waitingAtMost || ending.signal.aborted) socket.destroy();
    else waiting.push(socket);
  }

  async function stop(deadlineMs: number): Promise<void> {
    ending.abort();
    for (const socket of waiting.splice(0)) socket.destroy();
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
    hand,
    stop,
  };
}

function deathOf(code: number | null, signal: NodeJS.Signals | null, fault: string | undefined): Death {
  if (fault !== undefined) return { crashed: true, detail: fault };
  if (signal !== null) return { crashed: crashSignals.includes(signal), detail: `it was ended by ${signal}` };
  return { crashed: code !== 0, detail: `it ended with exit code ${code}` };
}
