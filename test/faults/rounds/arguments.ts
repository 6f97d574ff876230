// pnpm faults [--seed N] [--rounds N] [--only N[,N]] [--agents N]
import { parseArgs } from 'node:util';

export interface FaultsArguments {
  seed: number;
  rounds: number;
  /** Numbers of the only rounds to do. */
  only: number[] | undefined;
  agents: number;
}

export const usage = 'usage: pnpm faults [--seed N] [--rounds N] [--only ROUND[,ROUND]...] [--agents N]';

/** What was asked for, or undefined when it is not understood. `seed` stands in where none is given. */
export function parseArguments(given: readonly string[], seed: number): FaultsArguments | undefined {
  const text = { type: 'string' } as const;
  const args = given[0] === '--' ? given.slice(1) : [...given];
  try {
    const { values } = parseArgs({ args, options: { seed: text, rounds: text, only: text, agents: text } });
    const numbers = {
      seed: numberOf(values.seed ?? String(seed), 0),
      rounds: numberOf(values.rounds ?? '20', 1),
      agents: numberOf(values.agents ?? '2', 1),
    };
    return { ...numbers, only: values.only?.split(',').map((each) => numberOf(each, 1)) };
  } catch {
    return undefined;
  }
}

function numberOf(text: string, least: number): number {
  if (!/^\d+$/.test(text) || Number(text) < least) throw new RangeError(text);
  return Number(text);
}
