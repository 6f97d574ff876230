// Messages between the supervising and the serving process. Accepted sockets travel beside them: the message
// `connection` carries one as its handle, so the listening socket survives a restart of the serving process.
import { errorCodes, FieldError } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { ModelName, ModelVersion, Sha256 } from '@edgeloop/shared/identifiers';
import { Manifest } from '@edgeloop/shared/manifest';
import { z } from 'zod';
import { Figures } from './figures.ts';

const RequestId = z.number().int();

/** How a model runs best on this device, measured at activation; what the manifest says wins. */
export const Tuning = z.object({
  instances: z.number().int().min(1),
  /** Threads inside one run of ONNX Runtime. */
  intraOpThreads: z.number().int().min(1),
  maxBatch: z.number().int().min(1),
});
export type Tuning = z.infer<typeof Tuning>;

/** A model version on this device's disk. `path` is the ONNX file; of a pipeline, the folder or the file that holds its files. */
export const ModelFiles = z.object({
  name: ModelName,
  version: ModelVersion,
  path: z.string(),
  /** SHA-256 of the file, where it is known; what was learnt about a model is kept by it. */
  digest: z.string().optional(),
  /** SHA-256 of the release document, in a fleet: which bytes stand behind the version's number. */
  release: z.string().optional(),
  manifest: Manifest,
  golden: GoldenSamples.optional(),
  /** Of a version with several files: which one this is. */
  variant: z.string().optional(),
  tuning: Tuning.optional(),
  /** It has not proved itself, and another release takes its place when its process dies. */
  onTrial: z.boolean().optional(),
  /** Its process died not long ago, perhaps by its doing: it is noted of each of its runs. */
  suspected: z.boolean().optional(),
});
export type ModelFiles = z.infer<typeof ModelFiles>;

/** A model version that is known here and cannot be asked: it is still being loaded, or will not be, and why. */
export const KnownModel = z.object({
  name: ModelName,
  version: ModelVersion,
  state: z.enum(['LOADING', 'UNAVAILABLE']),
  reason: z.string(),
  /** It answered before, or will in a moment: who asks for it may wait. */
  soon: z.boolean().optional(),
});
export type KnownModel = z.infer<typeof KnownModel>;

/** What lies in a folder of models and is nearly right. Names are as they stand there, a version may be no number or ''. */
export const Misplaced = z.object({ name: z.string(), version: z.string(), reason: z.string() });
export type Misplaced = z.infer<typeof Misplaced>;

/** What a load request says instead of the manifest; the rest of it stays. */
export const ManifestOverride = z
  .object({
    maxBatch: z.number().int().min(1).max(1024),
    maxDelayMs: z.number().min(0).max(1000),
    instances: z.number().int().min(1).max(64),
    versions: Manifest.shape.versions,
  })
  .partial();
export type ManifestOverride = z.infer<typeof ManifestOverride>;

/** How a caller wants a model to be loaded until it is loaded otherwise. */
export const LoadOverride = z.object({
  manifest: ManifestOverride,
  /** A folder of models that holds it, in the place of the server's own. */
  root: z.string().optional(),
});
export type LoadOverride = z.infer<typeof LoadOverride>;

/** A request that belongs to another serving process, as it was sent; bodies in base64. */
export const ForwardedCall = z.discriminatedUnion('form', [
  z.object({
    form: z.literal('http'),
    model: z.string(),
    version: z.string().optional(),
    url: z.string(),
    headers: z.object({ acceptEncoding: z.string(), jsonBytes: z.string(), timeoutMs: z.string() }).partial(),
    body: z.string(),
  }),
  /** `stream`: one message of a stream. */
  z.object({
    form: z.literal('grpc'),
    path: z.string(),
    stream: z.boolean(),
    timeoutMs: z.number().optional(),
    body: z.string(),
  }),
]);
export type ForwardedCall = z.infer<typeof ForwardedCall>;

export const ForwardedReply = z.discriminatedUnion('form', [
  z.object({
    form: z.literal('http'),
    status: z.number().int(),
    headers: z.record(z.string(), z.string()),
    body: z.string(),
  }),
  z.object({ form: z.literal('grpc'), body: z.string() }),
]);
export type ForwardedReply = z.infer<typeof ForwardedReply>;

const Refusal = z.object({ code: z.enum(errorCodes), message: z.string(), retryAfterSeconds: z.number().optional() });

/** Names the descriptor that a serving process logs to; stderr when unset. */
export const logFdVariable = 'EDGELOOP_LOG_FD';

/** Of a serving process that is started before it is needed: it waits for `begin`. */
export const spareArgument = '--spare';

const longestHoldSeconds = 7 * 24 * 60 * 60;
const reasonLetters = 200;

/** "Not now": no other version of a model is to begin to answer for so long. */
export const HoldRequest = z.strictObject({
  seconds: z.number().min(1).max(longestHoldSeconds),
  reason: z.string().trim().min(1).max(reasonLetters),
});
export type HoldRequest = z.infer<typeof HoldRequest>;

export const HoldWish = z.discriminatedUnion('action', [
  z.object({ action: z.literal('tell') }),
  z.object({ action: z.literal('set'), request: HoldRequest }),
  z.object({ action: z.literal('clear') }),
]);
export type HoldWish = z.infer<typeof HoldWish>;

/** `untilMs`: wall clock; undefined as long as a lock file lies there. */
export const PresentHold = z.object({ reason: z.string(), untilMs: z.number().optional() });
export type PresentHold = z.infer<typeof PresentHold>;

export const ToServing = z.discriminatedUnion('kind', [
  /** To a spare process: it is the one that serves now. */
  z.object({ kind: z.literal('begin') }),
  /** Load in fresh worker threads, run the golden samples, and keep it warm beside what answers now. */
  z.object({ kind: z.literal('load'), requestId: RequestId, model: ModelFiles }),
  /** Answer requests without a version with this one, from now on. It must be loaded. */
  z.object({ kind: z.literal('activate'), requestId: RequestId, name: ModelName, version: ModelVersion }),
  /** Forget a version once its requests in flight are done, and end its worker threads. */
  z.object({ kind: z.literal('unload'), requestId: RequestId, name: ModelName, version: ModelVersion }),
  /** Run the golden samples of a loaded version again, where its requests run. */
  z.object({ kind: z.literal('rerun_golden'), requestId: RequestId, name: ModelName, version: ModelVersion }),
  /** Run a version beside the one that answers, in a process of its own. `against`: the release that it runs beside. */
  z.object({
    kind: z.literal('attach'),
    requestId: RequestId,
    model: ModelFiles,
    how: z.object({
      mode: z.enum(['shadow', 'split']),
      share: z.number(),
      processorShare: z.number(),
      against: Sha256,
    }),
  }),
  /** Forget what runs beside the model, if anything does. */
  z.object({ kind: z.literal('detach'), requestId: RequestId, name: ModelName }),
  /** Append to this journal file from now on; the reply says that the former one is complete and on disk. */
  z.object({ kind: z.literal('journal'), requestId: RequestId, path: z.string() }),
  /** Everything that was active before is active again: answer ready. */
  z.object({ kind: z.literal('ready') }),
  /** Every version that is known and not loaded, for the repository index and for callers who ask for one. */
  z.object({
    kind: z.literal('known'),
    models: z.array(KnownModel),
    misplaced: z.array(Misplaced).default([]),
  }),
  /** What stands in the way at this moment; all of it. */
  z.object({ kind: z.literal('problems'), problems: z.array(z.object({ what: z.string(), words: z.string() })) }),
  /** What telemetry was given up, ever; see `telemetry/given-up.ts`. */
  z.object({
    kind: z.literal('lost'),
    lost: z.array(z.object({ kind: z.string(), reason: z.string(), count: z.number().int().min(0) })),
  }),
  /** The supervisor's answer to `feedback`. */
  z.object({
    kind: z.literal('feedback_result'),
    requestId: RequestId,
    error: z
      .object({ code: z.enum(errorCodes), message: z.string(), errors: z.array(FieldError).optional() })
      .optional(),
  }),
  /** The supervisor's answer to `hold`: what holds now, or why it was not done. */
  z.object({
    kind: z.literal('hold_result'),
    requestId: RequestId,
    hold: PresentHold.optional(),
    error: z.object({ code: z.enum(errorCodes), message: z.string() }).optional(),
  }),
  /** The supervisor's answer to `repository`: done, or why not. */
  z.object({
    kind: z.literal('repository_result'),
    requestId: RequestId,
    error: z.object({ code: z.enum(errorCodes), message: z.string() }).optional(),
  }),
  /** What all other processes count is asked for. */
  z.object({ kind: z.literal('tell_figures'), requestId: RequestId }),
  z.object({ kind: z.literal('figures_result'), requestId: RequestId, others: z.array(Figures) }),
  /** So many of the requests may be sent; the next one after so many seconds. */
  z.object({
    kind: z.literal('tokens_result'),
    requestId: RequestId,
    granted: z.number().int(),
    retryAfterSeconds: z.number(),
  }),
  /** Another process was asked what only this one can answer. */
  z.object({ kind: z.literal('forwarded_call'), requestId: RequestId, call: ForwardedCall }),
  z.object({
    kind: z.literal('forward_result'),
    requestId: RequestId,
    reply: ForwardedReply.optional(),
    error: Refusal.optional(),
  }),
  /** A new caller, of HTTP unless it says otherwise; comes with the socket. `head`: what was read from it while it waited, in base64. */
  z.object({ kind: z.literal('connection'), head: z.string().optional(), protocol: z.literal('grpc').optional() }),
  /** Finish what is in flight and exit with 0. */
  z.object({ kind: z.literal('stop') }),
]);
export type ToServing = z.infer<typeof ToServing>;
/** Of telemetry, by what it was and why it was given up. */
export type LostCounts = Extract<ToServing, { kind: 'lost' }>['lost'];

export const ServingCounts = z.object({
  name: ModelName,
  version: ModelVersion,
  /** Whose answers they are, where several releases have the number. */
  release: z.string().optional(),
  /** Since the version was loaded in this process. */
  succeeded: z.number().int(),
  failed: z.number().int(),
});
export type ServingCounts = z.infer<typeof ServingCounts>;

const Count = z.number().int().min(0);
/** Answered requests that the journal lacks; see `telemetry/missing-note.ts`. */
const MissingCounts = z.object({ life: Count, file: Count, sizeBytes: Count, pending: Count, lost: Count });
export type MissingCounts = z.infer<typeof MissingCounts>;

export const ToSupervisor = z.discriminatedUnion('kind', [
  /** The process is up and takes messages. */
  z.object({ kind: z.literal('started') }),
  z.object({
    kind: z.literal('reply'),
    requestId: RequestId,
    error: z.object({ code: z.enum(errorCodes), message: z.string() }).optional(),
  }),
  /** A caller's truth for an earlier prediction; the supervisor knows the predictions. */
  z.object({ kind: z.literal('feedback'), requestId: RequestId, inferenceId: z.string(), label: z.string() }),
  /** Software on this device asks about holds; the supervisor keeps them. */
  z.object({ kind: z.literal('hold'), requestId: RequestId, wish: HoldWish }),
  /** A run does not return within its bound: only killing this process ends it. */
  z.object({ kind: z.literal('stuck'), name: ModelName, version: ModelVersion }),
  /** The own process of a model died (`isolation: process`), by a fault of its own or killed from outside; nothing else was lost. */
  z.object({
    kind: z.literal('model_died'),
    name: ModelName,
    version: ModelVersion,
    detail: z.string(),
    crashed: z.boolean(),
    /** It ran beside what answers. */
    beside: z.boolean().optional(),
  }),
  /** A caller asks to load or unload a model; the supervisor owns the store. Answered when it is done. */
  z.object({
    kind: z.literal('repository'),
    requestId: RequestId,
    action: z.enum(['load', 'unload']),
    name: ModelName,
    override: LoadOverride.optional(),
  }),
  /** What all other serving processes count, for who asks this one. `own`: what is counted here. */
  z.object({ kind: z.literal('figures_wanted'), requestId: RequestId, own: Figures }),
  /** The answer to `tell_figures`. */
  z.object({ kind: z.literal('figures'), requestId: RequestId, own: Figures }),
  /** May so many requests be sent with this token? Its rate is that of the whole device. */
  z.object({
    kind: z.literal('tokens_wanted'),
    requestId: RequestId,
    token: z.string(),
    count: z.number().int().min(1),
  }),
  /** A request that belongs to another serving process, named by its place. */
  z.object({ kind: z.literal('forward'), requestId: RequestId, to: z.number().int().min(0), call: ForwardedCall }),
  /** The answer to `forwarded_call`. */
  z.object({
    kind: z.literal('forwarded'),
    requestId: RequestId,
    reply: ForwardedReply.optional(),
    error: Refusal.optional(),
  }),
  /**
   * Every second. `missing`: what is not in the journal, while something is not. `figures`: where there are several processes,
   * so that a death takes nothing out of the sums.
   */
  z.object({
    kind: z.literal('counts'),
    models: z.array(ServingCounts),
    missing: MissingCounts.optional(),
    figures: Figures.optional(),
  }),
]);
export type ToSupervisor = z.infer<typeof ToSupervisor>;

/** What a local token can allow: asking models, reporting labels, loading and unloading, holding back other versions. Reading is open to every token. */
export const rights = ['infer', 'feedback', 'repository', 'hold'] as const;
export type Right = (typeof rights)[number];

export const LocalTokenLimits = z.strictObject({
  rights: z.array(z.enum(rights)).max(rights.length),
  /** Requests a second that may be sent with it; without bound when unset. */
  perSecond: z.number().min(0.001).max(1_000_000).optional(),
  /** How many of them at once; as many as a second allows when unset. */
  burst: z.number().int().min(1).max(1_000_000).optional(),
});

export const LocalToken = LocalTokenLimits.extend({
  name: z.string(),
  /** Of the token; the token itself is nowhere. */
  sha256: Sha256,
});
export type LocalToken = z.infer<typeof LocalToken>;

/** What the serving process is started with: JSON in `EDGELOOP_SERVING_CONFIG`, or as its first argument. */
export const ServingConfig = z.object({
  agentVersion: z.string().min(1),
  /** Name that `GET /v2` tells. */
  serverName: z.string().min(1).default('edgeloop-agent'),
  /** Its place among how many serving processes. */
  process: z.object({ place: z.number().int().min(0), of: z.number().int().min(1) }).default({ place: 0, of: 1 }),
  /** Upper bound on the inference threads of one model version; the cores when unset. */
  threads: z.number().int().min(1).max(1024).optional(),
  /** Execution providers to try, in this order; the processor is always the last. */
  providers: z.array(z.string().min(1)).optional(),
  /** Where it is noted which model versions run at this moment, for the supervisor to read after a death. */
  runningNotePath: z.string().optional(),
  /** Where it is counted what could not be journalled. */
  missingNotePath: z.string().optional(),
  /** Whether callers of gRPC come, too. */
  grpc: z.boolean().default(false),
  /** Whether answers are journalled. A server on its own has nobody who reads a journal, and must not hold one in memory. */
  journalled: z.boolean().default(true),
  /** Bound of the resident set of a model's own process. */
  maxRssBytes: z.number().min(1).optional(),
  /** Where models are put that come with a load request; unset where they come from the fleet alone. */
  overridesDir: z.string().optional(),
  /** If there are any, local callers must send one of them as a bearer token. */
  tokens: z.array(LocalToken).default([]),
  /** Origins whose pages may ask models from a browser; `*` is every one. */
  allowOrigins: z.array(z.string()).default([]),
  /** Names by which this machine is reached; `*` is every one. */
  hosts: z.array(z.string()).default([]),
  /** Whether plain requests for models are read by the agent's own reader of HTTP; all else is read by Node's. */
  plainHttp: z.boolean().default(true),
  /** Whether quick models may run in the thread that answers HTTP. */
  quickRuns: z.boolean().default(true),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
});
export type ServingConfig = z.infer<typeof ServingConfig>;
export type ServingConfigInput = z.input<typeof ServingConfig>;
