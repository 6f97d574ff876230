// The fleet that the rounds hit: a control plane and agents as real processes, on disks of their own where that is permitted, with
// callers on every agent.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { joinToken } from '../../support/fleet.ts';
import {
  type Agent,
  type ControlPlane,
  startAgent,
  startControlPlane,
  temporaryFolder,
} from '../../support/programs.ts';
import { type SmallDisk, smallDisk } from '../../support/small-disk.ts';
import { until } from '../../support/until.ts';
import { type Callers, startCallers } from './callers.ts';
import { type Answer, createLedger, type Ledger } from './ledger.ts';
import { proveMemoryMb } from './versions.ts';

/** `changing` gets the versions of the rounds; the others stay as they are, the last one in a process of its own. */
export const models = { changing: 'sum', calm: 'calm', apart: 'apart' } as const;
const allModels = Object.values(models);
/** Megabytes. */
const agentDisk = 96;
const serverDisk = 192;

/** A good version that was registered. */
export interface Release {
  model: string;
  version: number;
  /** SHA-256 of the release document. */
  release: string;
  high: number;
}

export interface FaultAgent {
  agent: Agent;
  folder: string;
  disk: SmallDisk | undefined;
  ledger: Ledger;
  callers: Callers;
  /** We ended it and nobody can listen. */
  isDown: boolean;
}

export interface FaultFleet {
  folder: string;
  logs: string;
  plane: ControlPlane;
  planeDisk: SmallDisk | undefined;
  agents: FaultAgent[];
  /** Every good version, oldest first. */
  releases: Release[];
  /** The good version of a model that should answer; of two with one number it is told by its score. */
  expected: Map<string, Release>;
  /** Makes each pushed version unlike the others. */
  pushed: number;
  labels: { accepted: number; uncertain: number };
  /** Things that must not happen, with what was seen; the round takes them from here. */
  violations: string[];
  /** A small disk at this path, where that is permitted. */
  mount(path: string, megabytes: number): SmallDisk | undefined;
  close(): Promise<void>;
}

/** A control plane without agents. */
export async function startFleet(options: { disks: boolean; logs: string }): Promise<FaultFleet> {
  const { path: folder, remove } = await temporaryFolder();
  const mounted: SmallDisk[] = [];
  const mount = (path: string, megabytes: number): SmallDisk | undefined => {
    if (!options.disks) return undefined;
    const disk = smallDisk(megabytes, path);
    mounted.push(disk);
    return disk;
  };
  const clear = async (): Promise<void> => {
    for (const disk of mounted) disk.remove();
    await remove();
  };
  await mkdir(options.logs, { recursive: true });
  const planeDisk = mount(join(folder, 'server'), serverDisk);
  const plane = await startControlPlane(join(folder, 'server'), {}, join(options.logs, 'server.log')).catch(
    async (error: unknown) => {
      await clear();
      throw error;
    },
  );
  const agents: FaultAgent[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(agents.map(({ callers }) => callers.stop()));
    for (const program of [...agents.map(({ agent }) => agent), plane])
      await program.stop().catch(() => program.kill());
    await clear();
  };
  return {
    ...{ folder, logs: options.logs, plane, planeDisk, agents, mount, close },
    ...{ releases: [], expected: new Map(), pushed: 0, labels: { accepted: 0, uncertain: 0 }, violations: [] },
  };
}

/** Starts so many agents, each with its callers, who rest yet. */
export async function joinAgents(fleet: FaultFleet, count: number): Promise<void> {
  const token = await joinToken(fleet.plane, count);
  for (let number = 1; number <= count; number++) {
    const id = `edge-${number}`;
    const folder = join(fleet.folder, id);
    const disk = fleet.mount(folder, agentDisk);
    fleet.agents.push(await joinAgent({ id, folder, disk, token, logPath: join(fleet.logs, `${id}.log`) }));
  }
}

async function joinAgent(
  options: Pick<FaultAgent, 'folder' | 'disk'> & { id: string; token: string; logPath: string },
): Promise<FaultAgent> {
  const env = {
    EDGELOOP_TUNE_SECONDS: '0',
    EDGELOOP_REREAD_SECONDS: '3',
    EDGELOOP_PROVE_MEMORY_MB: String(proveMemoryMb),
    EDGELOOP_DRAIN_SECONDS: '3',
  };
  const agent = await startAgent({ ...options, env });
  const ledger = createLedger();
  const { folder, disk } = options;
  const own: Omit<FaultAgent, 'callers'> = { agent, folder, disk, ledger, isDown: false };
  const callers = startCallers({ url: agent.url, models: allModels, ledger, isDown: () => made.isDown });
  const made: FaultAgent = { ...own, callers };
  return made;
}

/** Notes a good version that the server took. */
export function noteRelease(fleet: FaultFleet, detail: ModelVersionDetail, high: number): Release {
  const { model, version, release } = detail;
  const made = { model, version, release, high };
  fleet.releases.push(made);
  return made;
}

/** Whether the bytes of this release gave the answer. */
export function isFrom(answer: Answer | undefined, { model, version, high }: Release): boolean {
  return answer?.model === model && answer.version === version && Math.abs(answer.high - high) < 1e-5;
}

/** Waits until every agent answers every model with what it should. */
export async function everybodyServes(fleet: FaultFleet, timeoutMs: number): Promise<void> {
  for (const { ledger } of fleet.agents) ledger.forget();
  for (const { agent, ledger } of fleet.agents)
    for (const [model, release] of fleet.expected) {
      const answers = () => JSON.stringify(ledger.last(model));
      await until(
        `${agent.id} answering with ${model} ${release.version}`,
        async () => isFrom(ledger.last(model), release) || undefined,
        { timeoutMs, context: () => `the last answer: ${answers()}\n${agent.program.output().slice(-3000)}` },
      );
    }
}
