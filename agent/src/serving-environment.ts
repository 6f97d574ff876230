// How the serving process is started: the one place that turns the agent's configuration into that of its child.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { agentVersion } from './device-facts.ts';
import { readInflight } from './inference/inflight-report.ts';
import type { ServingConfigInput } from './ipc.ts';

interface ServingState {
  deviceId: string;
  /** Where it is kept what runs at this moment; must exist. */
  stateDir: string;
  /** Whether answers are journalled for telemetry. */
  journalled: boolean;
  /** Where models are put that come with a load request; unset where they come from the fleet alone. */
  overridesDir?: string;
}

/**
 * How glibc keeps memory. Each arena keeps what was freed in it; two are enough for threads that seldom allocate. Blocks from
 * 4 MiB on, the rings among them, go back to the system when they are freed: left to itself glibc moves them into its heap
 * after the first, where each swap of a model leaves some of it behind.
 */
const allocation = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '4194304', MALLOC_TRIM_THRESHOLD_: '8388608' };

/** Environment of the serving process, and what it noted as running. */
export function servingEnvironment(config: Config, { deviceId, stateDir, journalled, overridesDir }: ServingState) {
  const { serverName, threads, providers, maxRssBytes, token, logLevel } = config;
  const inflightPath = join(stateDir, 'inflight');
  const serving: ServingConfigInput = {
    deviceId,
    agentVersion,
    serverName,
    threads,
    providers,
    maxRssBytes,
    token,
    logLevel,
    inflightPath,
    journalled,
    overridesDir,
  };
  const env: NodeJS.ProcessEnv = {
    ...allocation,
    ...process.env,
    ORT_DISABLE_TELEMETRY: '1',
    EDGELOOP_SERVING_CONFIG: JSON.stringify(serving),
  };
  /** Read once: what one process noted says nothing about the death of the next. */
  const inFlight = () => {
    const running = readInflight(inflightPath);
    rmSync(inflightPath, { force: true });
    return running;
  };
  return { env, inFlight };
}
