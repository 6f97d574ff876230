// Rollouts: what an operator asks for, the state it is in, and what each device did.
import { z } from 'zod';
import { DeviceId, Instant, ModelName, ModelVersion } from '../identifiers.ts';
import { ActivationTerms } from '../messages.ts';
import { SelectorText } from '../selector.ts';
import { Backtest } from './backtests.ts';
import { AccuracyGate, BacktestGate, DriftGate, GateNumbers, gateNames, LatencyGate, ShadowGate } from './gates.ts';

export const RolloutGates = z.strictObject({
  /** Highest share of failed requests of the new version, 0 to 1. */
  maxErrorRate: z.number().min(0).max(1).default(0.02),
  /** Requests that the wave's devices must have answered with the new version before it is judged; 0 judges without. */
  minRequests: z.number().int().min(0).default(20),
  /** Highest share of a wave's devices that may fail, 0 to 1. */
  maxFailedDevices: z.number().min(0).max(1).default(0.1),
  /** Least share of a wave's devices, offline ones among them, that must serve the version healthily, 0 to 1. */
  minHealthyDevices: z.number().min(0).max(1).default(0),
  /** How long a gate waits for evidence before the rollout pauses with the reason. */
  evidenceTimeoutSeconds: z.number().int().min(1).default(3600),
  /** Highest rise of the share of failed requests over the old version's, 0 to 1. */
  maxErrorRise: z.number().min(0).max(1).default(0.01),
  latency: LatencyGate.prefault({}),
  accuracy: AccuracyGate.prefault({}),
  drift: DriftGate.prefault({}),
  backtest: BacktestGate.prefault({}),
  shadow: ShadowGate.prefault({}),
  /** Share of faultless rollouts that the statistical gates, all together and over all looks, may stop. */
  falseAlarms: z.number().gt(0).max(0.5).default(0.01),
});
export type RolloutGates = z.infer<typeof RolloutGates>;

/** Who may let a wave begin. */
const WaveApproval = z.strictObject({
  /** The least role of the key that approves. */
  role: z.enum(['operator', 'admin']).default('operator'),
  /** It must be another key than the one that created the rollout. */
  fourEyes: z.boolean().default(false),
});
export type WaveApproval = z.infer<typeof WaveApproval>;

/**
 * What devices of a wave do with the version. `serve`: it answers. Before the first wave that serves, those of a wave go on to
 * serve in their turn: `shadow` runs it beside the version that answers, on copies of some inputs, and compares; `split` lets it
 * answer a share of the requests.
 */
export const waveKinds = ['serve', 'shadow', 'split'] as const;
export type WaveKind = (typeof waveKinds)[number];

const shadowProcessorShare = 0.1;

const ofEveryWave = {
  name: z.string().min(1).max(60).optional(),
  /** It does not begin before somebody has approved of it, by its name. */
  approval: WaveApproval.optional(),
  kind: z.enum(waveKinds).optional(),
  /** Of `split`: the share of requests. */
  share: z.number().gt(0).lt(1).optional(),
  /** Of `shadow`: processor time at most, as a share of one core. */
  processorShare: z.number().gt(0).max(1).optional(),
};

/** Which devices have the version once the wave is out: a share or a number of all, or those of a group beside the former. */
export const PlannedWave = z.union(
  [
    z.strictObject({ percent: z.number().gt(0).max(100), ...ofEveryWave }),
    z.strictObject({ devices: z.number().int().min(1), ...ofEveryWave }),
    z.strictObject({
      selector: SelectorText.refine((text) => text.trim() !== '', 'must name a group'),
      ...ofEveryWave,
    }),
  ],
  'a wave has one of: percent (above 0, to 100), devices (a number of them), selector (a group); beside it name, and approval with role (operator or admin) and fourEyes',
);
export type PlannedWave = z.infer<typeof PlannedWave>;

export function kindOf(wave: PlannedWave | undefined): WaveKind {
  return wave?.kind ?? 'serve';
}

/** How devices of a wave run the version beside the one that answers; undefined of waves that serve. */
export function besideTerms(
  wave: PlannedWave | undefined,
): { mode: 'shadow'; processorShare: number } | { mode: 'split'; share: number } | undefined {
  const kind = kindOf(wave);
  if (kind === 'shadow') return { mode: kind, processorShare: wave?.processorShare ?? shadowProcessorShare };
  return kind === 'split' ? { mode: kind, share: wave?.share ?? 0 } : undefined;
}

/** Those of waves that serve; devices of others come again. */
const ascending = (waves: PlannedWave[]) => {
  const serving = waves.filter((wave) => kindOf(wave) === 'serve');
  const grows = (values: number[]) => values.every((value, i) => i === 0 || value > (values[i - 1] ?? 0));
  const percents = serving.flatMap((wave) => ('percent' in wave ? [wave.percent] : []));
  return grows(percents) && grows(serving.flatMap((wave) => ('devices' in wave ? [wave.devices] : [])));
};
const triesFirst = (waves: PlannedWave[]) => {
  const first = waves.findIndex((wave) => kindOf(wave) === 'serve');
  return waves.every((wave, i) => kindOf(wave) === 'serve' || i < first);
};
const ownTerms = (waves: PlannedWave[]) =>
  waves.every((wave) => {
    const kind = kindOf(wave);
    const shared = wave.share !== undefined;
    return kind === 'split'
      ? shared && wave.processorShare === undefined
      : !shared && (kind === 'shadow' || wave.processorShare === undefined);
  });
const endsWithAll = (waves: PlannedWave[]) => {
  const last = waves.at(-1);
  return last !== undefined && 'percent' in last && last.percent === 100 && kindOf(last) === 'serve';
};
/** An approval is given by the wave's name, so that it cannot be taken for that of another wave. */
const approvalsNamed = (waves: PlannedWave[]) =>
  waves.every(
    ({ name, approval }) =>
      approval === undefined || (name !== undefined && waves.filter((wave) => wave.name === name).length === 1),
  );

/** How fast devices of a wave are told, in devices a minute. */
const Rate = z.strictObject({
  start: z.number().int().min(1),
  /** The rate is multiplied by this each time so many more devices serve healthily. */
  factor: z.number().min(1).max(10).default(1),
  growAfter: z.number().int().min(1).default(1),
  /** Never more than this. */
  cap: z.number().int().min(1).optional(),
});

export const RolloutPlan = z.strictObject({
  selector: SelectorText.default(''),
  /** Growing shares or numbers of the matching devices, or groups; the last must be 100 percent. */
  waves: z
    .array(PlannedWave)
    .min(1)
    .max(20)
    .refine(ascending, 'percentages and numbers of devices must grow from wave to wave')
    .refine(endsWithAll, 'the last wave must be 100 percent, and serve')
    .refine(triesFirst, 'waves of kind "shadow" and "split" come before the first that serves')
    .refine(
      ownTerms,
      '"share" (above 0, below 1) belongs to each wave of kind "split", "processorShare" to kind "shadow" only',
    )
    .refine(approvalsNamed, 'a wave with an approval needs a name that no other wave has')
    .default([{ percent: 10 }, { percent: 50 }, { percent: 100 }]),
  /** A shadow wave in front, on the devices of the first wave that serves. */
  shadow: z.boolean().optional(),
  /** A label: each wave takes the same share of the devices of each of its values. */
  spread: z.string().min(1).max(63).optional(),
  rate: Rate.optional(),
  /** At most so many devices of one value of the label at a time that were told and have not ended. */
  maxUnavailable: z.strictObject({ label: z.string().min(1).max(63), devices: z.number().int().min(1) }).optional(),
  /** How long each device must serve healthily before its wave is judged. */
  bakeSeconds: z.number().int().min(0).max(2_592_000).default(600),
  /** How long a reachable device may take to activate before it counts as timed out. */
  deployTimeoutSeconds: z.number().int().min(1).max(2_592_000).default(1800),
  gates: RolloutGates.prefault({}),
  onFailure: z.enum(['rollback', 'pause']).default('rollback'),
  /** What a failure takes back: what this rollout gave, or every device that runs the version by any rollout's word. */
  rollbackOf: z.enum(['touched', 'all']).default('touched'),
  /** Offline devices hold their wave up (`wait`, as long as `offlineWaitSeconds`), or converge when they return (`skip`). */
  offlineDevices: z.enum(['wait', 'skip']).default('skip'),
  /** With `skip`: how long a device must have been offline before its wave ends without it. */
  offlineAfterSeconds: z.number().int().min(0).max(2_592_000).default(60),
  /** With `wait`: how long after a device was told its wave ends without it, however often it came and went; a week when unset. */
  offlineWaitSeconds: z.number().int().min(0).max(31_536_000).optional(),
  approval: z.boolean().default(false),
  ...ActivationTerms.shape,
  windows: z.strictObject(ActivationTerms.shape.windows.unwrap().shape).optional(),
  /** Devices that match later receive the version too. */
  follow: z.boolean().default(true),
  /** Of rollouts under way the highest has a device, of those alike the newest. */
  priority: z.number().int().min(-100).max(100).default(0),
  /** The name that is moved to the version when the rollout completes; unset: `stable` for the whole fleet, else none. */
  alias: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,62}$/, 'lower-case letters, digits and "-", beginning with a letter')
    .optional(),
});
export type RolloutPlan = z.infer<typeof RolloutPlan>;

/** A name for a version that moves. */
export const AliasName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'an alias has lower-case letters, digits and "-" and begins with a letter');

/** `version` is a number, or an alias as `candidate`: the version that it names now. */
export const RolloutCreate = RolloutPlan.extend({ model: ModelName, version: z.union([ModelVersion, AliasName]) });
export type RolloutCreate = z.infer<typeof RolloutCreate>;

const Running = z.object({
  phase: z.literal('running'),
  /** Index of the wave, from 0. */
  wave: z.number().int().min(0),
  /** `backtesting`: no device has been told yet. */
  step: z.enum(['backtesting', 'deploying', 'baking', 'judging']),
  since: Instant,
});

export const RolloutState = z.discriminatedUnion('phase', [
  z.object({
    phase: z.literal('awaiting_approval'),
    since: Instant.optional(),
    /** The wave that is to be approved, by its name; unset: the whole rollout is, of a plan with `approval`. */
    wave: z.number().int().min(0).optional(),
    name: z.string().optional(),
    /** The wave before, whose devices are still judged; unset before the first. */
    after: Running.optional(),
  }),
  Running,
  z.object({ phase: z.literal('paused'), reason: z.string(), resume: Running }),
  z.object({ phase: z.literal('completed'), at: Instant }),
  z.object({ phase: z.literal('cancelled'), at: Instant, reason: z.string() }),
  z.object({ phase: z.literal('superseded'), at: Instant, by: z.string() }),
  z.object({ phase: z.literal('rolling_back'), since: Instant, reason: z.string() }),
  z.object({ phase: z.literal('rolled_back'), at: Instant, reason: z.string() }),
]);
export type RolloutState = z.infer<typeof RolloutState>;

/** The wave under way or at which it stands still; undefined before the first one has begun and when it is over. */
export function presentWave(state: RolloutState): z.infer<typeof Running> | undefined {
  if (state.phase === 'running') return state;
  if (state.phase === 'paused') return state.resume;
  return state.phase === 'awaiting_approval' ? state.after : undefined;
}

export const rolloutDeviceStates = [
  'waiting',
  'deploying',
  'baking',
  'healthy',
  'failed',
  'offline',
  'timed_out',
  'conflicting',
  'taken_over',
  'rolling_back',
  'rolled_back',
  'kept',
  'unreached',
  'unable',
] as const;

export const RolloutDevice = z.object({
  deviceId: DeviceId,
  wave: z.number().int().min(0),
  /**
   * `waiting`: its wave has not begun, or the device is left to another rollout. `conflicting`: it is ahead of this server, and
   * an operator decides. `taken_over`: another rollout has it. `kept`: the rollout ended and it keeps the version.
   * `unreached`: the rollout ended before the device had the version. `unable`: it cannot take part in a wave that tries the
   * version beside its own.
   */
  state: z.enum(rolloutDeviceStates),
  detail: z.string(),
  /** Waves in which it comes again, once this one only tried the version beside its own; of one that is over: would have come. */
  later: z.array(z.number().int().min(0)).optional(),
  /** Of a version with variants: which one it runs or brings up. */
  variant: z.string().optional(),
});
export type RolloutDevice = z.infer<typeof RolloutDevice>;

export const GateVerdict = z.object({
  gate: z.enum(gateNames),
  /** `waiting`: devices are under way. `inconclusive`: there is too little evidence, which never passes. */
  verdict: z.enum(['passed', 'failed', 'waiting', 'inconclusive']),
  detail: z.string(),
  /** False: only said; it neither holds the wave up nor stops the rollout. */
  blocking: z.boolean().optional(),
  /** What it was judged on. */
  numbers: z.union([GateNumbers, z.record(z.string(), z.number())]).optional(),
  /** Of `failed_devices`: how many failed at what. */
  kinds: z.record(z.string(), z.number().int()).optional(),
  /** Of a version with variants: the verdict on each that devices run. The worst of them is that of the gate. */
  variants: z
    .array(
      z.object({
        name: z.string(),
        verdict: z.enum(['passed', 'failed', 'waiting', 'inconclusive']),
        detail: z.string(),
        numbers: z.union([GateNumbers, z.record(z.string(), z.number())]).optional(),
      }),
    )
    .optional(),
});
export type GateVerdict = z.infer<typeof GateVerdict>;

/** How many devices stand where. */
export const DeviceCounts = z.partialRecord(z.enum(rolloutDeviceStates), z.number().int());
export type DeviceCounts = z.infer<typeof DeviceCounts>;

/** One that has begun, with its verdicts and numbers, for good. */
export const RolloutWave = z.object({
  wave: z.number().int().min(0),
  startedAt: Instant,
  endedAt: Instant.nullable(),
  /** `inconclusive`: it paused for lack of evidence. `stopped`: the rollout ended meanwhile. */
  outcome: z.enum(['running', 'passed', 'failed', 'inconclusive', 'stopped']),
  gates: z.array(GateVerdict),
  counts: DeviceCounts,
});
export type RolloutWave = z.infer<typeof RolloutWave>;

export const Rollout = z.object({
  id: z.string(),
  model: ModelName,
  version: ModelVersion,
  plan: RolloutPlan,
  state: RolloutState,
  createdAt: Instant,
  createdBy: z.string(),
  updatedAt: Instant,
  /** When it was decided which device is in which wave. */
  plannedAt: Instant.nullable().optional(),
  /** The trace that shows it, as the request that began it told it on (W3C); where traces are exported. */
  traceparent: z.string().optional(),
  /** One sentence: why it stands where it stands, what it waits for, and until when. */
  status: z.string().optional(),
});
export type Rollout = z.infer<typeof Rollout>;

export const RolloutDetail = Rollout.extend({
  devices: z.array(RolloutDevice),
  gates: z.array(GateVerdict),
  /** Those that have begun, in order. */
  waves: z.array(RolloutWave).default([]),
  /** The newest backtest of its gate. */
  backtest: Backtest.nullable().optional(),
  history: z.array(
    z.object({
      at: Instant,
      text: z.string(),
      evidence: z
        .object({ gates: z.array(GateVerdict), counts: DeviceCounts })
        .nullable()
        .optional(),
    }),
  ),
});
export type RolloutDetail = z.infer<typeof RolloutDetail>;

/** `devices=none` leaves them out of the answer: `GET /rollouts/{id}/devices` gives them in pages. */
export const RolloutShow = z.object({ devices: z.enum(['all', 'none']).default('all') });
export const RolloutDeviceQuery = z.object({
  state: z.enum(rolloutDeviceStates).optional(),
  /** Counted from 0. */
  wave: z.coerce.number().int().min(0).optional(),
});
export const RolloutQuery = z.object({ model: ModelName.optional(), phase: z.string().optional() });
export const RolloutReason = z.strictObject({
  reason: z.string().max(500).default(''),
  /** Of `cancel`: takes the version back from the devices that run it, too. */
  rollback: z.boolean().default(false),
  /** Of `approve`: the name of the wave that is approved, where one is waited for. */
  wave: z.string().min(1).max(60).optional(),
});
