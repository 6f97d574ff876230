// The versions that all serving processes hold: each is brought to the same plan, and a version takes the place of another in all of
// them together.
import type { Logger } from 'pino';
import type { ServingProcess } from '../process/serving-process.ts';
import { HeldVersions, isAboutModel, type Loaded, type Plan, type WantedVersion } from './held-versions.ts';
import { createRound, type VersionFailure } from './round.ts';

export interface HeldByAllOptions {
  processes: readonly Pick<ServingProcess, 'load' | 'activate' | 'unload'>[];
  /** As for one of them. */
  oneAtATime: boolean;
  log: Logger;
}

/** A process is named by its place among them. */
export class HeldByAll {
  readonly #processes: readonly HeldVersions[];

  constructor({ processes, oneAtATime, log }: HeldByAllOptions) {
    this.#processes = processes.map((serving) => new HeldVersions({ serving, oneAtATime, log }));
  }

  names(): string[] {
    return [...new Set(this.#processes.flatMap((each) => each.names()))];
  }

  versionsOf(name: string): number[] {
    return [...new Set(this.#processes.flatMap((each) => each.versionsOf(name)))];
  }

  /** What is loaded there as this version, or was when that process just died. */
  loadedAs(name: string, version: number, process: number): Loaded | undefined {
    return this.#processes[process]?.loadedAs(name, version);
  }

  /**
   * As for one process, in all that are there; one that is not is brought to the plan when it comes. Resolves to what failed, each
   * once. @throws ServingGone when none is there
   */
  async align(name: string, plan: () => Plan): Promise<VersionFailure[]> {
    const round = createRound(this.#processes);
    const errors = await errorsOf(this.#processes.map((each) => each.align(name, plan, round)));
    const isNoneThere = errors.length === this.#processes.length;
    for (const error of errors) if (isNoneThere || isAboutModel(error)) throw error;
    return distinct(round.failed);
  }

  /** Brings a fresh process to what is planned. @throws ServingGone */
  alignAll(process: number, ...how: Parameters<HeldVersions['alignAll']>): Promise<void> {
    return this.#processes[process]?.alignAll(...how) ?? Promise.resolve();
  }

  /** As for one process, in all; the candidate answers in none of them unless all have loaded it. */
  async admit(name: string, candidate: WantedVersion, signal: AbortSignal): Promise<void> {
    const round = createRound(this.#processes);
    const errors = await errorsOf(this.#processes.map((each) => each.admit(name, candidate, signal, round)));
    // What says something about the model comes first.
    if (errors.length > 0) throw errors.find(isAboutModel) ?? errors[0];
  }

  reset(process: number): void {
    this.#processes[process]?.reset();
  }
}

/** Waits for all whatever becomes of one. */
async function errorsOf(work: readonly Promise<void>[]): Promise<unknown[]> {
  return (await Promise.allSettled(work)).flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
}

function distinct(failed: readonly VersionFailure[]): VersionFailure[] {
  const isSame = (a: VersionFailure, b: VersionFailure) => a.version === b.version && a.release === b.release;
  return failed.filter((each, place) => failed.findIndex((other) => isSame(each, other)) === place);
}
