// A rehearsal: which devices a rollout would take in which wave, how long each wave would take, and what its gates could see.
import type { RolloutForecast, WaveForecast } from '@edgeloop/shared/api/forecasts';
import { besideTerms, type RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { duration, forecastOf, type GateSight, sightsOf, type Traffic } from '../gates/forecast.ts';
import { instant } from './instant.ts';
import type { Readiness } from './readiness.ts';

export interface PlannedDevice {
  id: string;
  /** In their order, the last is the one from which on it serves. Null of one that is ahead of this server: an operator must decide on it first. */
  waves: readonly number[] | null;
  online: boolean;
  readiness: Readiness;
  /** Its agent cannot run a version beside another. */
  unable: boolean;
}

export interface Rehearsed {
  model: string;
  version: number;
  plan: RolloutPlan;
  /** In the order in which waves take them. */
  devices: readonly PlannedDevice[];
  traffic: Traffic;
  /** Rollouts under way whose devices it would take over. */
  supersedes: string[];
}

/** Devices that are named in each wave. */
const namedDevices = 100;
const secondsOfAnHour = 3600;

export function rehearse({ model, version, plan, devices, traffic, supersedes }: Rehearsed): RolloutForecast {
  const waves = plan.waves.map((_, wave) => waveForecast(wave, { plan, devices, traffic }));
  const hours = waves.reduce<number | null>(
    (sum, wave) => (sum === null || wave.hours === null ? null : sum + wave.hours),
    0,
  );
  const conflicting = devices.filter(({ waves }) => waves === null).map(({ id }) => id);
  return { model, version, devices: devices.length, conflicting, supersedes, hours, waves };
}

function waveForecast(
  wave: number,
  { plan, devices, traffic }: Pick<Rehearsed, 'plan' | 'devices' | 'traffic'>,
): WaveForecast {
  const terms = besideTerms(plan.waves[wave]);
  const own = devices.filter(({ waves }) => waves?.includes(wave));
  const unable = terms === undefined ? [] : own.filter((each) => each.unable);
  const taking = own.filter((each) => (each.online || plan.offlineDevices === 'wait') && !unable.includes(each));
  const later = devices.filter(({ waves, online }) => online && (waves?.at(-1) ?? 0) > wave);
  // Who answers with both versions is compared with itself.
  const former = (terms === undefined ? later : taking).map(({ id }) => id);
  const waitHours = (plan.bakeSeconds + plan.gates.evidenceTimeoutSeconds) / secondsOfAnHour;
  const fresh = taking.map(({ id }) => id);
  const judging = { waves: plan.waves.length, waitHours };
  const sights = fresh.length === 0 ? [] : sightsOf(plan.gates, { fresh, former, traffic, terms }, judging);
  const { hours, lacking } = judgedAfter(plan, sights);
  const ids = (which: readonly PlannedDevice[]) => which.slice(0, namedDevices).map(({ id }) => id);
  const waits = waitsOf(own);
  const name = plan.waves[wave]?.name;
  return {
    ...{ wave, ...(name === undefined ? {} : { name }), devices: own.length, deviceIds: ids(own) },
    ...(terms !== undefined && { kind: terms.mode, unable: ids(unable) }),
    offline: ids(waits.offline),
    held: waits.held.slice(0, namedDevices),
    outOfWindow: waits.outOfWindow.slice(0, namedDevices),
    zoneUnknown: ids(waits.zoneUnknown),
    counts: {
      ...{ offline: waits.offline.length, held: waits.held.length },
      ...{ outOfWindow: waits.outOfWindow.length, zoneUnknown: waits.zoneUnknown.length },
    },
    hours,
    comparedWith: traffic.lastPeriod.requests.length === 0 ? 'nothing' : former.length === 0 ? 'last_period' : 'rest',
    gates: sights.map((sight) => forecastOf(sight, hours ?? waitHours)),
    detail: [describe({ own, fresh, unable, hours, lacking, waitHours }), ...describeWaits(waits)].join('; '),
  };
}

type Waits = ReturnType<typeof waitsOf>;

/** What keeps devices from taking it up at once. */
function waitsOf(own: readonly PlannedDevice[]) {
  return {
    offline: own.filter(({ online }) => !online),
    held: own.flatMap(({ id, readiness: { held } }) => (held === null ? [] : [{ deviceId: id, ...held }])),
    outOfWindow: own.flatMap(({ id, readiness }) =>
      readiness.outOfWindow === null ? [] : [{ deviceId: id, ...readiness.outOfWindow }],
    ),
    zoneUnknown: own.filter(({ readiness }) => readiness.zoneUnknown),
  };
}

function describeWaits({ held, outOfWindow, zoneUnknown }: Waits): string[] {
  const latest = (all: readonly { until: number }[]) =>
    instant(all.reduce((last, { until }) => Math.max(last, until), 0));
  const words: string[] = [];
  if (held.length > 0) words.push(`${held.length} held back on the device, until ${latest(held)} at the latest`);
  if (outOfWindow.length > 0) words.push(`${outOfWindow.length} out of window, until ${latest(outOfWindow)}`);
  if (zoneUnknown.length > 0)
    words.push(`of ${zoneUnknown.length} no time zone is known, so neither are their windows`);
  return words;
}

/** Hours until all gates that hold the wave up have their minimum; null and the gates when some will not have it in time. */
function judgedAfter(plan: RolloutPlan, sights: readonly GateSight[]): { hours: number | null; lacking: GateSight[] } {
  const bake = plan.bakeSeconds / secondsOfAnHour;
  const patience = plan.gates.evidenceTimeoutSeconds / secondsOfAnHour;
  const holding = sights.filter(({ mode }) => mode === 'gate');
  const lacking = holding.filter(({ hoursToMinimum }) => hoursToMinimum === null || hoursToMinimum > bake + patience);
  if (lacking.length > 0) return { hours: null, lacking };
  return { hours: holding.reduce((most, { hoursToMinimum }) => Math.max(most, hoursToMinimum ?? 0), bake), lacking };
}

function describe(wave: {
  own: readonly PlannedDevice[];
  fresh: readonly string[];
  unable: readonly PlannedDevice[];
  hours: number | null;
  lacking: readonly GateSight[];
  waitHours: number;
}): string {
  const { own, fresh, unable, hours, lacking, waitHours } = wave;
  if (own.length === 0) return 'no device';
  const without =
    unable.length === 0
      ? ''
      : `; ${unable.length} of its devices have an agent that cannot run a version beside another`;
  if (fresh.length === 0) return `none of its devices can be reached now, so nothing of it is judged${without}`;
  if (hours !== null) return `judged ${duration(hours)} after its devices serve the version${without}`;
  const gates = lacking.map(({ gate, minimum, perHour, counted }) => {
    const needs = `${gate} needs ${minimum} ${counted}, and ${Number(perHour.toPrecision(2))} come in an hour`;
    return needs;
  });
  return `would pause for lack of evidence after ${duration(waitHours)}: ${gates.join('; ')}${without}`;
}
