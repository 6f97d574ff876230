// pnpm flakes [-n N] [--load K] [what vitest takes]: our options come first.
export interface FlakesArguments {
  runs: number;
  /** Busy processes beside the tests. */
  load: number;
  /** Handed to vitest as they are. */
  vitest: string[];
}

export const usage = 'usage: pnpm flakes [-n RUNS] [--load BUSY_PROCESSES] [PATH or option of vitest]...';

/** What was asked for, or undefined when a number is none. */
export function parseArguments(given: readonly string[]): FlakesArguments | undefined {
  const vitest = given[0] === '--' ? given.slice(1) : [...given];
  const asked = { runs: 10, load: 1 };
  for (;;) {
    const [name, value = ''] = vitest;
    if (name !== '-n' && name !== '--load') return { ...asked, vitest };
    const count = /^\d+$/.test(value) ? Number(value) : -1;
    if (count < (name === '-n' ? 1 : 0)) return undefined;
    asked[name === '-n' ? 'runs' : 'load'] = count;
    vitest.splice(0, 2);
  }
}
