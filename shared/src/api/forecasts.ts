// What a rollout would do, told before it starts.
import { z } from 'zod';
import { DeviceId, Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { Backtest } from './backtests.ts';
import { gateNames } from './gates.ts';
import { RolloutCreate, waveKinds } from './rollouts.ts';

/** A rollout that is to be rehearsed. */
export const RolloutRehearsal = RolloutCreate.extend({
  /** Begins a backtest of the version on samples of the devices; else the newest there is is told of. */
  backtest: z.boolean().default(false),
});
export type RolloutRehearsal = z.infer<typeof RolloutRehearsal>;

const Hours = z.number().nullable();

/** What a gate will be able to see on a wave. Hours are null when that is not within a year. */
export const GateForecast = z.object({
  gate: z.enum(gateNames),
  mode: z.enum(['gate', 'warn']),
  /** What is counted on the wave's devices in an hour: requests, or labels. */
  perHour: z.number(),
  minimum: z.number(),
  hoursToMinimum: Hours,
  /** A change of this size, twice what is allowed: a share, or of latency a factor. */
  effect: z.number(),
  hoursToSee: Hours,
  /** The smallest change that is seen by the time the wave is judged; null: none. */
  seen: z.number().nullable(),
  detail: z.string(),
});
export type GateForecast = z.infer<typeof GateForecast>;

const WaveCounts = z.object({
  offline: z.number().int(),
  held: z.number().int(),
  outOfWindow: z.number().int(),
  zoneUnknown: z.number().int(),
});

export const WaveForecast = z.object({
  wave: z.number().int().min(0),
  devices: z.number().int(),
  /** The first of them, in the order of the wave. */
  deviceIds: z.array(DeviceId),
  offline: z.array(DeviceId),
  /** Software on the device says "not now", by its last word: until then at the latest, by the plan's longest hold. */
  held: z.array(z.object({ deviceId: DeviceId, until: Instant, reason: z.string() })).default([]),
  /** Fetching or activating is not open now: when it could answer at the earliest, by its own clock. */
  outOfWindow: z.array(z.object({ deviceId: DeviceId, until: Instant, timeZone: z.string() })).default([]),
  /** They report no time zone, so that nobody here knows when their windows open. */
  zoneUnknown: z.array(DeviceId).default([]),
  /** How many there are of each, of which the lists above name the first. */
  counts: WaveCounts.optional(),
  name: z.string().optional(),
  /** What its devices do with the version; those whose agent cannot run one beside another take no part in waves that only try it. */
  kind: z.enum(waveKinds).optional(),
  unable: z.array(DeviceId).optional(),
  /** From the last device having the version until the wave is judged, at present traffic; null: it would pause for lack of evidence. */
  hours: Hours,
  comparedWith: z.enum(['rest', 'last_period', 'nothing']),
  gates: z.array(GateForecast),
  detail: z.string(),
});
export type WaveForecast = z.infer<typeof WaveForecast>;

export const RolloutForecast = z.object({
  model: ModelName,
  version: ModelVersion,
  devices: z.number().int(),
  /** Devices ahead of this server, on which an operator must decide first; they are in no wave. */
  conflicting: z.array(DeviceId),
  /** Rollouts of the model under way whose devices it would take over. */
  supersedes: z.array(z.string()),
  /** Sum over the waves; null when one of them would pause. */
  hours: Hours,
  waves: z.array(WaveForecast),
  /** The newest backtest of the version; null: there is none. */
  backtest: Backtest.nullable().optional(),
});
export type RolloutForecast = z.infer<typeof RolloutForecast>;
