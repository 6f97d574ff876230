// Says whether one device, devices that share a label, or the whole fleet moved: a sensor fault, a site or the world. Signals of
// single devices are judged together with those of the fleet under one false discovery rate; a device that moved while the fleet
// did not must also stand out among its peers, since devices are never quite alike.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Histogram } from '@edgeloop/shared/sketches/histogram';
import { mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import { commonLabel, namedDevices, wholeFleet } from './common-label.ts';
import { discoveryLevels } from './discovery.ts';
import {
  type DriftJudgement,
  type DriftSettings,
  judgeMonitored,
  measureSignals,
  monitoredSignals,
  type Observed,
  type SignalDrift,
  stateOf,
} from './drift.ts';
import { faultOf } from './faults.ts';
import { type Measure, psiAtLevel } from './signal.ts';

export type Scope = Alert['scope'];

export interface DeviceWindow {
  deviceId: string;
  labels: Labels;
  observed: Observed;
}

/** Samples below which a single device is not judged, however small its share. */
const minDeviceSamples = 50;
const namedFaults = 20;
/** A device is compared with its peers when there are so many, and stands out beyond so many deviations of theirs. */
const fewestPeers = 3;
const standsOutFrom = 5;
/** Samples of peers from which on they say what a device's values should be like. */
const enoughPeerSamples = 300;

interface JudgedDevice extends DeviceWindow {
  measures: Measure[];
}

export const unknownScope: Scope = { kind: 'unknown', devices: [], detail: '' };

/** Judges the window that all devices make together, and each device of those given. */
export function judgeFleet(
  reference: ReferenceProfile,
  { merged, devices }: { merged: Observed; devices: readonly DeviceWindow[] },
  settings: DriftSettings,
): { judged: DriftJudgement; scope: Scope } {
  const monitored = monitoredSignals(reference, merged, settings);
  const measured = devices.map((device) => ({
    ...device,
    measures: measuresOf(reference, device),
  }));
  const withEnough = measured.filter(({ measures }) => measures.length > 0);
  const pOf = (measures: readonly Measure[]) => measures.map(({ p }) => p);
  const [fleetLevel, deviceLevel] = discoveryLevels(
    [pOf(monitored.measures), pOf(withEnough.flatMap(({ measures }) => measures))],
    settings.falseDiscoveryRate,
  );
  const judged = judgeMonitored(monitored, fleetLevel, settings);
  const unjudged = devices.length - withEnough.length;
  const moves = (measure: Measure) => stateOf(measure, deviceLevel, settings.minPsi) === 'moved';
  if (judged.verdict === 'suspicious') {
    const names = new Set(judged.signals.filter(({ state }) => state === 'moved').map(({ name }) => name));
    const moved = movedDevices(withEnough, (measure) => names.has(measure.name) && moves(measure));
    return { judged, scope: scopeOf(reference, withEnough, { moved, unjudged }) };
  }
  const peers = peersOf(withEnough);
  const moved = movedDevices(withEnough, (measure, device) => moves(measure) && peers.standsOut(device, measure));
  // Most of them by themselves, and yet not together: they always differ.
  if (moved.size === 0 || moved.size * 2 > withEnough.length) return { judged, scope: unknownScope };
  const signals = ofDevices([...moved.values()].flat(), { judged, level: deviceLevel, settings });
  return {
    judged: { ...judged, verdict: 'suspicious', signals },
    scope: scopeOf(reference, withEnough, { moved, unjudged }),
  };
}

type Moved = ReadonlyMap<JudgedDevice, Measure[]>;

function measuresOf(reference: ReferenceProfile, { observed }: DeviceWindow): Measure[] {
  return measureSignals(reference, observed).filter(({ samples }) => samples >= minDeviceSamples);
}

function movedDevices(
  devices: readonly JudgedDevice[],
  hasMoved: (measure: Measure, device: JudgedDevice) => boolean,
): Moved {
  const moved = new Map<JudgedDevice, Measure[]>();
  for (const device of devices) {
    const measures = device.measures.filter((measure) => hasMoved(measure, device));
    if (measures.length > 0) moved.set(device, measures);
  }
  return moved;
}

/** What moved on single devices, by its strongest, before what the fleet says of the other signals. */
function ofDevices(
  measures: readonly Measure[],
  { judged, level, settings }: { judged: DriftJudgement; level: number; settings: DriftSettings },
): SignalDrift[] {
  const strongest = new Map<string, SignalDrift>();
  for (const measure of measures) {
    const { name, samples, psi, change } = measure;
    if ((strongest.get(name)?.psi ?? 0) >= psi) continue;
    const threshold = Math.max(settings.minPsi, psiAtLevel(measure, level));
    const visible = Math.max(Math.sqrt(settings.minPsi), measure.visibleAt(level) ?? 0);
    strongest.set(name, { name, samples, psi, threshold, state: 'moved', change, visible });
  }
  const rest = judged.signals.filter(({ name }) => !strongest.has(name));
  return [...[...strongest.values()].sort((a, b) => b.psi / b.threshold - a.psi / a.threshold), ...rest];
}

/** How devices lie among each other: by the median of their mean scores and the median distance from it. */
function peersOf(devices: readonly JudgedDevice[]) {
  const places = new Map<string, { device: JudgedDevice; scores: readonly number[] }[]>();
  for (const device of devices)
    for (const { name, scores } of device.measures) {
      const known = places.get(name) ?? [];
      places.set(name, known);
      known.push({ device, scores });
    }
  return {
    standsOut(device: JudgedDevice, { name, scores, samples }: Measure): boolean {
      const others = (places.get(name) ?? []).filter((place) => place.device !== device);
      if (others.length < fewestPeers) return false;
      return scores.some((score, at) => {
        const theirs = others.map((place) => place.scores[at] ?? 0);
        const middle = median(theirs);
        // 1.4826 makes the median distance that of a normal variable's deviation.
        const spread = 1.4826 * median(theirs.map((value) => Math.abs(value - middle)));
        return Math.abs(score - middle) > standsOutFrom * Math.hypot(spread, 1 / Math.sqrt(samples));
      });
    },
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(half)] ?? 0) + (sorted[Math.ceil(half)] ?? 0)) / 2;
}

function scopeOf(
  reference: ReferenceProfile,
  judged: readonly JudgedDevice[],
  { moved, unjudged }: { moved: Moved; unjudged: number },
): Scope {
  const still = judged.filter((device) => !moved.has(device));
  const faults = faultsOf(reference, moved, still);
  const place = placeOf([...moved.keys()], still, unjudged);
  return faults.length === 0 || place.kind === 'fleet' ? place : { ...place, faults };
}

/** Of each moved device and feature, beside those that did not move. */
function faultsOf(
  reference: ReferenceProfile,
  moved: Moved,
  still: readonly JudgedDevice[],
): NonNullable<Scope['faults']> {
  const found = [...moved].flatMap(([{ deviceId, observed }, measures]) =>
    measures.flatMap(({ name }) => {
      const profile = reference.features[name];
      const seen = observed.features[name];
      const fault = profile && seen && faultOf(profile.edges, seen, usualOf(name, still));
      return fault === undefined ? [] : [{ device: deviceId, signal: name, ...fault }];
    }),
  );
  return found.slice(0, namedFaults);
}

function usualOf(name: string, still: readonly JudgedDevice[]): Histogram | undefined {
  const histograms = still.flatMap(({ observed }) => observed.features[name] ?? []);
  const [first, ...others] = histograms;
  if (first === undefined) return undefined;
  const sum = structuredClone(first);
  for (const other of others) if (other.counts.length === sum.counts.length) mergeHistogram(sum, other);
  return sum.counts.reduce((all, count) => all + count, 0) < enoughPeerSamples ? undefined : sum;
}

function placeOf(moved: readonly DeviceWindow[], still: readonly DeviceWindow[], unjudged: number): Scope {
  const all = moved.length + still.length;
  const devices = moved.slice(0, namedDevices).map((device) => device.deviceId);
  const rest = unjudged === 0 ? '' : `; ${unjudged} had too few samples to tell`;
  const scope = (kind: Scope['kind'], detail: string): Scope => ({ kind, devices, detail: detail + rest });
  if (moved.length === 0) return scope('unknown', `seen over the fleet, on none of ${all} devices by itself`);
  if (all === 1)
    return scope('unknown', `only ${devices[0]} reported enough, so device and fleet cannot be told apart`);
  const share = `${moved.length} of ${all} devices`;
  if (moved.length >= wholeFleet * all) return scope('fleet', share);
  if (moved.length === 1) return scope('device', `${devices[0]} alone of ${all} devices`);
  const label = commonLabel(moved, still);
  if (label !== undefined) return scope('cohort', `${label}: ${share}`);
  if (moved.length * 2 >= all) return scope('fleet', `${share}, no label tells them from the others`);
  return scope('unknown', `${share}, no label tells them from the others`);
}
