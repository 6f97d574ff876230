// How the serving process is started: the one place that turns the agent's configuration into that of its child.
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { childEnvironment } from '@edgeloop/shared/node/child-environment';
import type { Config } from '../config.ts';
import type { PendingWrites } from '../storage/pending-writes.ts';
import { version } from '../version.ts';
import type { ServingConfigInput } from './ipc.ts';
import { readLocalTokens } from './local-tokens.ts';
import { clearRunningNote } from './running-note.ts';
import { type Runner, readRunningNote } from './running-report.ts';

interface ServingState {
  /** Where it is kept what runs at this moment; must exist. */
  stateDir: string;
  /** Whether answers are journalled for telemetry. */
  journalled: boolean;
  /** Where models are put that come with a load request; unset where they come from the fleet alone. */
  overridesDir?: string;
  /** Where it is counted what could not be journalled. */
  missingNotePath?: string;
  writes: PendingWrites;
}

/** Of glibc. Each of its arenas keeps what was freed in it; two are enough for threads that seldom allocate. */
const allocation = { MALLOC_ARENA_MAX: '2' };

/** Environment of the serving process, and what it noted as running. */
export function servingEnvironment(
  config: Config,
  { stateDir, journalled, overridesDir, missingNotePath, writes }: ServingState,
) {
  const { serverName, threads, providers, maxRssBytes, allowOrigins, plainHttp, quickRuns, logLevel } = config;
  const runningNotePath = join(stateDir, 'running-note');
  const clearNote = () => writes.write('running-note', () => clearRunningNote(runningNotePath));
  clearNote();
  // As former versions called it; nobody would ever remove it.
  writes.write('inflight', () => rmSync(join(stateDir, 'inflight'), { recursive: true, force: true }));
  const serving: ServingConfigInput = {
    agentVersion: version,
    serverName,
    threads,
    providers,
    maxRssBytes,
    tokens: readLocalTokens(config),
    allowOrigins,
    hosts: [config.host, hostname(), ...config.allowHosts],
    plainHttp,
    quickRuns,
    logLevel,
    runningNotePath,
    journalled,
    missingNotePath,
    overridesDir,
    grpc: config.grpcPort !== undefined,
  };
  const env: NodeJS.ProcessEnv = {
    ...allocation,
    ...childEnvironment(),
    ORT_DISABLE_TELEMETRY: '1',
    EDGELOOP_SERVING_CONFIG: JSON.stringify(serving),
  };
  /** Read once: what one process noted says nothing about the death of the next. */
  const takeRunningNote = (of: Runner) => {
    const running = readRunningNote(runningNotePath, of);
    clearNote();
    return running;
  };
  return { env, takeRunningNote };
}
