// How the serving process is started: the one place that turns the agent's configuration into that of its child.
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { childEnvironment } from '@edgeloop/shared/node/child-environment';
import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { version } from '../version.ts';
import type { LocalToken, ServingConfigInput } from './ipc.ts';
import { readLocalTokens } from './local-tokens.ts';
import { placeOf } from './places.ts';
import { clearRunningNote, placeRunningNote } from './running-note.ts';
import { type Runner, readRunningNote } from './running-report.ts';
import type { ServingProcessesOptions } from './serving-processes.ts';

interface ServingState {
  /** Where each process keeps its files; must exist. */
  stateDir: string;
  /** Its place among the serving processes, from 0 on. */
  process: number;
  /** Of local callers. */
  tokens: readonly LocalToken[];
  /** Whether answers are journalled for telemetry. */
  journalled: boolean;
  /** Where models are put that come with a load request; unset where they come from the fleet alone. */
  overridesDir?: string;
  writes: PendingWrites;
}

/** Of glibc. Each of its arenas keeps what was freed in it; two are enough for threads that seldom allocate. */
const allocation = { MALLOC_ARENA_MAX: '2' };

/** What each of the serving processes may take of what all may together. */
function shareOf({ threads, maxRssBytes, servingProcesses }: Config) {
  return { threads: Math.ceil(threads / servingProcesses), maxRssBytes: maxRssBytes / servingProcesses };
}

/** What a serving process is told at its start. */
export function servingConfig(
  config: Config,
  { stateDir, process, tokens, journalled, overridesDir }: Omit<ServingState, 'writes'>,
): ServingConfigInput {
  const { serverName, providers, allowOrigins, plainHttp, quickRuns, logLevel } = config;
  const { runningNotePath, missingNotePath } = placeOf(stateDir, process);
  return {
    agentVersion: version,
    serverName,
    process: { place: process, of: config.servingProcesses },
    ...shareOf(config),
    providers,
    tokens: [...tokens],
    allowOrigins,
    hosts: [config.host, hostname(), ...config.allowHosts],
    plainHttp,
    quickRuns,
    logLevel,
    runningNotePath,
    journalled,
    missingNotePath: journalled ? missingNotePath : undefined,
    overridesDir,
    grpc: config.grpcPort !== undefined,
  };
}

/** Environment of the serving process, and what it noted as running. */
export function servingEnvironment(config: Config, state: ServingState) {
  const { stateDir, process, writes } = state;
  const path = placeOf(stateDir, process).runningNotePath;
  const runningNotePath = placeRunningNote(path);
  const clearNote = () => writes.write(basename(path), () => clearRunningNote(runningNotePath));
  clearNote();
  // One of a former start says nothing any more.
  if (runningNotePath !== path) writes.write(`${basename(path)} of before`, () => rmSync(path, { force: true }));
  // As former versions called it; nobody would ever remove it.
  writes.write('inflight', () => rmSync(join(stateDir, 'inflight'), { recursive: true, force: true }));
  const env: NodeJS.ProcessEnv = {
    ...allocation,
    ...childEnvironment(),
    ORT_DISABLE_TELEMETRY: '1',
    EDGELOOP_SERVING_CONFIG: JSON.stringify({ ...servingConfig(config, state), runningNotePath }),
  };
  /** Read once: what one process noted says nothing about the death of the next. */
  const takeRunningNote = (of: Runner) => {
    const running = readRunningNote(runningNotePath, of);
    clearNote();
    return running;
  };
  return { env, takeRunningNote };
}

/** How each serving process is started and watched, in the order of their places. */
export function servingOptions(
  config: Config,
  { log, ...state }: Omit<ServingState, 'process' | 'tokens'> & { log: Logger },
): ServingProcessesOptions {
  const { servingProcesses, prove, silenceMs, spareProcess } = config;
  const tokens = readLocalTokens(config);
  const processes = Array.from({ length: servingProcesses }, (_, process) => ({
    marker: state.stateDir,
    pidPath: placeOf(state.stateDir, process).pidPath,
    writes: state.writes,
    ...servingEnvironment(config, { ...state, process, tokens }),
    callTimeoutMs: Math.max(2 * prove.timeoutMs, 30_000),
    silenceMs,
    maxRssBytes: shareOf(config).maxRssBytes,
    // Of several the others go on while one is started.
    spareProcess: servingProcesses === 1 ? spareProcess : ('off' as const),
    log,
  }));
  return { processes, tokens };
}
