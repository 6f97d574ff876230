// A control plane with one agent, shared by the tests of a file.
import { afterAll, beforeAll } from 'vitest';
import { joinToken } from './fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from './programs.ts';

export interface OneAgentFleet {
  plane: ControlPlane;
  agent: Agent;
  agentFolder: string;
}

/** Call it once in a file; its tests find the fleet as the one before left it. */
export function oneAgentFleet(agentEnv: Record<string, string> = {}): () => OneAgentFleet {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let plane: ControlPlane | undefined;
  let agent: Agent | undefined;
  beforeAll(async () => {
    folder = await temporaryFolder();
    plane = await startControlPlane(`${folder.path}/server`);
    const token = await joinToken(plane);
    agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token, env: agentEnv });
  });
  afterAll(async () => {
    await agent?.stop();
    await plane?.stop();
    await folder.remove();
  });
  return () => {
    if (plane === undefined || agent === undefined) throw new Error('the fleet has not started');
    return { plane, agent, agentFolder: `${folder.path}/agent` };
  };
}
