// Decides whether what a model saw and answered in a window still looks like its reference. A signal (a feature, the
// confidence, the predicted classes) has moved when it differs
//  1. by more than chance and its own movement explain (signal.ts), because real signals are autocorrelated;
//  2. still so among all signals and devices looked at together (discovery.ts);
//  3. by enough to matter to people (`minPsi`).

import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Window } from '@edgeloop/shared/telemetry';
import { discoveryLevel } from './discovery.ts';
import {
  type Measure,
  measureCategories,
  measureClasses,
  measureNumeric,
  measureSketch,
  psiAtLevel,
} from './signal.ts';

export interface DriftSettings {
  minSamples: number;
  /** Share of false ones among the signals called moved, 0 to 1: with nothing moved, the share of windows that seem so. */
  falseDiscoveryRate: number;
  minPsi: number;
}

/** `unsettled`: below what counts as moved, above what counts as calm again. */
export type SignalState = 'moved' | 'unsettled' | 'calm';
export interface SignalDrift {
  name: string;
  samples: number;
  psi: number;
  /** The PSI above which a change of this kind, in this window, counts as moved. */
  threshold: number;
  state: SignalState;
  change: string;
  /** The smallest shift that is seen with so many samples: in standard deviations, of classes in shares. */
  visible: number;
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
  /** Signals with fewer samples than are needed. */
  insufficient: string[];
}

export type Observed = Pick<Window, 'features' | 'confidence' | 'classes' | 'signals' | 'categories'>;

/** Names of the signals that are no features. */
export const outputSignals = { confidence: 'output:confidence', classes: 'output:classes' } as const;

/** Signals of the whole fleet with enough samples, and those of which no shift could be seen. */
export interface Monitored {
  samples: number;
  measures: Measure[];
  notMonitorable: string[];
  insufficient: string[];
}

/** Judges one window, merged over the devices, against the reference. */
export function judgeDrift(reference: ReferenceProfile, window: Observed, settings: DriftSettings): DriftJudgement {
  const monitored = monitoredSignals(reference, window, settings);
  return judgeMonitored(monitored, levelOf(monitored.measures, settings), settings);
}

export function monitoredSignals(
  reference: ReferenceProfile,
  window: Observed,
  { minSamples, falseDiscoveryRate }: DriftSettings,
): Monitored {
  const all = measureSignals(reference, window);
  const enough = all.filter(({ samples }) => samples >= minSamples);
  const level = falseDiscoveryRate / Math.max(1, enough.length);
  const namesOf = (measures: readonly Measure[]) => measures.map(({ name }) => name);
  return {
    samples: all.reduce((most, { samples }) => Math.max(most, samples), 0),
    measures: enough,
    notMonitorable: namesOf(enough.filter((measure) => measure.visibleAt(level) === undefined)),
    insufficient: namesOf(all.filter(({ samples }) => samples < minSamples)),
  };
}

/** `level`: below which p-values count. */
export function judgeMonitored(
  { samples, measures, notMonitorable, insufficient }: Monitored,
  level: number,
  settings: DriftSettings,
): DriftJudgement {
  const all = measures.map((measure) => driftOf(measure, level, settings));
  // What does not show in a signal that shows little is not calm; what shows all the same, as values that are missing, has moved.
  const signals = all.filter(({ name, state }) => state === 'moved' || !notMonitorable.includes(name));
  const without = notMonitorable.filter((name) => !signals.some((signal) => signal.name === name));
  const rest = { samples, notMonitorable: without, insufficient };
  if (signals.length === 0) return { verdict: 'insufficient', signals, ...rest };
  signals.sort((a, b) => b.psi / b.threshold - a.psi / a.threshold);
  return { verdict: verdictOf(signals), signals, ...rest };
}

/** Compares every signal that both the reference and the window have; histograms of other bins are left out. */
export function measureSignals(reference: ReferenceProfile, window: Observed): Measure[] {
  const { confidence, classes, signals = {}, categories = {} } = reference;
  const measures = Object.entries(reference.features).map(([name, profile]) =>
    measureNumeric(name, profile, window.features[name]?.counts),
  );
  if (confidence !== undefined)
    measures.push(measureNumeric(outputSignals.confidence, confidence, window.confidence?.counts));
  if (classes !== undefined) measures.push(measureClasses(outputSignals.classes, classes, window.classes));
  for (const [name, profile] of Object.entries(signals))
    measures.push(measureSketch(name, profile, window.signals?.[name]));
  for (const [name, profile] of Object.entries(categories))
    measures.push(measureCategories(name, profile, window.categories?.[name]));
  return measures.filter((measure) => measure !== undefined);
}

function levelOf(measures: readonly Measure[], { falseDiscoveryRate }: DriftSettings): number {
  return discoveryLevel(
    measures.map(({ p }) => p),
    falseDiscoveryRate,
  );
}

function driftOf(measure: Measure, level: number, { minPsi }: DriftSettings): SignalDrift {
  const { name, samples, psi, change } = measure;
  const threshold = Math.max(minPsi, psiAtLevel(measure, level));
  const visible = Math.max(measure.visibleAt(level) ?? 0, name === outputSignals.classes ? 0 : Math.sqrt(minPsi));
  return { name, samples, psi, threshold, state: stateOf(measure, level, minPsi), change, visible };
}

/** Levels up to so many times the one that counts, at half of `minPsi`, are too near to be calm. */
const nearLevel = 10;

/**
 * To count as calm again a signal must fall clearly below what made it count, so that an alert does not flutter.
 */
export function stateOf({ p, psi }: Measure, level: number, minPsi: number): SignalState {
  if (p <= level && psi > minPsi) return 'moved';
  return p <= Math.min(0.05, level * nearLevel) && psi > minPsi / 2 ? 'unsettled' : 'calm';
}

function verdictOf(signals: readonly SignalDrift[]): Verdict {
  if (signals.some((signal) => signal.state === 'moved')) return 'suspicious';
  return signals.some((signal) => signal.state === 'unsettled') ? 'unsettled' : 'calm';
}
