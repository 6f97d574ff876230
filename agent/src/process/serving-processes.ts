// The serving processes of this device, one or several: each is whole, callers are handed to them in turn, and while one is away
// the others go on.
import type { Socket } from 'node:net';
import { AppError } from '@edgeloop/shared/errors';
import type { KnownModel, Misplaced } from './ipc.ts';
import { type ServingHandlers, ServingProcess, type ServingProcessOptions } from './serving-process.ts';
import type { Protocol } from './waiting-caller.ts';
import { createWaitingCallers } from './waiting-callers.ts';

export class ServingProcesses {
  /** By their place, by which others name them. */
  readonly processes: readonly ServingProcess[];
  readonly #callers = createWaitingCallers();

  /** One process for each entry. */
  constructor(options: readonly Omit<ServingProcessOptions, 'callers'>[]) {
    this.processes = options.map((each) => new ServingProcess({ ...each, callers: this.#callers }));
  }

  start(handlersOf: (process: number) => ServingHandlers): void {
    for (const [process, serving] of this.processes.entries()) serving.start(handlersOf(process));
  }

  /** Resolves when all are up and restored. Rejects when `signal` aborts. */
  async up(signal: AbortSignal): Promise<void> {
    await Promise.all(this.processes.map((each) => each.up(signal)));
  }

  /** Lets a process append to another journal; resolves when the former one is complete. */
  journal(path: string, process: number): Promise<void> {
    const serving = this.processes[process];
    if (serving === undefined) throw new AppError('internal', `there is no serving process ${process}`);
    return serving.journal(path);
  }

  tell(known: readonly KnownModel[], misplaced: readonly Misplaced[] = []): void {
    for (const each of this.processes) each.tell(known, misplaced);
  }

  tellProblems(problems: readonly { what: string; words: string }[]): void {
    for (const each of this.processes) each.tellProblems(problems);
  }

  hand(socket: Socket, protocol: Protocol = 'http'): void {
    this.#callers.hand(socket, protocol);
  }

  /** Lets them finish what is in flight; kills them at the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    await Promise.all(this.processes.map((each) => each.stop(deadlineMs)));
  }
}
