// What two models say of the same samples, counted: how often they differ, where, and which is right. Pure; rows come one by
// one, so that whoever feeds it may pause.
import type {
  BacktestAccuracy,
  BacktestDifference,
  BacktestError,
  BacktestReport,
  BacktestSlice,
} from '@edgeloop/shared/api/backtests';
import type { Labels } from '@edgeloop/shared/selector';
import { QuantileSketchBuilder, quantile } from '@edgeloop/shared/sketches/ddsketch';
import { normalQuantile, pairedGain } from '../training/evaluation/comparison.ts';

/** A class, or numbers; null: no answer. */
export type Said = string | readonly number[] | null;

export interface TalliedSample {
  deviceId: string;
  /** That answered it in the field, what it said there if that is a class, and why the sample was captured. */
  version: number;
  field: string | null;
  reason: string;
  label: string | null;
  candidate: Said;
  /** What the candidate is compared with; undefined: it could not be asked. */
  baseline: Said | undefined;
}

export interface TallySubject {
  /** Versions that were run here; the baseline is null when what the field answered stands for it. */
  candidate: number;
  baseline: number | null;
  /** Of models that give numbers: the names of their values, and the range of each of the baseline. */
  values: readonly { name: string; range: number }[];
}

type Counts = Pick<BacktestSlice, 'samples' | 'changed' | 'labelled' | 'candidateRight' | 'baselineRight'>;
type Tallied = Pick<
  BacktestReport,
  'compared' | 'changed' | 'field' | 'repeated' | 'transitions' | 'slices' | 'accuracy' | 'error' | 'differences'
>;

/** Numbers that differ by no more than this share of the baseline's range are the same. */
const sameWithin = 0.05;
const confidence = 0.99;
const shownValues = 20;
const shownKeys = 20;
const shownTransitions = 100;

export class Tally {
  readonly #subject: TallySubject;
  readonly #all = noCounts();
  readonly #devices = new Map<string, Counts>();
  readonly #labels = new Map<string, Map<string, Counts>>();
  readonly #others = {
    version: new Map<string, Counts>(),
    reason: new Map<string, Counts>(),
    class: new Map<string, Counts>(),
  };
  readonly #transitions = new Map<string, { from: string | null; to: string | null; samples: number }>();
  readonly #field = { compared: 0, changed: 0 };
  readonly #repeated = { compared: 0, same: 0 };
  readonly #pairs = { both: 0, challengerOnly: 0, rivalOnly: 0, neither: 0 };
  /** Labelled samples that only the candidate could be asked. */
  readonly #alone = { labelled: 0, right: 0 };
  readonly #errors = { labelled: 0, candidate: 0, baseline: 0, rise: 0, squares: 0 };
  readonly #differences: QuantileSketchBuilder[];

  constructor(subject: TallySubject) {
    this.#subject = subject;
    this.#differences = subject.values.map(() => new QuantileSketchBuilder());
  }

  add(sample: TalliedSample): void {
    this.#addField(sample);
    const { candidate, baseline, label, deviceId } = sample;
    if (baseline === undefined) {
      if (label !== null && isClass(candidate)) this.#addAlone(candidate === label);
      return;
    }
    if (candidate === null && baseline === null) return;
    const isChanged = this.#differs(candidate, baseline);
    const right =
      label === null || this.#givesNumbers
        ? undefined
        : { candidate: candidate === label, baseline: baseline === label };
    count(this.#all, isChanged, right);
    count(entry(this.#devices, deviceId), isChanged, right);
    count(entry(this.#others.version, String(sample.version)), isChanged, right);
    count(entry(this.#others.reason, sample.reason), isChanged, right);
    if (typeof baseline === 'string') count(entry(this.#others.class, baseline), isChanged, right);
    if (!this.#givesNumbers) this.#addTransition(textOf(baseline), textOf(candidate));
    if (right !== undefined) this.#pairs[pairOf(right)] += 1;
    if (label !== null && this.#givesNumbers) this.#addError(label, candidate, baseline);
  }

  /** Devices that had samples. */
  devices(): Iterable<string> {
    return this.#devices.keys();
  }

  /** Counts a device's samples under its labels; once for each device, when all samples were added. */
  place(deviceId: string, labels: Labels): void {
    const own = this.#devices.get(deviceId);
    if (own === undefined) return;
    for (const [key, value] of Object.entries(labels)) {
      const values = this.#labels.get(key) ?? new Map<string, Counts>();
      this.#labels.set(key, values);
      merge(entry(values, value), own);
    }
  }

  result(): Tallied {
    const isRun = this.#subject.baseline !== null;
    return {
      compared: this.#all.samples,
      changed: this.#all.changed,
      field: { ...this.#field },
      repeated: isRun ? { ...this.#repeated } : null,
      transitions: mostOf(this.#transitions.values(), shownTransitions),
      slices: this.#slices(),
      accuracy: this.#accuracy(),
      error: this.#error(),
      differences: this.#differencesOf(),
    };
  }

  get #givesNumbers(): boolean {
    return this.#subject.values.length > 0;
  }

  /** What the field said is a class: of numbers nothing is captured. */
  #addField({ field, version, candidate, baseline }: TalliedSample): void {
    if (field === null || this.#givesNumbers) return;
    if (version !== this.#subject.candidate) {
      this.#field.compared += 1;
      if (candidate !== field) this.#field.changed += 1;
    }
    if (version !== this.#subject.baseline || baseline === undefined) return;
    this.#repeated.compared += 1;
    if (baseline === field) this.#repeated.same += 1;
  }

  #addAlone(isRight: boolean): void {
    this.#alone.labelled += 1;
    if (isRight) this.#alone.right += 1;
  }

  #differs(candidate: Said, baseline: Said): boolean {
    if (!isNumbers(candidate) || !isNumbers(baseline)) return candidate !== baseline;
    if (candidate.length !== baseline.length) return true;
    let isChanged = false;
    for (const [at, { range }] of this.#subject.values.entries()) {
      const [one, other] = [candidate[at] ?? Number.NaN, baseline[at] ?? Number.NaN];
      const difference = Math.abs(one - other);
      if (Number.isFinite(difference)) this.#differences[at]?.add(difference);
      const isNear = difference <= sameWithin * range || difference <= 1e-6 * Math.abs(other);
      if (!isNear && !Object.is(one, other)) isChanged = true;
    }
    return isChanged;
  }

  #addTransition(from: string | null, to: string | null): void {
    const key = JSON.stringify([from, to]);
    const known = this.#transitions.get(key);
    if (known === undefined) this.#transitions.set(key, { from, to, samples: 1 });
    else known.samples += 1;
  }

  #addError(label: string, candidate: Said, baseline: Said): void {
    const truth = Number(label);
    if (!isNumbers(candidate) || !isNumbers(baseline) || candidate.length !== 1 || label.trim() === '') return;
    const [one, other] = [
      Math.abs((candidate[0] ?? Number.NaN) - truth),
      Math.abs((baseline[0] ?? Number.NaN) - truth),
    ];
    if (!Number.isFinite(one) || !Number.isFinite(other)) return;
    const errors = this.#errors;
    errors.labelled += 1;
    errors.candidate += one;
    errors.baseline += other;
    errors.rise += one - other;
    errors.squares += (one - other) ** 2;
  }

  #slices(): BacktestSlice[] {
    // Where all devices have the same value, it tells nothing.
    const labels = [...this.#labels].filter(([, values]) => values.size > 1).slice(0, shownKeys);
    const byLabel = labels.flatMap(([key, values]) => slicesOf({ by: 'label', key }, values));
    const { version, reason, class: classes } = this.#others;
    return [
      ...byLabel,
      ...slicesOf({ by: 'version', key: '' }, version),
      ...slicesOf({ by: 'reason', key: '' }, reason),
      ...slicesOf({ by: 'class', key: '' }, classes),
    ];
  }

  #accuracy(): BacktestAccuracy | null {
    const { both, challengerOnly, rivalOnly, neither } = this.#pairs;
    if (both + challengerOnly + rivalOnly + neither > 0) {
      const { rows, challenger, rival, gain } = pairedGain(this.#pairs, confidence);
      return { labelled: rows, candidate: challenger, baseline: rival, gain };
    }
    const { labelled, right } = this.#alone;
    return labelled === 0 ? null : { labelled, candidate: right / labelled, baseline: null, gain: null };
  }

  /** With the normal interval of the mean of paired differences. */
  #error(): BacktestError | null {
    const { labelled, candidate, baseline, rise, squares } = this.#errors;
    if (labelled === 0) return null;
    const value = rise / labelled;
    const variance = labelled > 1 ? Math.max(squares - rise * value, 0) / (labelled - 1) : Number.POSITIVE_INFINITY;
    const half = normalQuantile((1 + confidence) / 2) * Math.sqrt(variance / labelled);
    const interval = Number.isFinite(half) ? { value, low: value - half, high: value + half } : null;
    return { labelled, candidate: candidate / labelled, baseline: baseline / labelled, rise: interval };
  }

  #differencesOf(): BacktestDifference[] {
    return this.#subject.values.map(({ name, range }, at) => {
      const sketch = this.#differences[at]?.toJSON();
      const of = (q: number) => (sketch === undefined ? 0 : (quantile(sketch, q) ?? 0));
      return { name, range, p50: of(0.5), p90: of(0.9), p99: of(0.99), max: sketch?.max ?? 0 };
    });
  }
}

function noCounts(): Counts {
  return { samples: 0, changed: 0, labelled: 0, candidateRight: 0, baselineRight: 0 };
}

function entry(counts: Map<string, Counts>, key: string): Counts {
  const known = counts.get(key);
  if (known !== undefined) return known;
  const made = noCounts();
  counts.set(key, made);
  return made;
}

function count(counts: Counts, isChanged: boolean, right: { candidate: boolean; baseline: boolean } | undefined): void {
  counts.samples += 1;
  if (isChanged) counts.changed += 1;
  if (right === undefined) return;
  counts.labelled += 1;
  if (right.candidate) counts.candidateRight += 1;
  if (right.baseline) counts.baselineRight += 1;
}

function merge(into: Counts, from: Counts): void {
  into.samples += from.samples;
  into.changed += from.changed;
  into.labelled += from.labelled;
  into.candidateRight += from.candidateRight;
  into.baselineRight += from.baselineRight;
}

function pairOf(right: { candidate: boolean; baseline: boolean }) {
  if (right.candidate) return right.baseline ? 'both' : 'challengerOnly';
  return right.baseline ? 'rivalOnly' : 'neither';
}

function isNumbers(said: Said): said is readonly number[] {
  return Array.isArray(said);
}

function isClass(said: Said): said is string {
  return typeof said === 'string';
}

function textOf(said: Said): string | null {
  return typeof said === 'string' ? said : null;
}

function mostOf<T extends { samples: number }>(all: Iterable<T>, atMost: number): T[] {
  return [...all].sort((a, b) => b.samples - a.samples).slice(0, atMost);
}

function slicesOf(of: Pick<BacktestSlice, 'by' | 'key'>, counts: ReadonlyMap<string, Counts>): BacktestSlice[] {
  const slices = [...counts].map(([value, own]) => ({ ...of, value, ...own }));
  return mostOf(slices, shownValues);
}
