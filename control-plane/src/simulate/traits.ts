// What is particular about each simulated device: where it stands, how much it has to do, what is wrong with it.
import type { Labels } from '@edgeloop/shared/selector';
import { Dice } from './dice.ts';
import type { FleetSettings } from './settings.ts';

export interface Traits {
  id: string;
  labels: Labels;
  dice: Dice;
  /** Times the requests of the others. */
  pace: number;
  /** By how much its day is ahead, in days. */
  dayAhead: number;
  /** The median of its requests. */
  latencyMs: number;
  drifts: boolean;
  sensor: 'good' | 'dead' | 'stuck';
  flaps: boolean;
  clockOffsetMs: number;
}

export const simulatedLabel = 'simulated';
export const idPrefix = 'sim-';
const sites = 20;
const hardware = [
  { name: 'gateway', latencyMs: 3 },
  { name: 'camera', latencyMs: 8 },
  { name: 'handheld', latencyMs: 14 },
] as const;
const slowFactor = 10;
/** The golden ratio's multiples fill 0 to 1 evenly: any number of devices has its share of a fault. */
const step = 0.6180339887498949;

function idOf(run: string, i: number): string {
  return `${idPrefix}${run}-${String(i).padStart(5, '0')}`;
}

/** Of the `i`th device; the same settings give the same. */
export function traitsOf(settings: FleetSettings, i: number): Traits {
  const { run, seed, faults } = settings;
  const dice = new Dice(Math.imul(seed ^ Math.imul(i + 1, 0x9e3779b1), 0x85ebca6b));
  const kind = hardware[i % hardware.length] ?? hardware[0];
  const site = i % sites;
  const within = (share: number, ofFault: number) => (i * step + ofFault * 0.37) % 1 < share;
  const dead = within(faults.deadSensor, 1);
  return {
    id: idOf(run, i),
    labels: {
      ...settings.labels,
      ...{ [simulatedLabel]: 'true', run, site: `s${site}`, hardware: kind.name },
    },
    dice,
    pace: dice.between(0.5, 1.5),
    dayAhead: (site / sites) * 0.1,
    latencyMs: kind.latencyMs * dice.between(0.8, 1.25) * (within(faults.slow, 2) ? slowFactor : 1),
    drifts: within(faults.drift.share, 0),
    sensor: dead ? 'dead' : within(faults.stuckSensor, 3) ? 'stuck' : 'good',
    flaps: within(faults.flapping, 4),
    clockOffsetMs: within(faults.clock.share, 5) ? faults.clock.offsetMs : 0,
  };
}
