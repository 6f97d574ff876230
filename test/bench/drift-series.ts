// Series for the bench of drift: real ones with what is known of them, and generated ones. A half of them the method was made with;
// the others are held out: nothing was chosen by what they show.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSeries } from './anomalies.ts';

export type Half = 'design' | 'held out';

export interface KnownSeries {
  name: string;
  half: Half;
  columns: Record<string, number[]>;
  perDay: number;
  /** First and last row of what is known to be otherwise. */
  periods: readonly (readonly [number, number])[];
  /** Rows of a window; unset: a day, or less where the reference is short. */
  window?: number;
  /** Rows of the first reference; unset: those before the first period, and two fifths at most. */
  reference?: number;
}

export type Random = () => number;

export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A stationary series, and how a change of known size makes its values. */
export interface Generator {
  name: string;
  half: Half;
  draw: (random: Random) => () => number;
  change: string;
  changed: (value: number, random: Random) => number;
}

/** Follows its own past with weight `memory`; `step` draws what is new, of variance 1. */
function following(memory: number, random: Random, step: (random: Random) => number = normal): () => number {
  let value = normal(random);
  return () => {
    value = memory * value + Math.sqrt(1 - memory ** 2) * step(random);
    return value;
  };
}

/** Student's distribution of 3 degrees, brought to variance 1. */
function heavyTailed(random: Random): number {
  const sum = normal(random) ** 2 + normal(random) ** 2 + normal(random) ** 2;
  return normal(random) / Math.sqrt(sum);
}

function poisson(rate: number, random: Random): number {
  const least = Math.exp(-rate);
  let product = random();
  let count = 0;
  while (product > least) {
    product *= random();
    count += 1;
  }
  return count;
}

const higher = (by: number) => ({ change: `${by} deviations higher`, changed: (value: number) => value + by });

function memories(half: Half, ...of: readonly [memory: number, by: number][]): Generator[] {
  return of.map(([memory, by]) => ({
    ...{ name: `memory ${memory}`, half, draw: (random: Random) => following(memory, random), ...higher(by) },
  }));
}

export const generators: readonly Generator[] = [
  ...memories('design', [0, 0.5], [0.5, 0.5], [0.9, 1], [0.97, 1.5]),
  ...memories('held out', [0.3, 0.5], [0.8, 1], [0.95, 1.5]),
  {
    ...{ name: 'season of 96 over memory 0.6', half: 'held out', ...higher(1) },
    draw: (random) => {
      const next = following(0.6, random);
      let at = Math.floor(96 * random());
      return () => Math.sin((2 * Math.PI * at++) / 96) + 0.7 * next();
    },
  },
  {
    ...{ name: 'heavy tails, memory 0.7', half: 'held out', change: 'spread 1.5 times' },
    draw: (random) => following(0.7, random, heavyTailed),
    changed: (value) => 1.5 * value,
  },
  {
    ...{ name: 'whole numbers, memory 0.9', half: 'held out', change: '2 more' },
    draw: (random) => {
      const next = following(0.9, random);
      return () => poisson(Math.exp(1 + 0.5 * next()), random);
    },
    changed: (value) => value + 2,
  },
  {
    ...{ name: 'slow and fast together', half: 'held out', ...higher(2) },
    draw: (random) => {
      const parts = [0.99, 0.9, 0.3].map((memory) => following(memory, random));
      return () => parts.reduce((sum, next) => sum + next(), 0) / Math.sqrt(3);
    },
  },
  {
    ...{ name: 'missing in bursts', half: 'held out', change: 'half are missing' },
    draw: (random) => {
      const [next, burst] = [following(0.5, random), following(0.95, random)];
      return () => (burst() > 1.5 ? Number.NaN : next());
    },
    changed: (value, random) => (random() < 0.5 ? Number.NaN : value),
  },
];

export function knownSeries(folder: string): KnownSeries[] {
  const found = [...weather(folder), ...electricity(folder), ...nab(join(folder, 'nab'))];
  if (found.length === 0) throw new Error(`no known data lies in ${folder}`);
  return found;
}

function table(path: string): string[][] {
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((row) => row.split(','));
}
function column(rows: readonly string[][], at: number): number[] {
  return rows.map((row) => Number(row[at]));
}

/** Fifty years of days, of which ten are the reference; from half on the first column is in other units. */
function weather(folder: string): KnownSeries[] {
  const path = join(folder, 'weather/NEweather_data.csv');
  if (!existsSync(path)) return [];
  const rows = table(path);
  const changedAt = 9125;
  const columns = Object.fromEntries((rows[0] ?? []).map((_, i) => [`w${i}`, column(rows, i)]));
  const inUnits = columns.w0?.map((value, i) => (i < changedAt ? value : value * 1.8 + 32)) ?? [];
  const periods = [[changedAt, rows.length - 1]] as const;
  // Windows of a year: what the seasons do averages out within them.
  const rest = { half: 'design' as const, perDay: 1, window: 365, reference: 3650, periods };
  return [{ name: 'weather, w0 in other units', columns: { ...columns, w0: inUnits }, ...rest }];
}

/** Half a year is the reference; later the figures of the neighbouring state are recorded, which stood still before. */
function electricity(folder: string): KnownSeries[] {
  const path = join(folder, 'elec2/elec.csv');
  if (!existsSync(path)) return [];
  const [head = [], ...rows] = table(path);
  const wanted = ['nswprice', 'nswdemand', 'vicprice', 'vicdemand', 'transfer'];
  const columns = Object.fromEntries(wanted.map((name) => [name, column(rows, head.indexOf(name))]));
  const victoria = columns.vicprice ?? [];
  const changedAt = victoria.findIndex((value) => value !== victoria[0]);
  const rest = { half: 'design' as const, perDay: 48, reference: 8760 };
  return [{ name: 'elec2, Victoria is recorded', columns, periods: [[changedAt, rows.length - 1]], ...rest }];
}

const designed = ['machine_temperature', 'nyc_taxi', 'cpu_utilization'];

function nab(folder: string): KnownSeries[] {
  if (!existsSync(folder)) return [];
  return readSeries(folder).map(({ name, perDay, values, windows }) => ({
    ...{ name: name.replace('.csv', ''), perDay, columns: { value: values }, periods: windows },
    half: designed.some((each) => name.startsWith(each)) ? ('design' as const) : ('held out' as const),
  }));
}
