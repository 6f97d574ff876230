// pnpm simulate [--seed N] [--seeds N] [--devices N] [--minutes N] [--lines N]
import { parseArgs } from 'node:util';

export interface SimulationArguments {
  /** The first one. */
  seed: number;
  /** How many, one after the other. */
  seeds: number;
  devices: number;
  minutes: number;
  /** The last so many lines of a history that broke something are printed. */
  lines: number;
}

export const usage = 'usage: pnpm simulate [--seed N] [--seeds N] [--devices N] [--minutes N] [--lines N]';

/** What was asked for, or undefined when it is not understood. `seed` stands in where none is given. */
export function parseArguments(given: readonly string[], seed: number): SimulationArguments | undefined {
  const text = { type: 'string' } as const;
  const args = given[0] === '--' ? given.slice(1) : [...given];
  try {
    const { values } = parseArgs({
      args,
      options: { seed: text, seeds: text, devices: text, minutes: text, lines: text },
    });
    return {
      seed: numberOf(values.seed ?? String(seed), 0),
      seeds: numberOf(values.seeds ?? '20', 1),
      devices: numberOf(values.devices ?? '10', 1),
      minutes: numberOf(values.minutes ?? '15', 1),
      lines: numberOf(values.lines ?? '40', 0),
    };
  } catch {
    return undefined;
  }
}

function numberOf(text: string, least: number): number {
  if (!/^\d+$/.test(text) || Number(text) < least) throw new RangeError(text);
  return Number(text);
}
