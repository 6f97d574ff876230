// The demo's control plane and agents, started fresh in a folder of their own.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Device } from '@edgeloop/shared/api/devices';
import { pageOf } from '@edgeloop/shared/api/paging';
import { type AppError, parseJson } from '@edgeloop/shared/errors';
import { readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import { z } from 'zod';
import { type ApiClient, createClient } from '../cli/client.ts';
import { endLeftovers, freePort, type Program, startProgram } from './processes.ts';
import { patienceMs, waitFor } from './wait.ts';

export interface DemoFleet {
  api: ApiClient;
  /** Where the dashboard is, with the key that opens it. */
  dashboardUrl: string;
  /** Local ports of the agents. */
  agentUrls: string[];
  deviceIds: string[];
  stop(): Promise<void>;
}

export interface FleetOptions {
  /** Folder of the workspace. */
  root: string;
  /** Wiped before the start. */
  dataDir: string;
  agents: number;
  signal: AbortSignal;
  onDeath: (error: AppError) => void;
}

/** Starts everything and waits until every agent is online. On failure what was started is stopped again. */
export async function startFleet(options: FleetOptions): Promise<DemoFleet> {
  const pidsPath = join(options.dataDir, 'pids.json');
  await endLeftovers(await readPids(pidsPath));
  rmSync(options.dataDir, { recursive: true, force: true });
  const programs: Program[] = [];
  const stop = async () => {
    await Promise.all(programs.splice(1).map((program) => program.stop()));
    await programs[0]?.stop();
  };
  try {
    const { api, url, key } = await startControlPlane(options, programs);
    const agents = await startAgents(options, api, programs);
    await writeDurably(pidsPath, JSON.stringify(programs.map(({ pid }) => pid)));
    return { api, dashboardUrl: `${url}/#key=${key}`, ...agents, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Process ids of an earlier demo; none when it never ran here. */
async function readPids(path: string): Promise<number[]> {
  const text = await readIfPresent(path);
  return text === undefined ? [] : parseJson(z.array(z.number().int().min(2)), text, path, 'internal');
}

async function startControlPlane({ root, dataDir, signal, onDeath }: FleetOptions, programs: Program[]) {
  const port = await freePort(7400);
  const url = `http://127.0.0.1:${port}`;
  const folder = join(dataDir, 'control-plane');
  programs.push(
    startProgram({
      name: 'control plane',
      args: [join(root, 'control-plane/bin/edgeloop.js'), 'server'],
      env: {
        EDGELOOP_DATA_DIR: folder,
        EDGELOOP_HTTP_PORT: String(port),
        EDGELOOP_DEVICE_HOST: '127.0.0.1',
        EDGELOOP_DEVICE_PORT: String(await freePort(7443)),
        EDGELOOP_MQTT_PORT: String(await freePort(8883)),
        EDGELOOP_PUBLIC_HOST: '127.0.0.1',
      },
      logPath: join(dataDir, 'logs/control-plane.log'),
      onDeath,
    }),
  );
  await waitFor({ what: 'the control plane being ready', timeoutMs: patienceMs, signal }, async () =>
    (await fetch(`${url}/readyz`)).ok ? true : undefined,
  );
  const key = readFileSync(join(folder, 'admin.key'), 'utf8').trim();
  return { api: createClient({}, { url, key }), url, key };
}

async function startAgents(
  { root, dataDir, agents, signal, onDeath }: FleetOptions,
  api: ApiClient,
  programs: Program[],
) {
  const { token } = await api.send('POST', '/join-tokens', CreatedJoinToken, { uses: agents, labels: { demo: 'yes' } });
  const deviceIds: string[] = [];
  const agentUrls: string[] = [];
  for (let i = 0; i < agents; i++) {
    const id = `gateway-${i + 1}`;
    const port = await freePort(8000 + i);
    deviceIds.push(id);
    agentUrls.push(`http://127.0.0.1:${port}`);
    programs.push(
      startProgram({
        name: `agent ${id}`,
        args: [join(root, 'agent/bin/edgeloop-agent.js'), 'run'],
        env: {
          EDGELOOP_AGENT_DATA_DIR: join(dataDir, id),
          EDGELOOP_JOIN: token,
          EDGELOOP_DEVICE_ID: id,
          EDGELOOP_LABELS: `site=${['paris', 'oslo', 'rome'][i % 3]}`,
          EDGELOOP_AGENT_PORT: String(port),
          EDGELOOP_THREADS: '1',
          EDGELOOP_WINDOW_SECONDS: '3',
          EDGELOOP_PROBATION_SECONDS: '3',
        },
        logPath: join(dataDir, `logs/${id}.log`),
        onDeath,
      }),
    );
  }
  await waitFor({ what: `${agents} agents being online`, timeoutMs: patienceMs, signal }, async () => {
    const { items } = await api.get('/devices', pageOf(Device), { status: 'online' });
    return items.length === agents ? true : undefined;
  });
  return { deviceIds, agentUrls };
}
