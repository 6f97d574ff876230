// `pnpm bench drift [--data DIR]`: what the drift judgement finds beside Kolmogorov and Smirnov at equal false alarms; how often windows
// without drift seem suspicious and raise an alarm beside what was asked; alarms and delays after known drift. Series that the
// method was made with and held-out ones stand apart.
import { createRandom } from '@edgeloop/control-plane/training/trainers/random';
import type { NumericProfile } from '@edgeloop/shared/profile';
import { addValue, emptyHistogram, type Histogram } from '@edgeloop/shared/sketches/histogram';
import { judgeAccuracy } from '../../control-plane/src/monitoring/statistics/accuracy.ts';
import { settingsOf } from '../../control-plane/src/monitoring/statistics/budget.ts';
import {
  type DriftJudgement,
  type DriftSettings,
  judgeDrift,
  measureSignals,
} from '../../control-plane/src/monitoring/statistics/drift.ts';
import { numericProfile } from '../../control-plane/src/training/trainers/profile.ts';
import { type Generator, generators, type KnownSeries, knownSeries, normal as normalOf } from './drift-series.ts';

const monthSeconds = 30 * 86_400;
const hour = 3600;
/** One false alarm a month, as the rules that a model gets without asking; hourly windows ask for 0.28 % of them. */
const settingsFor = (windowSeconds: number) =>
  settingsOf({ windowSeconds, falseDiscoveryRate: 0.01, falseAlarmsPerMonth: 1, minSamples: 30, minPsi: 0.1 });
const hourly = settingsFor(hour);
const random = createRandom(5);

export async function benchDrift({ quick, data }: { quick: boolean; data?: string | undefined }): Promise<void> {
  power(quick ? 200 : 1000);
  generated(quick ? 20 : 100);
  accuracy(quick ? 400 : 4000);
  if (data === undefined) console.log('\nreal data: give --data DIR');
  else {
    const known = knownSeries(data);
    withoutDrift(known, quick ? 10 : 40);
    knownDrift(known);
  }
}

function line(cells: readonly (string | number)[]): string {
  return `| ${cells.join(' | ')} |`;
}
function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)} %`;
}
function normal(): number {
  return normalOf(random);
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

type Columns = Readonly<Record<string, readonly number[]>>;
type Profiles = Record<string, NumericProfile>;

function profilesOf(columns: Columns, rows: number, blockSize: number): Profiles {
  return Object.fromEntries(
    Object.entries(columns).map(([name, values]) => [name, numericProfile(values.slice(0, rows), { blockSize })]),
  );
}

function judged(features: Profiles, columns: Columns, settings: DriftSettings): DriftJudgement {
  const seen = Object.fromEntries(
    Object.entries(features).map(([name, profile]) => [name, histogramOf(profile, columns[name] ?? [])]),
  );
  return judgeDrift({ rows: 1, features }, { features: seen, classes: {} }, settings);
}

/** Counts suspicious windows and, as alarms, the first of every run in which two of three are. */
class Watched {
  windows = 0;
  suspicious = 0;
  alarms = 0;
  notMonitorable = 0;
  #last: boolean[] = [];
  #open = false;

  /** Whether an alarm begins here. */
  add({ verdict, notMonitorable }: DriftJudgement): boolean {
    this.windows += 1;
    this.notMonitorable = Math.max(this.notMonitorable, notMonitorable.length);
    if (verdict === 'suspicious') this.suspicious += 1;
    this.#last = [...this.#last.slice(-2), verdict === 'suspicious'];
    const alarm = this.#last.filter(Boolean).length >= 2;
    const begins = alarm && !this.#open;
    if (begins) this.alarms += 1;
    this.#open = alarm;
    return begins;
  }

  get isOpen(): boolean {
    return this.#open;
  }
  get share(): number {
    return this.suspicious / this.windows;
  }
  perMonth(windowSeconds: number): string {
    return ((this.alarms * monthSeconds) / (this.windows * windowSeconds)).toFixed(2);
  }
  startAnew(): void {
    this.#last = [];
    this.#open = false;
  }
}

const shareAsked = percent(hourly.falseDiscoveryRate, 2);

/** Contiguous, so that neighbouring windows are alike as they are in the field. */
function generated(references: number): void {
  const window = 300;
  console.log(
    `\nGenerated, windows of ${window}, ${references} references of so many windows each; asked are ${shareAsked} suspicious ones and an alarm in 720:\n`,
  );
  const head = [
    'series',
    'half',
    'reference',
    'windows',
    'suspicious',
    'alarms in 720',
    'not monitorable',
    'change',
    'found',
  ];
  console.log(line(head));
  console.log(line(['---', '---', ...many(5, () => '---:'), '---', '---:']));
  for (const generator of generators)
    for (const size of [24, 100]) console.log(line(generatedRow(generator, { references, size, window })));
}

function generatedRow(
  { name, half, draw, change, changed }: Generator,
  { references, size, window }: { references: number; size: number; window: number },
): (string | number)[] {
  const still = new Watched();
  let [found, looked, unseen] = [0, 0, 0];
  for (let i = 0; i < references; i++) {
    const next = draw(random);
    const features = profilesOf({ x: many(size * window, next) }, size * window, window);
    still.startAnew();
    for (let at = 0; at < 60; at++) {
      const x = many(window, next);
      const outcome = judged(features, { x }, hourly);
      still.add(outcome);
      if (outcome.notMonitorable.length > 0) unseen += 1;
      if (at % 6 > 0) continue;
      looked += 1;
      const moved = { x: x.map((value) => changed(value, random)) };
      if (judged(features, moved, hourly).verdict === 'suspicious') found += 1;
    }
  }
  const cells = [name, half, size, still.windows, percent(still.share, 2), still.perMonth(hour)];
  return [...cells, percent(unseen / still.windows), change, percent(found / looked)];
}

/** Labels of versions that are as good as their references say: twenty windows of 500 each, an alert is two of three. */
function accuracy(versions: number): void {
  const settings = { minLabels: 50, maxLoss: 0.05 };
  console.log(
    `\nVersions of ${versions} that get a false alert of accuracy (asked: at most 2.5 %), and that get one at 20 points less:\n`,
  );
  console.log(line(['reference rows', 'right', 'false', 'found']));
  console.log(line(many(4, () => '---:')));
  const right = (of: number, share: number) => many(of, random).filter((value) => value < share).length;
  for (const rows of [50, 200, 1000])
    for (const share of [0.6, 0.9, 0.97]) {
      const alerts = (loss: number) =>
        many(versions, () => {
          const reference = { accuracy: right(rows, share) / rows, rows };
          const windows = many(20, () =>
            judgeAccuracy(reference, { labels: 500, correct: right(500, share - loss) }, settings),
          );
          const last = windows.map(({ verdict }) => verdict === 'suspicious');
          return last.some((_, i) => last.slice(i, i + 3).filter(Boolean).length >= 2);
        }).filter(Boolean).length / versions;
      console.log(line([rows, percent(share), percent(alerts(0)), percent(alerts(0.2))]));
    }
}

function rowsOf(columns: Columns): number {
  return Math.min(...Object.values(columns).map(({ length }) => length));
}

function shuffled<T>(values: T[]): T[] {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [values[i], values[j]];
    if (a !== undefined && b !== undefined) [values[i], values[j]] = [b, a];
  }
  return values;
}

/** Rows of a window whose order is drawn. */
const drawnRows = 48;

/**
 * Whole windows outside of all known periods, in an order that is drawn: rows keep their neighbours within a window, and no window
 * differs from the reference by its season or year, so that nothing drifts. Half of them are the reference.
 */
function withoutDrift(known: readonly KnownSeries[], rounds: number): void {
  const strict = shareAsked;
  const wide = settingsFor(86_400);
  console.log(
    `\nReal data without drift (windows of ${drawnRows} rows in an order that is drawn, ${rounds} times), as hourly and as daily windows:\n`,
  );
  const head = ['series', 'half', 'signals', 'not monitorable', 'windows', `of ${strict}`, 'alarms a month, of 1'];
  console.log(line([...head, `of ${percent(wide.falseDiscoveryRate)}`, 'alarms a month, of 1']));
  console.log(line(['---', '---', ...many(7, () => '---:')]));
  const all = new Map<string, { windows: number; strict: number; wide: number }>();
  for (const series of known) {
    const [one, two] = [new Watched(), new Watched()];
    const starts = many(Math.floor(rowsOf(series.columns) / drawnRows), (i) => i * drawnRows).filter(
      (from) => !series.periods.some(([first, last]) => from <= last && from + drawnRows > first),
    );
    for (let round = 0; round < rounds; round++) {
      const order = shuffled([...starts]);
      const columns = Object.fromEntries(
        Object.entries(series.columns).map(([name, values]) => [
          name,
          order.flatMap((from) => values.slice(from, from + drawnRows)),
        ]),
      );
      const reference = Math.floor(order.length / 2) * drawnRows;
      const features = profilesOf(columns, reference, drawnRows);
      one.startAnew();
      two.startAnew();
      for (let from = reference; from < order.length * drawnRows; from += drawnRows) {
        const window = slice(columns, from, drawnRows);
        one.add(judged(features, window, hourly));
        two.add(judged(features, window, wide));
      }
    }
    const cells = [series.name, series.half, Object.keys(series.columns).length, one.notMonitorable, one.windows];
    console.log(
      line([...cells, percent(one.share, 2), one.perMonth(hour), percent(two.share, 2), two.perMonth(86_400)]),
    );
    const sum = all.get(series.half) ?? { windows: 0, strict: 0, wide: 0 };
    all.set(series.half, {
      windows: sum.windows + one.windows,
      strict: sum.strict + one.suspicious,
      wide: sum.wide + two.suspicious,
    });
  }
  for (const [half, { windows, strict: narrow, wide: more }] of all)
    console.log(
      line(['together', half, '', '', windows, percent(narrow / windows, 2), '', percent(more / windows, 2), '']),
    );
}

function slice(columns: Columns, from: number, rows: number): Record<string, number[]> {
  return Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values.slice(from, from + rows)]));
}

/** Windows that a first reference needs, and rows of a window. */
const needed = { windows: 24, rows: 30 };

/** In the order of time, with windows of a day or as long as a reference before the first period allows. */
function knownDrift(known: readonly KnownSeries[]): void {
  console.log(
    '\nReal data in the order of time, one false alarm a month; an alarm is two of three windows in a row:\n',
  );
  const head = ['series', 'half', 'window, hours', 'reference, windows', 'asked', 'not monitorable', 'visible shift'];
  console.log(line([...head, 'periods found', 'windows until', 'alarms outside', 'in months']));
  console.log(line(['---', '---', ...many(9, () => '---:')]));
  for (const series of known) console.log(line(knownRow(series)));
}

function knownRow({ name, half, columns, perDay, periods, ...given }: KnownSeries): (string | number)[] {
  const rows = rowsOf(columns);
  const before = given.reference ?? Math.min(periods[0]?.[0] ?? rows, Math.floor(0.4 * rows));
  const window = given.window ?? Math.max(needed.rows, Math.min(perDay, Math.floor(before / needed.windows)));
  const reference = Math.floor(before / window) * window;
  const settings = settingsFor((window * 86_400) / perDay);
  const features = profilesOf(columns, reference, window);
  const watched = new Watched();
  const delays = new Map<number, number>();
  let outside = 0;
  let visible = '';
  for (let from = reference; from + window <= rows; from += window) {
    const outcome = judged(features, slice(columns, from, window), settings);
    const begins = watched.add(outcome);
    if (visible === '') visible = visibleOf(outcome);
    // An alarm of two windows in three may end two windows after what raised it.
    const at = periods.findIndex(([first, last]) => from + window > first && from <= last + 2 * window);
    if (at < 0) outside += begins ? 1 : 0;
    else if (watched.isOpen && !delays.has(at))
      delays.set(at, Math.ceil((from + window - (periods[at]?.[0] ?? 0)) / window));
  }
  const months = ((watched.windows * window) / perDay / 30).toFixed(1);
  const cells = [
    name,
    half,
    ((window * 24) / perDay).toFixed(0),
    reference / window,
    percent(settings.falseDiscoveryRate),
  ];
  const found = [`${delays.size} of ${periods.length}`, [...delays.values()].join(', ') || 'none'];
  return [...cells, watched.notMonitorable, visible, ...found, outside, months];
}

/** Of the signal that shows least, in deviations. */
function visibleOf({ signals }: DriftJudgement): string {
  const all = signals.map((signal) => signal.visible);
  return all.length === 0 ? 'none' : Math.max(...all).toFixed(1);
}
