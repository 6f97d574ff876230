// Rollouts: what an operator asks for, the state it is in, and what each device did.
import { z } from 'zod';
import { DeviceId, Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { SelectorText } from '../selector.ts';

export const RolloutGates = z.strictObject({
  /** Highest share of failed requests of the new version, 0 to 1. */
  maxErrorRate: z.number().min(0).max(1).default(0.02),
  /** Requests that the wave's devices must have answered with the new version before it is judged; 0 judges without. */
  minRequests: z.number().int().min(0).default(20),
  /** Highest share of a wave's devices that may fail, 0 to 1. */
  maxFailedDevices: z.number().min(0).max(1).default(0.1),
  /** How long a gate waits for evidence before the rollout pauses with the reason. */
  evidenceTimeoutSeconds: z.number().int().min(1).default(3600),
});
export type RolloutGates = z.infer<typeof RolloutGates>;

const ascending = (waves: { percent: number }[]) =>
  waves.every((wave, i) => i === 0 || wave.percent > (waves[i - 1]?.percent ?? 0));

export const RolloutPlan = z.strictObject({
  selector: SelectorText.default(''),
  /** Growing shares of the matching devices; the last must be 100. */
  waves: z
    .array(z.strictObject({ percent: z.number().gt(0).max(100) }))
    .min(1)
    .max(20)
    .refine(ascending, 'percentages must grow from wave to wave')
    .refine((waves) => waves.at(-1)?.percent === 100, 'the last wave must be 100 percent')
    .default([{ percent: 10 }, { percent: 50 }, { percent: 100 }]),
  /** How long each device must serve healthily before its wave is judged. */
  bakeSeconds: z.number().int().min(0).max(2_592_000).default(600),
  /** How long a reachable device may take to activate before it counts as timed out. */
  deployTimeoutSeconds: z.number().int().min(1).max(2_592_000).default(1800),
  gates: RolloutGates.prefault({}),
  onFailure: z.enum(['rollback', 'pause']).default('rollback'),
  /** Offline devices hold their wave up (`wait`), or converge when they return (`skip`). */
  offlineDevices: z.enum(['wait', 'skip']).default('skip'),
  approval: z.boolean().default(false),
  /** Devices that match later receive the version too. */
  follow: z.boolean().default(true),
});
export type RolloutPlan = z.infer<typeof RolloutPlan>;

export const RolloutCreate = RolloutPlan.extend({ model: ModelName, version: ModelVersion });
export type RolloutCreate = z.infer<typeof RolloutCreate>;

const Running = z.object({
  phase: z.literal('running'),
  /** Index of the wave, from 0. */
  wave: z.number().int().min(0),
  step: z.enum(['deploying', 'baking', 'judging']),
  since: Instant,
});

export const RolloutState = z.discriminatedUnion('phase', [
  z.object({ phase: z.literal('awaiting_approval') }),
  Running,
  z.object({ phase: z.literal('paused'), reason: z.string(), resume: Running }),
  z.object({ phase: z.literal('completed'), at: Instant }),
  z.object({ phase: z.literal('cancelled'), at: Instant, reason: z.string() }),
  z.object({ phase: z.literal('superseded'), at: Instant, by: z.string() }),
  z.object({ phase: z.literal('rolling_back'), since: Instant, reason: z.string() }),
  z.object({ phase: z.literal('rolled_back'), at: Instant, reason: z.string() }),
]);
export type RolloutState = z.infer<typeof RolloutState>;

export const RolloutDevice = z.object({
  deviceId: DeviceId,
  wave: z.number().int().min(0),
  /** `waiting`: its wave has not begun, or the device is left to another rollout. */
  state: z.enum(['waiting', 'deploying', 'baking', 'healthy', 'failed', 'offline', 'timed_out']),
  detail: z.string(),
});
export type RolloutDevice = z.infer<typeof RolloutDevice>;

export const GateVerdict = z.object({
  gate: z.enum(['failed_devices', 'error_rate']),
  verdict: z.enum(['passed', 'failed', 'waiting']),
  detail: z.string(),
});
export type GateVerdict = z.infer<typeof GateVerdict>;

export const Rollout = z.object({
  id: z.string(),
  model: ModelName,
  version: ModelVersion,
  plan: RolloutPlan,
  state: RolloutState,
  createdAt: Instant,
  createdBy: z.string(),
  updatedAt: Instant,
});
export type Rollout = z.infer<typeof Rollout>;

export const RolloutDetail = Rollout.extend({
  devices: z.array(RolloutDevice),
  gates: z.array(GateVerdict),
  history: z.array(z.object({ at: Instant, text: z.string() })),
});
export type RolloutDetail = z.infer<typeof RolloutDetail>;

export const RolloutQuery = z.object({ model: ModelName.optional(), phase: z.string().optional() });
export const RolloutReason = z.strictObject({ reason: z.string().max(500).default('') });
