// Why a serving process ended, and which model versions may have brought that about.
import { isCrash } from '@edgeloop/shared/node/bounded-process';
import type { Runner } from './running-report.ts';

/** A model version that may have brought a death about. */
export interface Suspect {
  name: string;
  version: number;
}

export interface Death {
  /** By a fault of its own (a crash signal, an exit code, a bound), not by being killed from outside. */
  crashed: boolean;
  detail: string;
  /** What ran or was being loaded; empty when the death was no model's doing or nothing is known. */
  suspects: Suspect[];
}

/** How the own process of a model ended. */
export type ModelDeath = Pick<Death, 'crashed' | 'detail'> & {
  /** It ran beside what answers. */
  beside?: boolean | undefined;
};

/** Why it is being killed. */
export interface Fault {
  detail: string;
  /** Undefined: whatever was in flight, in all of the process or in the thread that answers HTTP. */
  suspects?: Suspect[] | 'http-thread';
}

/** How the system says that it ended. */
export interface End {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** It could not be started at all, for want of memory or processes: no model's doing. */
  error?: Error;
}

/** `inFlight`: what ran or was being loaded; asked only where it counts. */
export function deathOf(
  { code, signal, error }: End,
  fault: Fault | undefined,
  inFlight: (of: Runner) => Suspect[],
): Death {
  const crashed = fault !== undefined || isCrash(signal) || (code ?? 0) !== 0;
  const ended = signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`;
  const detail = fault?.detail ?? error?.message ?? ended;
  const named = fault?.suspects ?? 'process';
  const suspects = (): Suspect[] => (typeof named === 'string' ? inFlight(named) : named);
  return { crashed, detail, suspects: crashed ? distinct(suspects()) : [] };
}

function distinct(suspects: readonly Suspect[]): Suspect[] {
  return [...new Map(suspects.map(({ name, version }) => [`${name}@${version}`, { name, version }])).values()];
}
