// Says whether one device, devices that share a label, or the whole fleet moved: a sensor fault, a site or the world.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import { type DriftSettings, decideStates, type Measure, measureSignals, type Observed } from './drift.ts';

export type Scope = Alert['scope'];

export interface DeviceWindow {
  deviceId: string;
  labels: Labels;
  observed: Observed;
}

/** Samples below which a single device is not judged, however small its share. */
const minDeviceSamples = 50;
/** Share of the judged devices from which on the whole fleet is meant. */
const wholeFleet = 0.8;
/** How well a label must tell moved devices from the others, both ways. */
const labelFit = 0.8;
const namedDevices = 50;

/**
 * Judges each device on the signals that moved in the fleet (`signals`), all devices and signals together under one
 * false discovery rate, and looks for what the moved ones have in common.
 */
export function attribute(
  reference: ReferenceProfile,
  devices: readonly DeviceWindow[],
  { signals, settings }: { signals: readonly string[]; settings: DriftSettings },
): Scope {
  const wanted = new Set(signals);
  const measured = devices.map((device) => ({
    device,
    measures: measureSignals(reference, device.observed).filter(
      (measure) => wanted.has(measure.name) && measure.samples >= minDeviceSamples,
    ),
  }));
  const judged = measured.filter(({ measures }) => measures.length > 0);
  const moved = movedDevices(judged, settings);
  const still = judged.map(({ device }) => device).filter((device) => !moved.includes(device));
  return scopeOf(moved, still, devices.length - judged.length);
}

function movedDevices(
  judged: readonly { device: DeviceWindow; measures: Measure[] }[],
  settings: DriftSettings,
): DeviceWindow[] {
  const owners = judged.flatMap(({ device, measures }) => measures.map(() => device));
  const states = decideStates(
    judged.flatMap(({ measures }) => measures),
    settings,
  );
  const moved = new Set(owners.filter((_, i) => states[i] === 'moved'));
  return judged.map(({ device }) => device).filter((device) => moved.has(device));
}

function scopeOf(moved: readonly DeviceWindow[], still: readonly DeviceWindow[], unjudged: number): Scope {
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
  const label = sharedLabel(moved, still);
  if (label !== undefined) return scope('cohort', `${label}: ${share}`);
  if (moved.length * 2 >= all) return scope('fleet', `${share}, no label tells them from the others`);
  return scope('unknown', `${share}, no label tells them from the others`);
}

/** The `key=value` that most of the moved devices have and most of the others have not. */
function sharedLabel(moved: readonly DeviceWindow[], still: readonly DeviceWindow[]): string | undefined {
  const candidates = new Set(moved.flatMap(({ labels }) => Object.entries(labels).map((pair) => pair.join('='))));
  let best: { label: string; fit: number } | undefined;
  for (const label of [...candidates].sort()) {
    const has = ({ labels }: DeviceWindow) => Object.entries(labels).some((pair) => pair.join('=') === label);
    const inside = moved.filter(has).length;
    const outside = still.filter(has).length;
    const fit = Math.min(inside / moved.length, inside / (inside + outside));
    if (fit >= labelFit && (best === undefined || fit > best.fit)) best = { label, fit };
  }
  return best?.label;
}
