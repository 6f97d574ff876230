// Which fault hits which activity, and when. Pure: a seed and a number give the same round on every machine, with or without the
// rounds before it.
import { createRandom } from '@edgeloop/control-plane/training/trainers/random';

/** What the fleet is doing when the fault comes. */
export const activities = [
  'telemetry',
  'release',
  'refused upload',
  'deadly version',
  'endless version',
  'heavy version',
  'upload',
  'training',
  'feedback',
  'restore',
] as const;
export type Activity = (typeof activities)[number];

export const faults = [
  'none',
  'kill supervisor',
  'kill serving',
  'kill prover',
  'kill model process',
  'kill server',
  'kill supervisor and server',
  'stop agent',
  'stop server',
  'freeze server',
  'full agent disk',
  'full agent disk, kill serving',
  'full agent disk, kill supervisor',
  'full server disk',
  'full server disk, kill server',
  'damaged model file',
  'damaged identity',
] as const;
export type Fault = (typeof faults)[number];

export interface Round {
  number: number;
  activity: Activity;
  fault: Fault;
  /** From the beginning of the activity to the fault. */
  instantMs: number;
  /** How long a fault lasts that lasts: a full disk, a server that is frozen. */
  lastsMs: number;
  /** Which agent is hit: index is this times the number of agents. */
  agentShare: number;
  /** Which of several files is damaged, and where in it. */
  placeShare: number;
}

const latestInstantMs = 4000;

export function planRound(seed: number, number: number): Round {
  // The generator's first numbers of neighbouring seeds are alike.
  const random = createRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number, 0x85ebca6b));
  for (let discarded = 0; discarded < 3; discarded++) random();
  const fault = faults[Math.floor(random() * faults.length)] ?? 'none';
  const fitting = activities.filter((activity) => fits(activity, fault));
  const activity = fitting[Math.floor(random() * fitting.length)] ?? 'telemetry';
  return roundOf({ number, activity, fault }, random);
}

/** A round of this kind; the rest of it by the seed. */
export function roundOf(kind: Pick<Round, 'number' | 'activity' | 'fault'>, random: () => number): Round {
  return {
    ...kind,
    instantMs: Math.round(random() * latestInstantMs),
    lastsMs: 1000 + Math.round(random() * 3000),
    agentShare: random(),
    placeShare: random(),
  };
}

const ofDisks = (fault: Fault): boolean => fault.startsWith('full ');

/** Whether the fault says something about the activity. */
export function fits(activity: Activity, fault: Fault): boolean {
  if (fault === 'kill prover') return ['release', 'deadly version', 'heavy version'].includes(activity);
  // The server is stopped and started by the activity itself.
  if (activity === 'restore') return !fault.includes('server') && !ofDisks(fault);
  return true;
}

/** Whether a process ends that callers are connected with, so that requests in flight may have no answer. */
export function cutsCallers({ activity, fault }: Pick<Round, 'activity' | 'fault'>): boolean {
  const ofAgent = ['kill supervisor', 'kill serving', 'kill model process', 'stop agent', 'damaged'];
  return ['deadly version', 'endless version'].includes(activity) || ofAgent.some((each) => fault.includes(each));
}

export const needsDisks = ofDisks;
