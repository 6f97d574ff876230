// What stands in the way of serving, recording or following at this moment, in words for people: each is there from the
// moment it is seen until it is over, is logged at both, and told with every report in between.
import type { Logger } from 'pino';

export type ProblemName =
  | 'storage'
  | 'telemetry'
  | 'database'
  | 'lock'
  | 'files'
  | 'identity'
  | 'identity_conflict'
  | 'certificate'
  | 'clock'
  | 'lost';

export interface Problem {
  what: ProblemName;
  /** Wall clock in milliseconds. */
  since: number;
  /** What does not work, why, and what to do. */
  words: string;
}

export class Problems {
  readonly #log: Logger;
  readonly #standing = new Map<ProblemName, Problem>();
  readonly #listeners: (() => void)[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** It stands from now on; of one name only the present words count, and only its beginning is logged. */
  set(what: ProblemName, words: string): void {
    const known = this.#standing.get(what);
    if (known?.words === words) return;
    this.#standing.set(what, { what, since: known?.since ?? Date.now(), words });
    if (known !== undefined) return;
    this.#log.error({ problem: what }, words);
    this.#changed();
  }

  /** It is over. */
  clear(what: ProblemName): void {
    const known = this.#standing.get(what);
    if (known === undefined) return;
    this.#standing.delete(what);
    const seconds = Math.round((Date.now() - known.since) / 1000);
    this.#log.info({ problem: what, seconds, was: known.words }, 'a problem is over');
    this.#changed();
  }

  /** The oldest first. */
  list(): Problem[] {
    return [...this.#standing.values()];
  }

  /** Something began or is over; other words for the same are told with whatever is told next. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
