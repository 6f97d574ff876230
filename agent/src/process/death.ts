// Why a serving process ended, and which model versions may have brought that about.

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

/** Why it is being killed. */
export interface Fault {
  detail: string;
  /** Undefined: whatever was in flight. */
  suspects?: Suspect[];
}

/** How the system says that it ended. */
export interface End {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** It could not be started at all, for want of memory or processes: no model's doing. */
  error?: Error;
}

const crashSignals: readonly (NodeJS.Signals | null)[] = [
  'SIGFPE',
  'SIGSEGV',
  'SIGABRT',
  'SIGILL',
  'SIGBUS',
  'SIGTRAP',
];

/** `inFlight`: what ran or was being loaded; asked only where it counts. */
export function deathOf({ code, signal, error }: End, fault: Fault | undefined, inFlight: () => Suspect[]): Death {
  const crashed = fault !== undefined || crashSignals.includes(signal) || (code ?? 0) !== 0;
  const ended = signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`;
  const detail = fault?.detail ?? error?.message ?? ended;
  return { crashed, detail, suspects: crashed ? distinct(fault?.suspects ?? inFlight()) : [] };
}

function distinct(suspects: readonly Suspect[]): Suspect[] {
  return [...new Map(suspects.map(({ name, version }) => [`${name}@${version}`, { name, version }])).values()];
}
