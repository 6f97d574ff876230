// A simulated fleet, seen from the process that runs it: its devices are spread over processes of their own.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { AppError } from '@edgeloop/shared/errors';
import { pause } from '@edgeloop/shared/node/backoff';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { childEnvironment } from '@edgeloop/shared/node/child-environment';
import { z } from 'zod';
import type { Order } from './fleet-process.ts';
import type { FleetSettings } from './settings.ts';
import { addTallies, Tally } from './tally.ts';

const Told = z.union([
  z.object({ joined: z.literal(true) }),
  z.object({ ended: z.literal(true) }),
  z.object({ failed: z.string() }),
  z.object({ nr: z.number(), tally: Tally }),
]);

const perProcess = 2500;
const joiningAtOnce = 16;
/** Descriptors that a process needs beside its connections. */
const otherDescriptors = 200;
const everyMs = 100;
const processPath = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './fleet-process.ts' : './fleet-process.js', import.meta.url),
);

/** Devices of a fleet that are not there yet; `join` makes them. */
export class SimulatedFleet {
  readonly devices: number;
  readonly #members: Member[];
  #nr = 0;

  /** @throws AppError `unavailable` when the system's limit of open files is too low for so many devices */
  constructor(devices: number) {
    const processes = Math.max(Math.ceil(devices / perProcess), Math.min(devices, availableParallelism() - 1), 1);
    const each = Math.ceil(devices / processes);
    const limit = openFiles();
    if (each + otherDescriptors > limit)
      throw new AppError('unavailable', `${each} connections a process need ulimit -n above ${limit}; raise it first`);
    this.devices = devices;
    this.#members = Array.from({ length: processes }, (_, i) => {
      const from = i * each;
      return new Member(from, Math.max(0, Math.min(each, devices - from)));
    });
  }

  /** Process ids. */
  get pids(): number[] {
    return this.#members.map(({ pid }) => pid);
  }

  /** Resolves when every device has joined and was connected once. @throws AppError with the reason of the first that could not */
  async join(settings: FleetSettings): Promise<void> {
    const atOnce = Math.max(1, Math.floor(joiningAtOnce / this.#members.length));
    await Promise.all(this.#members.map((member) => member.join(settings, atOnce)));
  }

  async tally(): Promise<Tally> {
    this.#nr += 1;
    const nr = this.#nr;
    return addTallies(await Promise.all(this.#members.map((member) => member.tell(nr))));
  }

  /** Waits until the tally is as asked; false when the time is over or it is aborted. */
  async until(
    asked: (tally: Tally) => boolean,
    { timeoutMs, signal, seen }: { timeoutMs: number; signal?: AbortSignal; seen?: (tally: Tally) => void },
  ): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    const waiting = signal ?? new AbortController().signal;
    for (;;) {
      const tally = await this.tally();
      seen?.(tally);
      if (asked(tally)) return true;
      if (performance.now() > deadline || !(await pause(everyMs, waiting))) return false;
    }
  }

  /** Every device makes windows of this length from now on, one after the other; or none any more. */
  make(windowMs: number | null): void {
    for (const member of this.#members) member.send({ do: 'make', windowMs });
  }

  /** So many reports a second beside those that the devices make anyway. */
  report(perSecond: number): void {
    const each = perSecond / this.#members.length;
    for (const member of this.#members) member.send({ do: 'report', perSecond: each });
  }

  /** Every connection breaks at once. */
  breakOff(): void {
    for (const member of this.#members) member.send({ do: 'break' });
  }

  /** All say goodbye, and the processes end. */
  async end(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.end()));
  }

  /** At once, without a word. */
  kill(): void {
    for (const member of this.#members) member.kill();
  }
}

type Word = z.output<typeof Told>;

/** Who waits for a word of a process. */
interface Listener {
  meant: (told: Word) => boolean;
  resolve: (told: Word) => void;
  reject: (error: unknown) => void;
}

class Member {
  readonly #child: ChildProcess;
  readonly #range: { from: number; count: number };
  readonly #listeners = new Set<Listener>();
  #failure: unknown;

  constructor(from: number, count: number) {
    this.#range = { from, count };
    this.#child = fork(processPath, [], {
      env: childEnvironment(),
      execArgv: sourceExecArgv(import.meta.url),
      // Ctrl-C in a terminal reaches who runs the fleet, and that one ends it.
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.once('error', (error) => this.#fail(error));
    this.#child.once('exit', (code, signal) =>
      this.#fail(new AppError('internal', `a process of simulated devices ended (${signal ?? code})`)),
    );
    this.#child.on('message', (message) => this.#heed(Told.parse(message)));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  send(order: Order): void {
    if (this.#child.connected) this.#child.send(order);
  }

  async join(settings: FleetSettings, atOnce: number): Promise<void> {
    const joined = this.#hear((told) => 'joined' in told);
    this.send({ do: 'join', settings, ...this.#range, atOnce });
    await joined;
  }

  async tell(nr: number): Promise<Tally> {
    const answer = this.#hear((told) => 'nr' in told && told.nr === nr);
    this.send({ do: 'tell', nr });
    const told = await answer;
    if (!('tally' in told)) throw new AppError('internal', 'a process of simulated devices did not tell');
    return told.tally;
  }

  async end(): Promise<void> {
    const ended = this.#hear((told) => 'ended' in told);
    this.send({ do: 'end' });
    await ended;
    const gone = once(this.#child, 'exit');
    this.kill();
    await gone;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** The next word that is meant. */
  #hear(meant: Listener['meant']): Promise<Word> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#listeners.add({ meant, resolve, reject }));
  }

  #heed(told: Word): void {
    if ('failed' in told) this.#fail(new AppError('unavailable', told.failed));
    for (const listener of this.#listeners) {
      if (!listener.meant(told)) continue;
      this.#listeners.delete(listener);
      listener.resolve(told);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const { reject } of this.#listeners) reject(this.#failure);
    this.#listeners.clear();
  }
}

/** How many this process and its children may have open. */
export function openFiles(): number {
  if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
  const line = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return line?.[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line?.[1]);
}
