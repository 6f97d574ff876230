// The serving processes of this device, one or several: each is whole, callers are handed to them in turn, and while one is away
// the others go on.
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { AppError } from '@edgeloop/shared/errors';
import { BetweenProcesses } from './between-processes.ts';
import type { KnownModel, LocalToken, LostCounts, Misplaced } from './ipc.ts';
import { type ServingHandlers, ServingProcess, type ServingProcessOptions } from './serving-process.ts';
import type { Protocol } from './waiting-caller.ts';
import { createWaitingCallers } from './waiting-callers.ts';

export interface ServingProcessesOptions {
  /** One process for each entry. */
  processes: readonly Omit<ServingProcessOptions, 'callers' | 'onBetween'>[];
  /** Whose rates hold for all of them together. */
  tokens: readonly LocalToken[];
}

export class ServingProcesses {
  /** By their place, by which others name them. */
  readonly processes: readonly ServingProcess[];
  readonly #callers = createWaitingCallers();
  readonly #between: BetweenProcesses;

  constructor({ processes, tokens }: ServingProcessesOptions) {
    this.#between = new BetweenProcesses({
      count: processes.length,
      tokens,
      send: (to, message) => this.processes[to]?.tellFor(message) ?? false,
      nowMs: () => performance.now(),
    });
    this.processes = processes.map(
      (each, process) =>
        new ServingProcess({
          ...each,
          callers: this.#callers,
          onBetween: (said, answer) => this.#between.said(process, said, answer),
        }),
    );
  }

  start(handlersOf: (process: number) => ServingHandlers): void {
    for (const [process, serving] of this.processes.entries())
      serving.start(this.#withFigures(handlersOf(process), process));
  }

  #withFigures(handlers: ServingHandlers, process: number): ServingHandlers {
    return {
      ...handlers,
      onDied: (death) => {
        this.#between.died(process);
        return handlers.onDied(death);
      },
      onCounts: (counts, missing, figures) => {
        this.#between.counted(process, figures);
        handlers.onCounts(counts, missing);
      },
    };
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

  /** A model comes that is new to this device. */
  expectNewModel(): void {
    for (const each of this.processes) each.expectNewModel();
  }

  /** In each of them. @throws AppError `model_rejected` when one does not reproduce */
  async rerunGolden(name: string, version: number): Promise<void> {
    await Promise.all(this.processes.map((each) => each.rerunGolden(name, version)));
  }

  tell(known: readonly KnownModel[], misplaced: readonly Misplaced[] = []): void {
    for (const each of this.processes) each.tell(known, misplaced);
  }

  tellProblems(problems: readonly { what: string; words: string }[]): void {
    for (const each of this.processes) each.tellProblems(problems);
  }

  tellLost(lost: LostCounts): void {
    for (const each of this.processes) each.tellLost(lost);
  }

  hand(socket: Socket, protocol: Protocol = 'http'): void {
    this.#callers.hand(socket, protocol);
  }

  /** Lets them finish what is in flight; kills them at the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    await Promise.all(this.processes.map((each) => each.stop(deadlineMs)));
  }
}
