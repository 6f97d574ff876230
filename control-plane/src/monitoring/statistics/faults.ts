// What is wrong with a sensor, from how its values lie beside what they should be like: the fault whose picture fits best.
import type { Histogram } from '@edgeloop/shared/sketches/histogram';
import { total } from './bins.ts';
import { bothTails } from './normal.ts';

type FaultKind = 'dead' | 'stuck' | 'offset' | 'scaled' | 'noisy';
export interface Fault {
  kind: FaultKind;
  /** For people, with figures. */
  detail: string;
}

interface Moments {
  mean: number;
  deviation: number;
}

/** Share of missing values from which on a sensor is dead. */
const deadShare = 0.9;
/** A deviation below this share of the usual one: the values stand still. */
const stuckShare = 0.05;
/** The misfit from which on a fault does not explain what is seen. */
const worstFit = 0.35;
/** Steps over which added noise is averaged. */
const noiseSteps = 32;

/**
 * The fault of a feature, `usual` being what it should be like: what the other devices saw, whose moments are exact. Undefined when
 * none explains it. Without others only what shows by itself is said.
 */
export function faultOf(edges: readonly number[], seen: Histogram, usual: Histogram | undefined): Fault | undefined {
  const all = total(seen.counts);
  const missing = (seen.counts.at(-1) ?? 0) / Math.max(1, all);
  if (missing >= deadShare) return { kind: 'dead', detail: `${percent(missing)} of its values are missing` };
  const found = momentsOf(seen);
  const expected = usual && momentsOf(usual);
  if (found === undefined) return undefined;
  if (seen.min === seen.max || found.deviation <= stuckShare * (expected?.deviation ?? 0)) {
    return seen.max === 0 && seen.min === 0
      ? { kind: 'dead', detail: 'all its values are 0' }
      : { kind: 'stuck', detail: `its values stand at ${figure(found.mean)}` };
  }
  if (expected === undefined || expected.deviation === 0) return undefined;
  return bestFit(edges, { seen, found, expected, usual: usual?.counts ?? [] });
}

interface Fitting {
  seen: Histogram;
  found: Moments;
  expected: Moments;
  usual: readonly number[];
}

interface Picture extends Fault {
  moments: Moments;
  /** Share of values up to `x`. */
  below: (x: number) => number;
}

function bestFit(edges: readonly number[], fitting: Fitting): Fault | undefined {
  const fits = pictures(edges, fitting).map((picture) => ({ picture, misfit: misfit(edges, fitting, picture) }));
  const best = fits.reduce((least, each) => (each.misfit < least.misfit ? each : least));
  return best.misfit > worstFit ? undefined : { kind: best.picture.kind, detail: best.picture.detail };
}

function pictures(edges: readonly number[], { found, expected, usual }: Fitting): [Picture, ...Picture[]] {
  const below = cumulative(edges, usual);
  const shift = found.mean - expected.mean;
  const factor = Math.hypot(found.mean, found.deviation) / Math.hypot(expected.mean, expected.deviation);
  const offset: Picture = {
    ...{ kind: 'offset', detail: `its values lie ${figure(Math.abs(shift))} ${shift > 0 ? 'higher' : 'lower'}` },
    moments: { mean: found.mean, deviation: expected.deviation },
    below: (x) => below(x - shift),
  };
  const scaled: Picture = {
    ...{ kind: 'scaled', detail: `its values are ${figure(factor)} times what they should be` },
    moments: { mean: factor * expected.mean, deviation: factor * expected.deviation },
    below: (x) => below(x / factor),
  };
  const added = Math.sqrt(found.deviation ** 2 - expected.deviation ** 2);
  if (!(added > 0)) return [offset, scaled];
  const noisy: Picture = {
    ...{ kind: 'noisy', detail: `noise with a deviation of ${figure(added)} lies over its values` },
    moments: { mean: expected.mean, deviation: found.deviation },
    below: (x) => averaged((step) => below(x - added * step)),
  };
  return [offset, scaled, noisy];
}

/** Over a standard normal variable. */
function averaged(of: (step: number) => number): number {
  let sum = 0;
  let weights = 0;
  for (let i = 0; i <= noiseSteps; i++) {
    const step = (6 * i) / noiseSteps - 3;
    const weight = Math.exp((-step * step) / 2);
    sum += weight * of(step);
    weights += weight;
  }
  return sum / weights;
}

/** How far a picture is from what was seen: in its distribution, its mean and its spread, each 0 to about 1. */
function misfit(edges: readonly number[], { seen, found }: Fitting, { moments, below }: Picture): number {
  const counted = cumulativeAtEdges(seen.counts);
  const distances = edges.map((edge, i) => Math.abs((counted[i] ?? 0) - below(edge)));
  const mean = Math.abs(moments.mean - found.mean) / found.deviation;
  const spread = Math.abs(Math.log(moments.deviation / found.deviation));
  return Math.max(0, ...distances) + (Math.min(1, mean) + Math.min(1, spread)) / 2;
}

/** Share of values below each edge, what is missing left out. */
function cumulativeAtEdges(counts: readonly number[]): number[] {
  const known = counts.slice(0, -1);
  const all = Math.max(1, total(known));
  let sum = 0;
  return known.slice(0, -1).map((count) => {
    sum += count;
    return sum / all;
  });
}

/** Linear between the edges; beyond them as far as one deviation of a normal tail. */
function cumulative(edges: readonly number[], counts: readonly number[]): (x: number) => number {
  const at = cumulativeAtEdges(counts);
  const [first = 0, last = first] = [edges[0], edges.at(-1)];
  const width = Math.max(1e-12, (last - first) / 4);
  return (x) => {
    if (x <= first) return (at[0] ?? 0) * bothTails((first - x) / width);
    if (x >= last) return 1 - (1 - (at.at(-1) ?? 1)) * bothTails((x - last) / width);
    const above = edges.findIndex((edge) => edge > x);
    const [low = first, high = last] = [edges[above - 1], edges[above]];
    const [from = 0, to = 1] = [at[above - 1], at[above]];
    return from + ((to - from) * (x - low)) / (high - low);
  };
}

function momentsOf({ counts, sum, sumOfSquares }: Histogram): Moments | undefined {
  const known = total(counts.slice(0, -1));
  if (known === 0) return undefined;
  const mean = sum / known;
  return { mean, deviation: Math.sqrt(Math.max(0, sumOfSquares / known - mean ** 2)) };
}

function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
