// The control plane's environment, parsed once into one frozen Config. Every default works unset on one machine.
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { AppError, fieldErrors } from '@edgeloop/shared/errors';
import { z } from 'zod';

const dayMs = 86_400_000;

const port = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .refine(
      (text) => /^\d+$/.test(text) && Number(text) <= 65_535,
      'must be a TCP port, 0 to 65535; 0 takes a free one',
    )
    .transform(Number);

const amount = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((text) => /^\d{1,6}$/.test(text) && Number(text) >= 1, 'must be a whole number from 1 to 999999')
    .transform(Number);

/** Variable, unit and consequence; `docs/configuration.md` lists them for operators. */
const Environment = z.object({
  /** Database, blobs, CA, keys. Two servers cannot share one. */
  EDGELOOP_DATA_DIR: z.string().default('data/control-plane'),
  /** Where operators reach the API and the dashboard. */
  EDGELOOP_HTTP_HOST: z.string().default('127.0.0.1'),
  EDGELOOP_HTTP_PORT: port(7400),
  /** Where devices enrol and fetch (HTTPS), and, on the MQTT port, stay connected. */
  EDGELOOP_DEVICE_HOST: z.string().default('0.0.0.0'),
  EDGELOOP_DEVICE_PORT: port(7443),
  EDGELOOP_MQTT_PORT: port(8883),
  EDGELOOP_MQTT_URL: z.string().optional(),
  /** `postgres://user:password@host/name`; SQLite in the data folder when unset. */
  EDGELOOP_DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL; leave it unset for SQLite in the data folder')
    .optional(),
  EDGELOOP_BLOBS_URL: z.string().optional(),
  /** Host names and addresses of this server as devices know it, separated by commas. */
  EDGELOOP_PUBLIC_HOST: z
    .string()
    .default(`${hostname()},localhost,127.0.0.1`)
    .transform((text) => [...new Set(text.split(',').map((host) => host.trim()))])
    .refine((hosts) => hosts.every((host) => /^[A-Za-z0-9._:-]+$/.test(host)), 'must be host names or addresses'),
  /** Hosts, addresses and ranges, each with or without `:port`, that webhooks may reach though they are not public. */
  EDGELOOP_WEBHOOK_ALLOW: z
    .string()
    .default('')
    .transform((text) =>
      text
        .split(',')
        .map((entry) => entry.trim())
        .filter((entry) => entry !== ''),
    ),
  /** Single windows of telemetry are kept for so many days, and so many megabytes of them. */
  EDGELOOP_KEEP_WINDOWS_DAYS: amount(7),
  EDGELOOP_KEEP_WINDOWS_MB: amount(8192),
  /** What was put together of them, labels, judged windows: by the hour and day. */
  EDGELOOP_KEEP_HISTORY_DAYS: amount(400),
  /** Samples that devices sent for training. */
  EDGELOOP_KEEP_SAMPLES_DAYS: amount(400),
  /** Lines and curves of training runs. */
  EDGELOOP_KEEP_LOGS_DAYS: amount(90),
  EDGELOOP_KEEP_AUDIT_DAYS: amount(730),
  /** Labels of devices by which charts are put together as windows come in, separated by commas; `none` for none. */
  EDGELOOP_CHART_LABELS: z
    .string()
    .default('site')
    .transform((text) =>
      [...new Set(text.split(',').map((label) => label.trim()))].filter((label) => label !== '' && label !== 'none'),
    )
    .refine(
      (labels) => labels.length <= 8 && labels.every((label) => /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(label)),
      'must be up to 8 keys of labels separated by commas, or none',
    ),
  EDGELOOP_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
});

export interface Config {
  readonly dataDir: string;
  readonly http: { readonly host: string; readonly port: number };
  readonly device: { readonly host: string; readonly port: number };
  readonly mqttPort: number;
  readonly databaseUrl: string | undefined;
  readonly publicHosts: readonly string[];
  readonly webhookAllow: readonly string[];
  readonly chartLabels: readonly string[];
  readonly keep: {
    readonly windowsMs: number;
    readonly windowsBytes: number;
    readonly historyMs: number;
    readonly samplesMs: number;
    readonly logsMs: number;
    readonly auditMs: number;
  };
  readonly logLevel: z.infer<typeof Environment>['EDGELOOP_LOG_LEVEL'];
}

/**
 * Reads the environment; empty variables count as unset.
 * @throws AppError `invalid_request` naming every variable that is wrong, `unsupported` for what is not built
 */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const result = Environment.safeParse(set);
  if (!result.success) {
    const errors = fieldErrors(result.error, '');
    const detail = errors.map((error) => `${error.field}: ${error.message}`).join('; ');
    throw new AppError('invalid_request', `the environment is invalid: ${detail}`, { errors, cause: result.error });
  }
  const env = result.data;
  refuseUnsupported(env);
  return Object.freeze({
    dataDir: resolve(env.EDGELOOP_DATA_DIR),
    http: Object.freeze({ host: env.EDGELOOP_HTTP_HOST, port: env.EDGELOOP_HTTP_PORT }),
    device: Object.freeze({ host: env.EDGELOOP_DEVICE_HOST, port: env.EDGELOOP_DEVICE_PORT }),
    mqttPort: env.EDGELOOP_MQTT_PORT,
    databaseUrl: env.EDGELOOP_DATABASE_URL,
    publicHosts: Object.freeze(env.EDGELOOP_PUBLIC_HOST),
    webhookAllow: Object.freeze(env.EDGELOOP_WEBHOOK_ALLOW),
    chartLabels: Object.freeze(env.EDGELOOP_CHART_LABELS),
    keep: Object.freeze({
      windowsMs: env.EDGELOOP_KEEP_WINDOWS_DAYS * dayMs,
      windowsBytes: env.EDGELOOP_KEEP_WINDOWS_MB * 1024 ** 2,
      historyMs: env.EDGELOOP_KEEP_HISTORY_DAYS * dayMs,
      samplesMs: env.EDGELOOP_KEEP_SAMPLES_DAYS * dayMs,
      logsMs: env.EDGELOOP_KEEP_LOGS_DAYS * dayMs,
      auditMs: env.EDGELOOP_KEEP_AUDIT_DAYS * dayMs,
    }),
    logLevel: env.EDGELOOP_LOG_LEVEL,
  });
}

function refuseUnsupported(env: z.output<typeof Environment>): void {
  if (env.EDGELOOP_MQTT_URL !== undefined)
    throw new AppError(
      'unsupported',
      'EDGELOOP_MQTT_URL: an external broker is not supported yet; unset it to use the embedded one',
    );
  if (env.EDGELOOP_BLOBS_URL !== undefined)
    throw new AppError(
      'unsupported',
      'EDGELOOP_BLOBS_URL: blobs outside the data folder are not supported yet; unset it',
    );
}
