// `pnpm bench drift [--data DIR]`: what the drift judgement finds beside Kolmogorov and Smirnov at equal false alarms; and on real
// data, alarms and delays after known drift and false alarms on windows without any.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import type { NumericProfile } from '@edgeloop/shared/profile';
import { addValue, emptyHistogram, type Histogram } from '@edgeloop/shared/sketches/histogram';
import { settingsOf } from '../../control-plane/src/monitoring/statistics/budget.ts';
import { type DriftSettings, judgeDrift, measureSignals } from '../../control-plane/src/monitoring/statistics/drift.ts';
import { numericProfile } from '../../control-plane/src/training/trainers/profile.ts';

/** Hourly windows and one false alarm a month, as the rules that a model gets without asking. */
const settings = settingsOf({
  ...{ windowSeconds: 3600, falseDiscoveryRate: 0.01, falseAlarmsPerMonth: 1, minSamples: 30, minPsi: 0.1 },
});
const random = createRandom(5);

export async function benchDrift({ quick, data }: { quick: boolean; data?: string | undefined }): Promise<void> {
  power(quick ? 200 : 1000);
  autocorrelated(quick ? 4 : 20);
  if (data === undefined) console.log('\nreal data: give --data DIR');
  else realData(data);
}

function line(cells: readonly (string | number)[]): string {
  return `| ${cells.join(' | ')} |`;
}
function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
function normal(): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
function many<T>(count: number, of: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => of(i));
}
function histogramOf({ edges }: NumericProfile, values: readonly number[]): Histogram {
  const histogram = emptyHistogram(edges);
  for (const value of values) addValue(histogram, edges, value);
  return histogram;
}
function pOf(profile: NumericProfile, values: readonly number[]): number {
  const features = { x: histogramOf(profile, values) };
  return measureSignals({ rows: 1, features: { x: profile } }, { features, classes: {} })[0]?.p ?? 1;
}

/** Largest distance of the two empirical distribution functions; both sorted. */
function distance(one: readonly number[], other: readonly number[]): number {
  let [i, j, most] = [0, 0, 0];
  while (i < one.length && j < other.length) {
    const value = Math.min(one[i] ?? 0, other[j] ?? 0);
    while (i < one.length && (one[i] ?? 0) <= value) i++;
    while (j < other.length && (other[j] ?? 0) <= value) j++;
    most = Math.max(most, Math.abs(i / one.length - j / other.length));
  }
  return most;
}

const changes: [string, () => number][] = [
  ['0.2 deviations higher', () => normal() + 0.2],
  ['0.3 higher', () => normal() + 0.3],
  ['0.5 higher', () => normal() + 0.5],
  ['spread 1.2 times', () => 1.2 * normal()],
  ['spread 0.8 times', () => 0.8 * normal()],
  ['stuck 15 % of the time', () => (random() < 0.15 ? 0.3 : normal())],
  ['5 % far out', () => (random() < 0.05 ? 5 + normal() : normal())],
  ['of two kinds', () => (random() < 0.5 ? -0.9 : 0.9) + 0.45 * normal()],
];

function power(rounds: number): void {
  const level = 0.01;
  const sides = many(20, () => {
    const values = many(5000, normal);
    return { profile: numericProfile(values, { blockSize: 300 }), sorted: [...values].sort((a, b) => a - b) };
  });
  console.log(
    `\nFound in a window at ${percent(level)} false alarms (each test at its own bound), ${rounds} windows:\n`,
  );
  console.log(line(['change', 'samples', 'KS', 'here']));
  console.log(line(['---', '---:', '---:', '---:']));
  for (const samples of [300, 1000]) {
    const drawn = (of: () => number, i: number) => {
      const { profile, sorted } = sides[i % sides.length] ?? { profile: numericProfile([0]), sorted: [] };
      const values = many(samples, of).sort((a, b) => a - b);
      return { distance: distance(values, sorted), p: pOf(profile, values) };
    };
    const still = many(4 * rounds, (i) => drawn(normal, i));
    const at = Math.floor(level * still.length);
    const bound = still.map((each) => each.distance).sort((a, b) => b - a)[at] ?? 1;
    const own = still.map(({ p }) => p).sort((a, b) => a - b)[at] ?? 0;
    for (const [name, of] of changes) {
      const found = many(rounds, (i) => drawn(of, i));
      const share = (is: (each: { distance: number; p: number }) => boolean) =>
        percent(found.filter(is).length / rounds);
      console.log(line([name, samples, share((each) => each.distance > bound), share(({ p }) => p <= own)]));
    }
  }
}

function autocorrelated(references: number): void {
  console.log(
    '\nWindows of 500 without drift that seem suspicious (asked: at most 0.3 %), and found at 1.5 deviations:\n',
  );
  console.log(line(['memory', 'windows', 'without blocks', 'with blocks', 'found']));
  console.log(line(['---:', '---:', '---:', '---:', '---:']));
  for (const memory of [0, 0.5, 0.9, 0.97]) {
    const counts = { bare: 0, calibrated: 0, found: 0, windows: 0 };
    for (let i = 0; i < references; i++) {
      let value = normal();
      const next = () => {
        value = memory * value + Math.sqrt(1 - memory ** 2) * normal();
        return value;
      };
      const reference = many(30_000, next);
      const calibrated = numericProfile(reference, { blockSize: 300 });
      const bare = numericProfile(reference);
      for (let window = 0; window < 100; window++) {
        const values = many(500, next);
        counts.windows += 1;
        if (isSuspicious(bare, values)) counts.bare += 1;
        if (isSuspicious(calibrated, values)) counts.calibrated += 1;
        if (
          isSuspicious(
            calibrated,
            values.map((each) => each + 1.5),
          )
        )
          counts.found += 1;
      }
    }
    const share = (count: number) => percent(count / counts.windows);
    console.log(line([memory, counts.windows, share(counts.bare), share(counts.calibrated), share(counts.found)]));
  }
}

function isSuspicious(profile: NumericProfile, values: readonly number[], by: DriftSettings = settings): boolean {
  const features = { x: histogramOf(profile, values) };
  return judgeDrift({ rows: 1, features: { x: profile } }, { features, classes: {} }, by).verdict === 'suspicious';
}

interface Series {
  name: string;
  columns: Record<string, number[]>;
  /** Rows of a window. */
  window: number;
  /** Rows of the reference, from the first one. */
  reference: number;
  /** Row from which on something is known to be otherwise; undefined where nothing is. */
  changedAt?: number;
}

function realData(folder: string): void {
  const known = [...weather(folder), ...electricity(folder), ...nab(folder)];
  const still = known.filter(({ name }) => !name.includes('other units') && !name.startsWith('machine'));
  const found = [...still.map((series) => drawn({ ...series, window: Math.min(series.window, 48) })), ...known];
  if (found.length === 0) throw new Error(`no known data lies in ${folder}`);
  console.log('\nReal data; an alarm is two of three windows in a row:\n');
  console.log(
    line([
      'series',
      'signals',
      'not monitorable',
      'windows before',
      'suspicious',
      'false alarms',
      'alarm after, windows',
    ]),
  );
  console.log(line(['---', '---:', '---:', '---:', '---:', '---:', '---:']));
  let [windows, suspicious, alarms] = [0, 0, 0];
  for (const series of found) {
    const outcome = walk(series);
    if (series.name.endsWith('no drift')) {
      windows += outcome.windows;
      suspicious += outcome.suspicious;
      alarms += outcome.alarms;
    }
    const { name, columns } = series;
    const after = series.changedAt === undefined ? '' : (outcome.delay ?? 'none');
    const { unseen, windows: before } = outcome;
    console.log(line([name, Object.keys(columns).length, unseen, before, outcome.suspicious, outcome.alarms, after]));
  }
  console.log(
    line(['without drift together', '', '', windows, `${suspicious} (${percent(suspicious / windows)})`, alarms, '']),
  );
}

function walk({ columns, window, reference, changedAt }: Series) {
  const features = Object.fromEntries(
    Object.entries(columns).map(([name, values]) => [
      name,
      numericProfile(values.slice(0, reference), { blockSize: window }),
    ]),
  );
  const rows = Math.min(...Object.values(columns).map(({ length }) => length));
  const outcome = { windows: 0, suspicious: 0, alarms: 0, unseen: 0, delay: undefined as number | undefined };
  const last: boolean[] = [];
  let open = false;
  for (let from = reference; from + window <= rows; from += window) {
    const seen = Object.fromEntries(
      Object.entries(features).map(([name, profile]) => [
        name,
        histogramOf(profile, columns[name]?.slice(from, from + window) ?? []),
      ]),
    );
    const judged = judgeDrift({ rows: reference, features }, { features: seen, classes: {} }, settings);
    outcome.unseen = Math.max(outcome.unseen, judged.notMonitorable.length);
    last.push(judged.verdict === 'suspicious');
    const alarm = last.slice(-3).filter(Boolean).length >= 2;
    const before = changedAt === undefined || from + window <= changedAt;
    if (before) {
      outcome.windows += 1;
      if (last.at(-1) === true) outcome.suspicious += 1;
      if (alarm && !open) outcome.alarms += 1;
    } else if (alarm && changedAt !== undefined) outcome.delay ??= Math.ceil((from + window - changedAt) / window);
    open = alarm;
  }
  return outcome;
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

/**
 * Whole windows in an order that is drawn: rows keep their neighbours within a window, and no window differs from the reference by
 * its season or year, so that nothing drifts. Half of them are the reference.
 */
function drawn(series: Series): Series {
  const rows = Math.min(
    ...Object.values(series.columns).map(({ length }) => length),
    series.changedAt ?? Number.MAX_VALUE,
  );
  const order = many(Math.floor(rows / series.window), (i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  const columns = Object.fromEntries(
    Object.entries(series.columns).map(([name, values]) => [
      name,
      order.flatMap((at) => values.slice(at * series.window, (at + 1) * series.window)),
    ]),
  );
  const { name, window } = series;
  return {
    name: `${name}; windows drawn: no drift`,
    columns,
    window,
    reference: Math.floor(order.length / 2) * window,
  };
}

/** Fifty years of days, of which ten are the reference: nothing is known to have changed, though the climate may have. */
function weather(folder: string): Series[] {
  const path = join(folder, 'weather/NEweather_data.csv');
  if (!existsSync(path)) return [];
  const rows = table(path);
  const names = (rows[0] ?? []).map((_, i) => `w${i}`);
  const columns = Object.fromEntries(names.map((name, i) => [name, column(rows, i)]));
  // Windows of a year: what the seasons do averages out within them.
  const series: Series = { name: 'weather, windows of a year', columns, window: 365, reference: 3650 };
  const swapped = Object.fromEntries(
    names.map((name) => [
      name,
      (columns[name] ?? []).map((value, i) => (i >= 9125 && name === 'w0' ? value * 1.8 + 32 : value)),
    ]),
  );
  return [series, { ...series, name: 'weather, w0 in other units from row 9125', columns: swapped, changedAt: 9125 }];
}

/** Half a year is the reference; later the figures of the neighbouring state are recorded, which stood still before. */
function electricity(folder: string): Series[] {
  const path = join(folder, 'elec2/elec.csv');
  if (!existsSync(path)) return [];
  const [head = [], ...rows] = table(path);
  const wanted = ['nswprice', 'nswdemand', 'vicprice', 'vicdemand', 'transfer'];
  const known = wanted.filter((name) => head.includes(name));
  const columns = Object.fromEntries(known.map((name) => [name, column(rows, head.indexOf(name))]));
  const victoria = columns.vicprice ?? [];
  const constant = victoria[0];
  const changedAt = victoria.findIndex((value) => value !== constant);
  const name = `elec2, windows of a day; row ${changedAt}: Victoria is recorded`;
  return changedAt < 0 ? [] : [{ name, columns, window: 48, reference: 8760, changedAt }];
}

function nab(folder: string): Series[] {
  const base = join(folder, 'nab/data/realKnownCause');
  const series = (file: string, parts: Pick<Series, 'window' | 'reference'> & Partial<Series>): Series[] => {
    const path = join(base, `${file}.csv`);
    if (!existsSync(path)) return [];
    return [{ name: file, columns: { value: column(table(path).slice(1), 1) }, ...parts }];
  };
  return [
    ...series('machine_temperature_system_failure', { window: 288, reference: 2016, changedAt: 2126 }),
    ...series('nyc_taxi', { window: 48, reference: 48 * 84, changedAt: 5839 }),
    ...series('cpu_utilization_asg_misconfiguration', { window: 288, reference: 288 * 30, changedAt: 16_551 }),
  ];
}
