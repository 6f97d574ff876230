// What the gates of each wave will see and when, at present traffic: the figures of a rehearsal, before anything starts.
import type { GateForecast } from '@edgeloop/shared/api/forecasts';
import type { besideTerms, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { quantile as quantileOf } from '@edgeloop/shared/sketches/ddsketch';
import { correlationWithin, effective } from './clusters.ts';
import { type DeviceCounts, missesOf, shareOf, sumOf } from './counts.ts';
import type { Arm } from './evidence.ts';
import { accuracyMode, alphaOf } from './judge.ts';
import { percent, points } from './outcome.ts';
import {
  hoursToCount,
  hoursToSee,
  hoursToSeeBy,
  longestHours,
  rateSeenAbove,
  riseSeenAfter,
  slowdownSeen,
  worthAfter,
} from './outlook.ts';

/** What devices answer now. */
export interface Traffic {
  requestsPerHour: ReadonlyMap<string, number>;
  labelsPerHour: ReadonlyMap<string, number>;
  /** All devices together, of labels that come soon enough to wait for. */
  timelyLabelsPerHour: number;
  lastPeriod: Arm;
}

export interface WaveTraffic {
  /** Devices that will have the version, and those that will not yet. */
  fresh: readonly string[];
  former: readonly string[];
  traffic: Traffic;
  /** Of a wave that only tries the version. */
  terms?: ReturnType<typeof besideTerms>;
}

interface Sight {
  perHour: number;
  minimum: number;
  hoursToMinimum: number | null;
  effect: number;
  hoursToSee: number | null;
  seenAfter: (hours: number) => number | null;
  inWords: (change: number) => string;
  counted: string;
}

export interface GateSight extends Sight {
  gate: GateForecast['gate'];
  mode: 'gate' | 'warn';
}

/** `waitHours`: how long labels are waited for. */
export function sightsOf(
  gates: RolloutGates,
  wave: WaveTraffic,
  { waves, waitHours }: { waves: number; waitHours: number },
): GateSight[] {
  const alpha = alphaOf(gates, waves).wave;
  const { terms } = wave;
  if (terms?.mode === 'shadow')
    return [{ gate: 'shadow_agreement', mode: gates.shadow.mode, ...shadowSight(gates, wave, { ...terms, alpha }) }];
  const sights: GateSight[] = [{ gate: 'error_rate', mode: 'gate', ...boundSight(gates, wave, alpha) }];
  if (wave.traffic.lastPeriod.requests.length === 0) return sights;
  sights.push({ gate: 'error_rise', mode: 'gate', ...errorSight(gates, wave, alpha) });
  const { latency, accuracy, drift } = gates;
  if (latency.mode !== 'off') sights.push({ gate: 'latency', mode: latency.mode, ...latencySight(gates, wave, alpha) });
  const share = wave.fresh.length / Math.max(1, wave.fresh.length + wave.former.length);
  const mode = accuracyMode(gates, wave.traffic.timelyLabelsPerHour * share * waitHours);
  if (accuracy.mode !== 'off' && mode !== 'off' && wave.traffic.lastPeriod.labels.length > 0)
    sights.push({ gate: 'accuracy', mode, ...accuracySight(gates, wave, alpha) });
  const shares = sharesOf(wave.traffic.lastPeriod.classes);
  if (drift.mode !== 'off' && shares.length > 0)
    sights.push({ gate: 'drift', mode: drift.mode, ...driftSight(gates, wave, { alpha, shares }) });
  return sights;
}

/** What a gate sees once it is judged after so many hours. */
export function forecastOf({ gate, mode, ...sight }: GateSight, hours: number | null): GateForecast {
  const { perHour, minimum, hoursToMinimum, effect, counted, seenAfter } = sight;
  const seen = hours === null ? null : seenAfter(hours);
  const detail = `with ${rounded(perHour)} ${counted} an hour this gate ${whatItSees(sight, hours)}`;
  return { gate, mode, perHour, minimum, hoursToMinimum, effect, hoursToSee: sight.hoursToSee, seen, detail };
}

function whatItSees(
  { effect, hoursToSee, inWords, seenAfter }: Omit<GateSight, 'gate' | 'mode'>,
  hours: number | null,
): string {
  const most = seenAfter(longestHours);
  if (most === null) return 'sees nothing at all';
  const needs =
    hoursToSee === null
      ? `never sees ${inWords(effect)}, since devices are too few or answer too little: at best ${inWords(most)}`
      : `needs ${duration(hoursToSee)} to see ${inWords(effect)}`;
  if (hours === null) return needs;
  const seen = seenAfter(hours);
  return `${needs}; after ${duration(hours)} it sees ${seen === null ? 'nothing' : inWords(seen)}`;
}

type Paces = ReadonlyMap<string, number>;

/** What is compared is bounded by what the shadow may take of the processor, if it takes as long as the old version. */
function shadowSight(
  { shadow }: RolloutGates,
  { fresh, traffic }: WaveTraffic,
  { processorShare, alpha }: { processorShare: number; alpha: number },
): Sight {
  const bound = 1 - shadow.minAgreement;
  const runMs = quantileOf(traffic.lastPeriod.latencyMs, 0.5) || 1;
  const most = (processorShare * 3_600_000) / runMs;
  const pace = paceOf(traffic.requestsPerHour, fresh).map((each) => Math.min(each, most));
  const correlation = correlationWithin([]);
  const seenAfter = (hours: number) => rateSeenAbove(worthAfter(hours, pace, correlation), { bound, alpha });
  const effect = Math.min(1, bound * 2);
  return {
    ...{ perHour: total(pace), minimum: shadow.minCompared, hoursToMinimum: hoursToCount(shadow.minCompared, pace) },
    ...{ effect, seenAfter, hoursToSee: hoursToSeeBy(effect, seenAfter), counted: 'comparisons' },
    inWords: (rate) => `${percent(rate)} of answers not agreeing`,
  };
}

/** Of waves that split requests, the share of the new version. */
function shareOfFresh({ terms }: WaveTraffic): number {
  return terms?.mode === 'split' ? terms.share : 1;
}

/** The same of the old one on the devices that it is compared with. */
function shareOfFormer({ terms }: WaveTraffic): number {
  return terms?.mode === 'split' ? 1 - terms.share : 1;
}

function boundSight(gates: RolloutGates, wave: WaveTraffic, alpha: number): Sight {
  const { fresh, traffic } = wave;
  const { maxErrorRate: bound, minRequests: minimum } = gates;
  const pace = paceOf(traffic.requestsPerHour, fresh, shareOfFresh(wave));
  const perHour = total(pace);
  const effect = Math.min(1, bound * 2);
  const seenAfter = (hours: number) => rateSeenAbove(perHour * hours, { bound, alpha });
  return {
    ...{ perHour, minimum, hoursToMinimum: hoursToCount(minimum, pace), effect, seenAfter, counted: 'requests' },
    hoursToSee: hoursToSeeBy(effect, seenAfter),
    inWords: (rate) => `${percent(rate)} of requests failing`,
  };
}

function errorSight(gates: RolloutGates, wave: WaveTraffic, alpha: number): Sight {
  const { requestsPerHour, lastPeriod } = wave.traffic;
  const settings = { margin: gates.maxErrorRise, minimum: gates.minRequests, alpha };
  const sight = rateSight(wave, { paces: requestsPerHour, devices: lastPeriod.requests, ...settings });
  return { ...sight, counted: 'requests', inWords: (rise) => `a rise of failed requests by ${points(rise)}` };
}

function accuracySight(gates: RolloutGates, wave: WaveTraffic, alpha: number): Sight {
  const { labelsPerHour, lastPeriod } = wave.traffic;
  const settings = { margin: gates.accuracy.maxLoss, minimum: gates.accuracy.minLabels, alpha };
  const sight = rateSight(wave, { paces: labelsPerHour, devices: missesOf(lastPeriod.labels), ...settings });
  return { ...sight, counted: 'labels', inWords: (loss) => `a loss of ${points(loss)}` };
}

function driftSight(
  gates: RolloutGates,
  wave: WaveTraffic,
  { alpha, shares }: { alpha: number; shares: readonly DeviceCounts[] },
): Sight {
  const settings = { margin: gates.drift.maxShift, minimum: gates.minRequests, alpha: alpha / shares.length };
  const [commonest = []] = shares;
  const sight = rateSight(wave, { paces: wave.traffic.requestsPerHour, devices: commonest, ...settings });
  return { ...sight, counted: 'requests', inWords: (shift) => `a class moving by ${points(shift)}` };
}

interface RateSettings {
  paces: Paces;
  /** Of the last period. */
  devices: DeviceCounts;
  margin: number;
  minimum: number;
  alpha: number;
}

function rateSight(
  wave: WaveTraffic,
  { paces, devices, margin, minimum, alpha }: RateSettings,
): Omit<Sight, 'counted' | 'inWords'> {
  const { fresh, former } = wave;
  const correlation = correlationWithin([devices]);
  const pace = paceOf(paces, fresh, shareOfFresh(wave));
  const rest =
    former.length === 0 ? effective(devices, correlation).trials : paceOf(paces, former, shareOfFormer(wave));
  const base = shareOf(sumOf(devices)) ?? 0;
  const outlook = { pace: { fresh: pace, former: rest }, base, margin, alpha, correlation };
  const effect = Math.min(1 - base, margin * 2);
  return {
    ...{ perHour: total(pace), minimum, hoursToMinimum: hoursToCount(minimum, pace), effect },
    hoursToSee: hoursToSee(effect, outlook),
    seenAfter: (hours) => riseSeenAfter(hours, outlook),
  };
}

function latencySight(gates: RolloutGates, wave: WaveTraffic, alpha: number): Sight {
  const { fresh, former, traffic } = wave;
  const { latency, minRequests: minimum } = gates;
  const { slow, latencyRatio } = traffic.lastPeriod;
  const correlation = correlationWithin([slow]);
  const pace = paceOf(traffic.requestsPerHour, fresh, shareOfFresh(wave));
  const rest = paceOf(traffic.requestsPerHour, former, shareOfFormer(wave));
  const known = effective(slow, correlation).trials;
  const seenAfter = (hours: number) => {
    const trials = {
      fresh: worthAfter(hours, pace, correlation),
      former: former.length === 0 ? known : worthAfter(hours, rest, correlation),
    };
    return slowdownSeen(latencyRatio, trials, { ...latency, alpha });
  };
  const effect = latency.maxRatio * 1.5;
  return {
    ...{ perHour: total(pace), minimum, hoursToMinimum: hoursToCount(minimum, pace), effect, seenAfter },
    hoursToSee: hoursToSeeBy(effect, seenAfter),
    ...{
      counted: 'requests',
      inWords: (factor: number) => `requests taking ${Number(factor.toFixed(1))} times as long`,
    },
  };
}

/** By class, the commonest first. */
function sharesOf(classes: Arm['classes']): DeviceCounts[] {
  const totals = new Map<string, number>();
  for (const counts of classes)
    for (const [name, count] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + count);
  const names = [...totals].sort(([, a], [, b]) => b - a).map(([name]) => name);
  return names.map((name) =>
    classes.map((counts) => ({
      hits: counts[name] ?? 0,
      trials: Object.values(counts).reduce((sum, count) => sum + count, 0),
    })),
  );
}

function paceOf(paces: Paces, devices: readonly string[], share = 1): number[] {
  return devices.map((id) => (paces.get(id) ?? 0) * share);
}

function total(pace: readonly number[]): number {
  return pace.reduce((sum, each) => sum + each, 0);
}

function rounded(value: number): number {
  return Number(value.toPrecision(2));
}

/** Hours for people: seconds, minutes, hours or days. */
export function duration(hours: number): string {
  const steps = [
    { of: 24, name: 'days', from: 48 },
    { of: 1, name: 'hours', from: 2 },
    { of: 1 / 60, name: 'minutes', from: 2 / 60 },
  ];
  const step = steps.find(({ from }) => hours >= from) ?? { of: 1 / 3600, name: 'seconds' };
  return `${Number((hours / step.of).toPrecision(2))} ${step.name}`;
}
