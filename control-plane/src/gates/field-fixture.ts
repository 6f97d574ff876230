// A fleet that answers at random, seeded, and what gates are given of it, for tests.
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import type { Counts } from './counts.ts';
import type { Arm, FieldEvidence } from './evidence.ts';

/** Uniform numbers in [0, 1) from a 32-bit seed. Source: mulberry32 by Tommy Ettinger, public domain. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function normalOf(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Gamma variable with a shape of any size (Marsaglia and Tsang, 2000). */
function gammaOf(random: () => number, shape: number): number {
  if (shape < 1) return gammaOf(random, shape + 1) * (1 - random()) ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const x = normalOf(random);
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(1 - random()) < 0.5 * x ** 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** A device's own rate, when rates of devices have this mean and requests of one device this correlation. */
export function ownRate(random: () => number, mean: number, correlation: number): number {
  if (correlation === 0) return mean;
  const size = 1 / correlation - 1;
  const a = gammaOf(random, Math.max(1e-6, mean * size));
  const b = gammaOf(random, Math.max(1e-6, (1 - mean) * size));
  return a + b === 0 ? mean : a / (a + b);
}

/** What one version does. */
export interface Behaviour {
  errors: number;
  accuracy: number;
  /** Median milliseconds of a machine of usual speed. */
  latencyMs: number;
  /** Shares of classes. */
  classes: readonly number[];
}

export const usual: Behaviour = { errors: 0.005, accuracy: 0.96, latencyMs: 20, classes: [0.25, 0.25, 0.25, 0.25] };
/** Answers the same class, whatever it is asked. */
export const stuck: Behaviour = { ...usual, accuracy: 0.25, classes: [0, 1, 0, 0] };

interface Machine {
  speed: number;
  /** Quantile of the latency before, when that was measured. */
  before: number;
}

/** Devices that collect requests with one version. */
export class Group {
  readonly requests: Counts[] = [];
  readonly labels: Counts[] = [];
  readonly slow: Counts[] = [];
  readonly classes: Record<string, number>[] = [];
  readonly #latency = new QuantileSketchBuilder();
  readonly #ratio = new QuantileSketchBuilder();
  readonly #own: { errors: number; accuracy: number; speed: number }[];
  readonly #random: () => number;
  readonly #behaviour: Behaviour;
  readonly #machines: readonly Machine[];

  constructor(
    random: () => number,
    machines: readonly Machine[],
    { behaviour, correlation = 0 }: { behaviour: Behaviour; correlation?: number },
  ) {
    this.#random = random;
    this.#machines = machines;
    this.#behaviour = behaviour;
    this.#own = machines.map(({ speed }) => ({
      errors: ownRate(random, behaviour.errors, correlation),
      accuracy: ownRate(random, behaviour.accuracy, correlation),
      speed,
    }));
    for (const _ of machines) {
      for (const counts of [this.requests, this.labels, this.slow]) counts.push({ hits: 0, trials: 0 });
      this.classes.push({});
    }
  }

  /** Each device answers so many requests; this share of them is labelled. */
  answer(requests: number, labelled = 0.5): void {
    for (const [i, own] of this.#own.entries()) for (let n = 0; n < requests; n++) this.#answerOne(i, own, labelled);
  }

  #answerOne(i: number, own: { errors: number; accuracy: number; speed: number }, labelled: number): void {
    const random = this.#random;
    const failed = random() < own.errors;
    count(this.requests[i], failed);
    if (failed) return;
    const latency = this.#behaviour.latencyMs * own.speed * Math.exp(0.3 * normalOf(random));
    const before = this.#machines[i]?.before ?? 1;
    this.#latency.add(latency);
    this.#ratio.add(latency / before);
    count(this.slow[i], latency > before);
    if (random() < labelled) count(this.labels[i], random() < own.accuracy);
    const name = classOf(this.#behaviour.classes, random());
    const classes = this.classes[i];
    if (classes !== undefined) classes[name] = (classes[name] ?? 0) + 1;
  }

  arm(): Arm {
    const { requests, labels, slow, classes } = this;
    return { requests, labels, slow, classes, latencyMs: this.#latency.toJSON(), latencyRatio: this.#ratio.toJSON() };
  }
}

/** The class at this point of the shares laid end to end. */
function classOf(shares: readonly number[], at: number): string {
  let end = 0;
  return String(
    shares.findIndex((share) => {
      end += share;
      return at < end;
    }),
  );
}

function count(counts: Counts | undefined, hit: boolean): void {
  if (counts === undefined) return;
  counts.trials++;
  if (hit) counts.hits++;
}

/** Machines that differ in speed by factors, with the 90 % quantile that the usual version takes on them. */
export function machinesOf(random: () => number, count: number, { spread = 0.5 } = {}): Machine[] {
  return Array.from({ length: count }, () => {
    const speed = Math.exp(spread * normalOf(random));
    return { speed, before: usual.latencyMs * speed * Math.exp(0.3 * 1.2816) };
  });
}

export function emptyArm(): Arm {
  const latency = new QuantileSketchBuilder().toJSON();
  return { requests: [], labels: [], slow: [], classes: [], latencyMs: latency, latencyRatio: latency };
}

/** One wave, which is all that has the new version. */
export function fieldOf({
  fresh,
  rest,
  lastPeriod = emptyArm(),
  ...more
}: {
  fresh: Arm;
  rest: Arm;
  lastPeriod?: Arm;
  restRuns?: boolean;
  labelsExpected?: number;
}): FieldEvidence {
  const scope = { fresh, rest };
  return {
    ...{ wave: { over: 'wave', ...scope }, all: { over: 'all', ...scope }, lastPeriod },
    ...{ restRuns: more.restRuns ?? true, labelsExpected: more.labelsExpected ?? 1000 },
  };
}
