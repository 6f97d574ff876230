// Decides whether what a model saw and answered in a window still looks like its reference. A signal (a feature, the
// confidence, the predicted classes) has moved when its population stability index is
//  1. more than chance: under no drift PSI / (1/n + 1/N) follows chi-square with bins - 1 degrees of freedom, n and N
//     being the samples of window and reference (Yurdakul and Naranjo, "Statistical properties of the population
//     stability index", Journal of Risk Model Validation 14 (4), 2020);
//  2. more than the reference moves by itself (blocks.ts), because real signals are autocorrelated;
//  3. still so among all signals looked at (Benjamini and Hochberg, "Controlling the false discovery rate", 1995);
//  4. large enough to matter to people (`minPsi`).

import type { NumericProfile, ReferenceProfile, SketchProfile } from '@edgeloop/shared/profile';
import { psi } from '@edgeloop/shared/sketches/psi';
import { pairedCounts, type ValueSketch } from '@edgeloop/shared/sketches/value-sketch';
import type { Window } from '@edgeloop/shared/telemetry';
import { mergeRareCategories, mergeThinNeighbours, type PairedCounts, pairCategories, total } from './bins.ts';
import { type BlockMovement, blockBound, blockTail, movementOf } from './blocks.ts';
import { chiSquareBound, chiSquareTail } from './chi-square.ts';

export interface DriftSettings {
  minSamples: number;
  /** Share of false ones among the signals called moved, 0 to 1. */
  falseDiscoveryRate: number;
  minPsi: number;
}

/** One signal compared with its reference. */
export interface Measure {
  name: string;
  samples: number;
  psi: number;
  /** 1/n + 1/N. */
  scale: number;
  degrees: number;
  movement: BlockMovement | undefined;
  /** Probability of a PSI this large without drift, by the stricter of 1 and 2. */
  p: number;
}

/** `unsettled`: below what counts as moved, above what counts as calm again. */
export type SignalState = 'moved' | 'unsettled' | 'calm';
export interface SignalDrift {
  name: string;
  samples: number;
  psi: number;
  /** The PSI above which this signal, in this window, counts as moved. */
  threshold: number;
  state: SignalState;
}

export type Verdict = 'suspicious' | 'unsettled' | 'calm' | 'insufficient';
export interface DriftJudgement {
  verdict: Verdict;
  /** Most samples that any signal had. */
  samples: number;
  /** Strongest first, in multiples of their threshold. */
  signals: SignalDrift[];
  /** Signals that move so much in the reference itself that no drift of them could be told. */
  notMonitorable: string[];
}

export type Observed = Pick<Window, 'features' | 'confidence' | 'classes' | 'signals' | 'categories'>;

/** Names of the signals that are no features. */
export const outputSignals = { confidence: 'output:confidence', classes: 'output:classes' } as const;

/** A signal whose own movement needs a PSI above this has lost nearly all overlap before it could be told apart. */
const noPower = 2;

/** Judges one window, merged over the devices, against the reference. */
export function judgeDrift(reference: ReferenceProfile, window: Observed, settings: DriftSettings): DriftJudgement {
  const measures = measureSignals(reference, window);
  const samples = measures.reduce((most, measure) => Math.max(most, measure.samples), 0);
  const enough = measures.filter((measure) => measure.samples >= settings.minSamples);
  const monitorable = enough.filter(isMonitorable);
  const notMonitorable = enough.filter((measure) => !isMonitorable(measure)).map((measure) => measure.name);
  if (monitorable.length === 0) return { verdict: 'insufficient', samples, signals: [], notMonitorable };
  const signals = decideSignals(monitorable, settings);
  signals.sort((a, b) => b.psi / b.threshold - a.psi / a.threshold);
  return { verdict: verdictOf(signals), samples, signals, notMonitorable };
}

/** Compares every signal that both the reference and the window have; histograms of other bins are left out. */
export function measureSignals(reference: ReferenceProfile, window: Observed): Measure[] {
  const measures: Measure[] = [];
  for (const [name, profile] of Object.entries(reference.features)) {
    measures.push(...measureNumeric(name, profile, window.features[name]?.counts));
  }
  if (reference.confidence !== undefined) {
    measures.push(...measureNumeric(outputSignals.confidence, reference.confidence, window.confidence?.counts));
  }
  if (reference.classes !== undefined) {
    const pair = mergeRareCategories(reference.classes.counts, window.classes);
    measures.push(...measure(outputSignals.classes, pair, undefined));
  }
  for (const [name, profile] of Object.entries(reference.signals ?? {}))
    measures.push(...measureSketch(name, profile, window.signals?.[name]));
  for (const [name, counts] of Object.entries(reference.categories ?? {})) {
    const seen = window.categories?.[name];
    if (seen !== undefined) measures.push(...measure(name, pairCategories(counts, seen), undefined));
  }
  return measures;
}

/** Decides about signals that are looked at together; the order is kept. */
export function decideStates(measures: readonly Measure[], settings: DriftSettings): SignalState[] {
  const level = levelOf(measures, settings);
  return measures.map((each) => stateOf(each, level, settings.minPsi));
}

/** The same with each signal's threshold, which takes longer. */
function decideSignals(measures: readonly Measure[], settings: DriftSettings): SignalDrift[] {
  const level = levelOf(measures, settings);
  const chanceBounds = new Map<number, number>();
  const chanceBound = (degrees: number): number => {
    const bound = chanceBounds.get(degrees) ?? chiSquareBound(level, degrees);
    chanceBounds.set(degrees, bound);
    return bound;
  };
  const states = decideStates(measures, settings);
  return measures.map((each, i) => ({
    name: each.name,
    samples: each.samples,
    psi: each.psi,
    threshold: thresholdOf(each, { level, minPsi: settings.minPsi, chanceBound }),
    state: states[i] ?? 'calm',
  }));
}

function levelOf(measures: readonly Measure[], settings: DriftSettings): number {
  const pValues = measures.map((each) => each.p);
  return discoveryLevel(pValues, settings.falseDiscoveryRate);
}

/**
 * The level at which single tests are rejected so that the false discovery rate is `rate` (Benjamini-Hochberg):
 * rate k / m for the largest k with k p-values at or below that; rate / m when there is none.
 */
export function discoveryLevel(pValues: readonly number[], rate: number): number {
  const sorted = [...pValues].sort((a, b) => a - b);
  let rejected = 0;
  for (const [i, p] of sorted.entries()) if (p <= (rate * (i + 1)) / sorted.length) rejected = i + 1;
  return (rate * Math.max(1, rejected)) / Math.max(1, sorted.length);
}

function measureNumeric(name: string, profile: NumericProfile, counts: readonly number[] | undefined): Measure[] {
  if (counts === undefined || counts.length !== profile.counts.length) return [];
  const pair = { reference: profile.counts, window: [...counts] };
  return measure(name, mergeThinNeighbours(pair), movementOf(profile));
}

/** Both in the bins of the coarser one. */
function measureSketch(name: string, { sketch, blockPsi }: SketchProfile, seen: ValueSketch | undefined): Measure[] {
  if (seen === undefined) return [];
  const [reference, window] = pairedCounts(sketch, seen);
  return measure(name, mergeThinNeighbours({ reference, window }), movementOf({ counts: reference, blockPsi }));
}

function measure(name: string, pair: PairedCounts, movement: BlockMovement | undefined): Measure[] {
  const samples = total(pair.window);
  const size = total(pair.reference);
  if (samples === 0 || size === 0) return [];
  const value = psi(pair.reference, pair.window);
  const scale = 1 / samples + 1 / size;
  const degrees = pair.reference.length - 1;
  // One bin: the signal is constant on both sides.
  const chance = degrees === 0 ? 1 : chiSquareTail(value / scale, degrees);
  const own = movement === undefined ? 0 : blockTail(movement, { psi: value, samples, degrees });
  return [{ name, samples, psi: value, scale, degrees, movement, p: Math.max(chance, own) }];
}

function isMonitorable(each: Measure): boolean {
  return each.movement === undefined || blockBound(each.movement, { ...each, deviations: 3 }) <= noPower;
}

/**
 * To count as calm again a signal must fall below half of what made it count: half of `minPsi`, half as many standard
 * deviations of its own movement. The chance bound stays whole, since below it nothing can be said.
 */
function stateOf(each: Measure, level: number, minPsi: number): SignalState {
  if (each.p > level) return 'calm';
  const above = (share: number) =>
    each.psi > minPsi * share &&
    (each.movement === undefined || each.psi > blockBound(each.movement, { ...each, deviations: 3 * share }));
  if (above(1)) return 'moved';
  return above(0.5) ? 'unsettled' : 'calm';
}

function thresholdOf(
  each: Measure,
  { level, minPsi, chanceBound }: { level: number; minPsi: number; chanceBound: (degrees: number) => number },
): number {
  if (each.degrees === 0) return minPsi;
  const chance = chanceBound(each.degrees) * each.scale;
  if (each.movement === undefined) return Math.max(minPsi, chance);
  return Math.max(minPsi, chance, blockBound(each.movement, { ...each, deviations: 3, level }));
}

function verdictOf(signals: readonly SignalDrift[]): Verdict {
  if (signals.some((signal) => signal.state === 'moved')) return 'suspicious';
  return signals.some((signal) => signal.state === 'unsettled') ? 'unsettled' : 'calm';
}
