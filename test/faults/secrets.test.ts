// What a device keeps to itself: its files are for its user alone, and no child is handed a secret that it does not need.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { joinToken, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { processTree } from '../support/serving.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plane: ControlPlane;
let agent: Agent;
let token: string;
/** Environments of children that came and went, by process id. */
const environments = new Map<number, string>();

beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(`${folder.path}/server`);
  token = await joinToken(plane);
  const env = { CLOUD_SECRET: 'hush-hush' };
  agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token, env });
  const looking = setInterval(() => void look(), 20);
  const version = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
  clearInterval(looking);
  await look();
}, 120_000);
afterAll(async () => {
  await agent?.stop();
  await plane?.stop();
  await folder.remove();
});

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
}

async function look(): Promise<void> {
  for (const pid of (await processTree(agent.program.pid)).keys()) {
    if (pid === agent.program.pid) continue;
    try {
      const text = readFileSync(`/proc/${pid}/environ`, 'utf8');
      // Before it becomes the program that it is to be, a child is a copy of its parent.
      if (text !== '' && commandOf(pid) !== commandOf(agent.program.pid)) environments.set(pid, text);
    } catch {
      // It has ended meanwhile.
    }
  }
}

test.runIf(process.platform === 'linux')('no child of the agent is given its join token or another secret', () => {
  expect(environments.size).toBeGreaterThan(0);
  for (const text of environments.values()) {
    expect(text).not.toContain('EDGELOOP_JOIN');
    expect(text).not.toContain(token);
    expect(text).not.toContain('hush-hush');
    expect(text).toContain('PATH=');
  }
});

test('all that the agent keeps is for its user alone', async () => {
  await predict(agent.url, 'sum', { a: 1, b: 2 });
  const home = `${folder.path}/agent`;
  expect(statSync(home).mode & 0o777).toBe(0o700);
  const files = readdirSync(home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.map(({ name }) => name)).toEqual(expect.arrayContaining(['agent.db', 'agent.db-wal', 'unjournalled']));
  expect(files.some(({ name }) => name.endsWith('.journal'))).toBe(true);
  for (const { name, parentPath } of files) {
    const path = join(parentPath, name);
    expect(`${path} ${(statSync(path).mode & 0o777).toString(8)}`).toBe(`${path} 600`);
  }
});
