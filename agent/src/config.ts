// The agent's environment, parsed once into one frozen Config. Every default works unset on one machine.
import { availableParallelism, hostname, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { AppError, fieldErrors } from '@edgeloop/shared/errors';
import { DeviceId } from '@edgeloop/shared/identifiers';
import { hostNameOf, originOf } from '@edgeloop/shared/origins';
import { Labels } from '@edgeloop/shared/selector';
import { z } from 'zod';

const megabyte = 1024 * 1024;

const number = (fallback: number, check: z.ZodNumber) =>
  z.preprocess((text) => (text === undefined ? fallback : toNumber(text)), check);
/** As above, undefined when unset. */
const optional = (check: z.ZodNumber) =>
  z.preprocess((text) => (text === undefined ? undefined : toNumber(text)), check.optional());
const seconds = (fallback: number, least = 0.1) => number(fallback, z.number().min(least).max(604_800));

/** Variable, unit and consequence; `docs/configuration.md` lists them for operators. */
const Environment = z.object({
  /** State, models, buffer. Two agents cannot share one. */
  EDGELOOP_AGENT_DATA_DIR: z.string().min(1).default('data/agent'),
  /** Join token, needed until the device is enrolled, ignored afterwards. */
  EDGELOOP_JOIN: z.string().min(1).optional(),
  /** Identity asked for at enrolment. */
  EDGELOOP_DEVICE_ID: DeviceId.optional(),
  /** `key=value,key=value`, told at enrolment. */
  EDGELOOP_LABELS: z.string().default('').transform(toLabels).pipe(Labels),
  EDGELOOP_AGENT_HOST: z.string().min(1).default('127.0.0.1'),
  /** 0 takes a free one; `agent.json` in the data folder and the log say which. */
  EDGELOOP_AGENT_PORT: number(8000, z.number().int().min(0).max(65_535)),
  /** Port of the Open Inference Protocol over gRPC; no gRPC when unset. 0 takes a free one, which the log tells. */
  EDGELOOP_GRPC_PORT: optional(z.number().int().min(0).max(65_535)),
  /** Path of a Unix socket beside the port. */
  EDGELOOP_AGENT_SOCKET: z.string().min(1).max(100).optional(),
  /** If set, local callers must send it as a bearer token. */
  EDGELOOP_AGENT_TOKEN: z.string().min(1).optional(),
  /** File with further tokens of local callers, their rights and rates; see docs/serving.md. */
  EDGELOOP_TOKENS_FILE: z.string().min(1).optional(),
  /** Origins whose web pages may ask models, separated by commas; `*` lets every page. Unset: no page but the agent's own. */
  EDGELOOP_ALLOW_ORIGINS: z.string().optional().transform(toOrigins),
  /** Further names by which this port is reached, separated by commas; `*` takes every one. */
  EDGELOOP_ALLOW_HOSTS: z.string().optional().transform(toHosts),
  /** `off` leaves reading all requests to Node's HTTP server; it takes longer for the plain ones that ask models. */
  EDGELOOP_PLAIN_HTTP: z.enum(['on', 'off']).default('on'),
  /** `off` leaves all runs of models to threads of their own; a lone caller of a small model waits longer then. */
  EDGELOOP_QUICK_RUNS: z.enum(['on', 'off']).default('on'),
  /** `off`, for `serve`: models run in the agent's own process, which saves one; a model that ends it or never returns ends serving. */
  EDGELOOP_ISOLATION: z.enum(['on', 'off']).default('on'),
  /**
   * A second serving process that waits, with some 50 MB: callers are answered soon after a death. `auto`: for ten minutes after a
   * model came that is new here, and for an hour after a death. Without one they wait until another one has started.
   */
  EDGELOOP_SPARE_PROCESS: z.enum(['auto', 'on', 'off']).default('auto'),
  /** Whole serving processes among which callers are spread, each with the memory of one; for devices with four cores or more. */
  EDGELOOP_SERVING_PROCESSES: number(1, z.number().int().min(1).max(64)),
  /** Upper bound on inference threads of one model version, in all serving processes together. */
  EDGELOOP_THREADS: number(availableParallelism(), z.number().int().min(1).max(1024)),
  /** Execution providers to try, in their order: `cuda,cpu`. What is not there falls back, and the statistics say so. */
  EDGELOOP_PROVIDERS: z.string().optional().transform(toList),
  /** Resident set at which the serving process is killed and started again; 75 % of the memory when unset. */
  EDGELOOP_MEMORY_MB: number(defaultMemoryMb(), z.number().min(128).max(100_000_000)),
  /** Silence after which the serving process counts as stuck and is killed; it says something every second. */
  EDGELOOP_HEARTBEAT_SECONDS: seconds(10, 2),
  /** Time to measure how a new model runs best on this device, once per model file; 0 measures nothing. */
  EDGELOOP_TUNE_SECONDS: seconds(3, 0),
  /** Disk budget of telemetry that waits for its acknowledgement; beyond it windows are merged, then dropped. */
  EDGELOOP_BUFFER_MB: number(64, z.number().min(0.1).max(1_000_000)),
  /** How long telemetry waits for a control plane that is not there; what tells of longer ago is dropped and counted. */
  EDGELOOP_BUFFER_DAYS: number(30, z.number().min(0.01).max(3650)),
  /** Disk budget of captured samples; beyond it the oldest are dropped. */
  EDGELOOP_CAPTURE_MB: number(256, z.number().min(0).max(1_000_000)),
  /**
   * Where what was answered since the last window lies. `memory` spares a card and outlives the agent's processes, where the system
   * gives some; a power cut, or the end of the container that it is in, costs the open window.
   */
  EDGELOOP_JOURNAL: z.enum(['disk', 'memory']).default('disk'),
  /** How long a window is; one with few requests may last up to `EDGELOOP_WINDOW_MOST_SECONDS`. */
  EDGELOOP_WINDOW_SECONDS: optional(z.number().min(0.1).max(604_800)),
  /** Five minutes when unset, or as long as every other where that length is named. */
  EDGELOOP_WINDOW_MOST_SECONDS: optional(z.number().min(0.1).max(604_800)),
  /** What may be sent in a month: samples wait first, then windows get longer. As much as there is when unset. */
  EDGELOOP_MB_PER_MONTH: optional(z.number().min(1).max(1_000_000_000)),
  /** What may be written to the disk in a day: windows get longer, and fewer inputs are kept for labels. */
  EDGELOOP_WRITES_MB_PER_DAY: optional(z.number().min(1).max(1_000_000_000)),
  /** How long a new version is watched before it counts as good. */
  EDGELOOP_PROBATION_SECONDS: seconds(30),
  /** Bounds of the process in which a candidate is loaded and run first. */
  EDGELOOP_PROVE_TIMEOUT_SECONDS: seconds(60),
  EDGELOOP_PROVE_MEMORY_MB: number(2048, z.number().min(128).max(1_000_000)),
  /** As long as this file lies there, no other version is activated; its text is the reason. `hold` in the data folder when unset. */
  EDGELOOP_HOLD_FILE: z.string().min(1).optional(),
  /** Kilobits (1000 bits) a second at which models are fetched at most; as fast as they come when unset. */
  EDGELOOP_BANDWIDTH_KBPS: optional(z.number().min(1).max(1_000_000_000)),
  /** How often, with jitter, what is desired is read again although nothing seems to have changed. */
  EDGELOOP_REREAD_SECONDS: seconds(180),
  /** How long a stopping agent waits for requests in flight. */
  EDGELOOP_DRAIN_SECONDS: seconds(10),
  /** Name that `GET /v2` tells; some clients of Triton insist on `triton`. */
  EDGELOOP_SERVER_NAME: z.string().min(1).max(200).default('edgeloop-agent'),
  EDGELOOP_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
});

export type Config = ReturnType<typeof readConfig>;

/**
 * Reads the environment; empty variables count as unset.
 * @throws AppError `invalid_request` naming every variable that is wrong
 */
export function readConfig(environment: NodeJS.ProcessEnv) {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const result = Environment.safeParse(set);
  if (!result.success) {
    const errors = fieldErrors(result.error, '');
    const detail = errors.map((error) => `${error.field}: ${error.message}`).join('; ');
    throw new AppError('invalid_request', `the environment is invalid: ${detail}`, { errors, cause: result.error });
  }
  const env = result.data;
  if (env.EDGELOOP_ISOLATION === 'off' && env.EDGELOOP_SERVING_PROCESSES > 1)
    throw new AppError(
      'invalid_request',
      'the environment is invalid: EDGELOOP_ISOLATION=off leaves one process, EDGELOOP_SERVING_PROCESSES asks for more; unset one',
    );
  return Object.freeze({
    dataDir: resolve(env.EDGELOOP_AGENT_DATA_DIR),
    joinToken: env.EDGELOOP_JOIN,
    deviceId: env.EDGELOOP_DEVICE_ID ?? deviceIdOf(hostname()),
    labels: env.EDGELOOP_LABELS,
    host: env.EDGELOOP_AGENT_HOST,
    port: env.EDGELOOP_AGENT_PORT,
    grpcPort: env.EDGELOOP_GRPC_PORT,
    socketPath: env.EDGELOOP_AGENT_SOCKET,
    token: env.EDGELOOP_AGENT_TOKEN,
    tokensFile: env.EDGELOOP_TOKENS_FILE === undefined ? undefined : resolve(env.EDGELOOP_TOKENS_FILE),
    allowOrigins: env.EDGELOOP_ALLOW_ORIGINS,
    allowHosts: env.EDGELOOP_ALLOW_HOSTS,
    plainHttp: env.EDGELOOP_PLAIN_HTTP === 'on',
    quickRuns: env.EDGELOOP_QUICK_RUNS === 'on',
    isolation: env.EDGELOOP_ISOLATION === 'on',
    spareProcess: env.EDGELOOP_SPARE_PROCESS,
    servingProcesses: env.EDGELOOP_SERVING_PROCESSES,
    threads: env.EDGELOOP_THREADS,
    providers: env.EDGELOOP_PROVIDERS,
    maxRssBytes: env.EDGELOOP_MEMORY_MB * megabyte,
    silenceMs: env.EDGELOOP_HEARTBEAT_SECONDS * 1000,
    tuneMs: env.EDGELOOP_TUNE_SECONDS * 1000,
    bufferBytes: Math.round(env.EDGELOOP_BUFFER_MB * megabyte),
    bufferMs: env.EDGELOOP_BUFFER_DAYS * 86_400_000,
    captureBytes: Math.round(env.EDGELOOP_CAPTURE_MB * megabyte),
    journal: env.EDGELOOP_JOURNAL,
    windowMs: (env.EDGELOOP_WINDOW_SECONDS ?? 60) * 1000,
    windowMostMs: (env.EDGELOOP_WINDOW_MOST_SECONDS ?? env.EDGELOOP_WINDOW_SECONDS ?? 300) * 1000,
    monthlyBudgetBytes: bytesOf(env.EDGELOOP_MB_PER_MONTH),
    dailyWritesBudgetBytes: bytesOf(env.EDGELOOP_WRITES_MB_PER_DAY),
    probationMs: env.EDGELOOP_PROBATION_SECONDS * 1000,
    prove: Object.freeze({
      timeoutMs: env.EDGELOOP_PROVE_TIMEOUT_SECONDS * 1000,
      maxRssBytes: env.EDGELOOP_PROVE_MEMORY_MB * megabyte,
    }),
    holdFile: resolve(env.EDGELOOP_HOLD_FILE ?? join(env.EDGELOOP_AGENT_DATA_DIR, 'hold')),
    bandwidthKbps: env.EDGELOOP_BANDWIDTH_KBPS,
    rereadMs: env.EDGELOOP_REREAD_SECONDS * 1000,
    drainMs: env.EDGELOOP_DRAIN_SECONDS * 1000,
    serverName: env.EDGELOOP_SERVER_NAME,
    logLevel: env.EDGELOOP_LOG_LEVEL,
  });
}

/** Of what this process may use: a container's bound counts, too. */
function defaultMemoryMb(): number {
  const bound = process.constrainedMemory() || totalmem();
  return Math.max(512, Math.round((0.75 * Math.min(bound, totalmem())) / megabyte));
}

function toList(text: string | undefined): string[] | undefined {
  const named = wordsOf(text);
  return named.length === 0 ? undefined : named;
}

function wordsOf(text = ''): string[] {
  const words = text.split(',').map((word) => word.trim().toLowerCase());
  return words.filter((word) => word !== '');
}

function toOrigins(text: string | undefined, context: z.RefinementCtx): string[] {
  return wordsOf(text).map((word) => {
    const origin = word === '*' ? word : originOf(word);
    const message = `"${word}" must be an origin as browsers send it, such as http://kiosk.local or https://page.example:8443, or *`;
    if (origin === undefined) context.addIssue({ code: 'custom', message });
    return origin ?? word;
  });
}

function toHosts(text: string | undefined, context: z.RefinementCtx): string[] {
  return wordsOf(text).map((word) => {
    const name = word === '*' ? word : hostNameOf(word);
    const message = `"${word}" must be a host name or an address without scheme and path, or *`;
    if (name === undefined) context.addIssue({ code: 'custom', message });
    return name ?? word;
  });
}

function bytesOf(megabytes: number | undefined): number | undefined {
  return megabytes === undefined ? undefined : Math.round(megabytes * megabyte);
}

function toNumber(text: unknown): number {
  return typeof text === 'string' && /^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : Number.NaN;
}

function toLabels(text: string, context: z.RefinementCtx): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const part of text.split(',').map((each) => each.trim())) {
    if (part === '') continue;
    const [key = '', value, ...rest] = part.split('=');
    if (value === undefined || rest.length > 0)
      context.addIssue({ code: 'custom', message: `"${part}" must have the form key=value` });
    else labels[key.trim()] = value.trim();
  }
  return labels;
}

/** A host name may hold what an identifier may not. */
function deviceIdOf(name: string): string {
  const id = name
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 63);
  return id === '' ? 'device' : id;
}
