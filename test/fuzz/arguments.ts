// pnpm fuzz [--seed N] [--minutes M] [--one]

export interface FuzzArguments {
  seed: number;
  /** 0: only the conversation of the seed. */
  minutes: number;
}

export const usage = 'usage: pnpm fuzz [--seed N] [--minutes M | --one]';

/** What was asked for, or undefined when it is none of that. */
export function parseArguments(given: readonly string[]): FuzzArguments | undefined {
  const told = given.filter((word) => word !== '--');
  const values: Record<string, string> = { seed: String(Date.now() % 2 ** 31), minutes: '10' };
  while (told.length > 0) {
    const [name = '', value] = told.splice(0, told[0] === '--one' ? 1 : 2);
    if (name === '--one') values.minutes = '0';
    else if (/^--(?:seed|minutes)$/.test(name) && value !== undefined) values[name.slice(2)] = value;
    else return undefined;
  }
  const [seed, minutes] = [Number(values.seed), Number(values.minutes)];
  return Number.isSafeInteger(seed) && seed >= 0 && minutes >= 0 ? { seed, minutes } : undefined;
}
