// Every call of the service but the inferences: what HTTP answers under its paths, by the names that gRPC has for them.
import { AppError, parse } from '@edgeloop/shared/errors';
import { z } from 'zod';
import type { Right } from '../../process/ipc.ts';
import { type AppDeps, extensions } from '../app.ts';
import { leaseNamed } from '../lease.ts';
import { configOf, metadataOf } from '../models.ts';
import { noSharedMemory } from '../not-offered.ts';
import { checkedName, indexOf, loadModel } from '../repository.ts';
import { logSettings, refuseLogChanges, refuseTraceChanges, traceSettings } from '../settings.ts';
import { statisticsOf } from '../statistics.ts';
import type { MessageName } from './schema.ts';

export const inference = 'inference.GRPCInferenceService';
const health = 'grpc.health.v1.Health';

/** Probes carry no tokens. */
export const open = new Set([`/${health}/Check`]);

export interface UnaryCall {
  path: string;
  request: MessageName;
  response: MessageName;
  right?: Right;
  answer(deps: AppDeps, message: unknown): object | Promise<object>;
}

const Text = z.string().default('');
const Named = z.object({ name: Text, version: Text });
const IndexRequest = z.object({ ready: z.boolean().default(false) });
const ChangeRequest = z.object({
  model_name: Text,
  parameters: z.record(z.string(), z.record(z.string(), z.unknown())).default({}),
});
const TraceRequest = z.object({
  settings: z.record(z.string(), z.object({ value: z.array(z.string()).default([]) })).default({}),
  model_name: Text,
});
const LogRequest = z.object({ settings: z.record(z.string(), z.record(z.string(), z.unknown())).default({}) });
const HealthRequest = z.object({ service: Text });

export const unaryCalls: readonly UnaryCall[] = [
  call('ServerLive', 'Empty', 'ServerLiveResponse', () => ({ live: true })),
  call('ServerReady', 'Empty', 'ReadyResponse', ({ isReady }) => ({ ready: isReady() })),
  call('ModelReady', 'NamedRequest', 'ReadyResponse', modelReady),
  call('ServerMetadata', 'Empty', 'ServerMetadataResponse', ({ serverName: name, agentVersion: version }) => ({
    name,
    version,
    extensions,
  })),
  call('ModelMetadata', 'NamedRequest', 'ModelMetadataResponse', (deps, message) =>
    ofModel(deps, message, (lease) => metadataOf(lease, deps.engine)),
  ),
  call('ModelConfig', 'NamedRequest', 'ModelConfigResponse', (deps, message) =>
    ofModel(deps, message, (lease) => ({ config: configOf(lease) })),
  ),
  call('ModelStatistics', 'NamedRequest', 'ModelStatisticsResponse', (deps, message) => {
    const { name, version } = parse(Named, message, 'request');
    return statisticsOf(deps, name || undefined, version || undefined);
  }),
  call('RepositoryIndex', 'RepositoryIndexRequest', 'RepositoryIndexResponse', (deps, message) => ({
    models: indexOf(deps, parse(IndexRequest, message, 'request').ready),
  })),
  { ...call('RepositoryModelLoad', 'RepositoryModelRequest', 'Empty', load), right: 'repository' },
  { ...call('RepositoryModelUnload', 'RepositoryModelRequest', 'Empty', unload), right: 'repository' },
  call('TraceSetting', 'TraceSettingRequest', 'TraceSettingResponse', traceSetting),
  call('LogSettings', 'LogSettings', 'LogSettings', logging),
  ...['SystemSharedMemory', 'CudaSharedMemory'].flatMap((kind) =>
    ['Status', 'Register', 'Unregister'].map((deed) => call(`${kind}${deed}`, 'Empty', 'Empty', refuseSharedMemory)),
  ),
  { ...call('', 'HealthCheckRequest', 'HealthCheckResponse', healthCheck), path: `/${health}/Check` },
];

function call(name: string, request: MessageName, response: MessageName, answer: UnaryCall['answer']): UnaryCall {
  return { path: `/${inference}/${name}`, request, response, answer };
}

function ofModel(
  { engine }: AppDeps,
  message: unknown,
  tell: (lease: ReturnType<typeof leaseNamed>) => object,
): object {
  const { name, version } = parse(Named, message, 'request');
  const lease = leaseNamed(engine, name, version || undefined);
  try {
    return tell(lease);
  } finally {
    lease.release();
  }
}

/** Triton answers false where HTTP answers 404. */
function modelReady(deps: AppDeps, message: unknown): object {
  try {
    return ofModel(deps, message, () => ({ ready: true }));
  } catch (error) {
    if (error instanceof AppError && (error.code === 'not_found' || error.code === 'unavailable'))
      return { ready: false };
    throw error;
  }
}

async function load(deps: AppDeps, message: unknown): Promise<object> {
  const { model_name: name, parameters } = parse(ChangeRequest, message, 'request');
  const { repository: channel, overridesDir } = deps;
  const values = Object.entries(parameters).map(([key, parameter]) => [key, Object.values(parameter)[0]]);
  await loadModel({ channel, overridesDir }, checkedName(name), async () => Object.fromEntries(values));
  return {};
}

async function unload({ repository }: AppDeps, message: unknown): Promise<object> {
  await repository.change('unload', checkedName(parse(ChangeRequest, message, 'request').model_name));
  return {};
}

function traceSetting({ engine }: AppDeps, message: unknown): object {
  const { settings, model_name: name } = parse(TraceRequest, message, 'request');
  if (name !== '') leaseNamed(engine, name, undefined).release();
  // A setting without a value is asked to go back to its default.
  const changes = Object.entries(settings).map(([key, { value }]) => {
    const present = traceSettings[key];
    return [key, value.length === 0 ? null : Array.isArray(present) ? value : value[0]];
  });
  refuseTraceChanges(Object.fromEntries(changes));
  const told = Object.entries(traceSettings).map(([key, value]) => [
    key,
    { value: Array.isArray(value) ? value : [value] },
  ]);
  return { settings: Object.fromEntries(told) };
}

function logging({ logLevel }: AppDeps, message: unknown): object {
  const { settings } = parse(LogRequest, message, 'request');
  const changes = Object.entries(settings).map(([key, value]) => [key, Object.values(value)[0] ?? null]);
  refuseLogChanges(Object.fromEntries(changes), logLevel);
  const kinds = { boolean: 'bool_param', number: 'uint32_param', string: 'string_param' } as const;
  const told = Object.entries(logSettings(logLevel)).map(([key, value]) => [key, { [kinds[kindOf(value)]]: value }]);
  return { settings: Object.fromEntries(told) };
}

function kindOf(value: unknown): 'boolean' | 'number' | 'string' {
  return typeof value === 'boolean' ? 'boolean' : typeof value === 'number' ? 'number' : 'string';
}

function refuseSharedMemory(): never {
  throw new AppError('unsupported', noSharedMemory);
}

function healthCheck({ isReady }: AppDeps, message: unknown): object {
  const { service } = parse(HealthRequest, message, 'request');
  if (service !== '' && service !== inference && service !== health)
    throw new AppError('not_found', `there is no service "${service}"`);
  return { status: isReady() ? 'SERVING' : 'NOT_SERVING' };
}
