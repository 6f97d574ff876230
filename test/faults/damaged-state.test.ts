// Whatever became of the files that an agent keeps, it starts, serves the models on its disk, and says what is wrong.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { joinToken, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plane: ControlPlane;
let version: number;
/** A data folder as an agent that was killed leaves it. */
let whole: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(`${folder.path}/server`);
  whole = join(folder.path, 'whole');
  const agent = await startAgent({ folder: whole, id: 'edge-1', token: await joinToken(plane) });
  version = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
  await agent.kill();
}, 120_000);
afterAll(async () => {
  await plane?.stop();
  await folder.remove();
});

const identity = ['identity/identity.json', 'identity/key.pem'];
const kept = ['agent.lock', 'agent.json', 'agent.db', 'serving.pid', 'running-note', 'reserve.bin', 'unjournalled'];

type Damage = (path: string, content: Buffer) => void;
const damages: [string, Damage][] = [
  ['empty', (path) => writeFileSync(path, '')],
  ['cut short', (path, content) => writeFileSync(path, content.subarray(0, content.length / 2))],
  ['garbage', (path) => writeFileSync(path, Buffer.alloc(9000, '{\0~}'))],
  ['JSON of another kind', (path) => writeFileSync(path, '[{"pid":"one"}]')],
  [
    'folders',
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
  ],
];

const started: Agent[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((agent) => agent.kill()));
});

async function startOn(data: string, token: string): Promise<Agent> {
  const agent = await startAgent({ folder: data, id: 'edge-1', token });
  started.push(agent);
  await serves(agent, 'sum', version);
  return agent;
}

test.each(damages)('all files being %s', { timeout: 120_000 }, async (kind, damage) => {
  const data = join(folder.path, kind.replaceAll(' ', '-'));
  cpSync(whole, data, { recursive: true });
  rmSync(join(data, 'agent.db-wal'), { force: true });
  const present = [...kept, ...identity].map((name) => join(data, name)).filter((path) => existsSync(path));
  for (const path of present) damage(path, readFileSync(path));
  rmSync(join(data, 'journal'), { recursive: true });
  writeFileSync(join(data, 'journal'), 'no folder');
  const waiting = await startOn(data, '');
  await until(
    'what is wrong being told',
    async () => /identity.*set EDGELOOP_JOIN/.test(waiting.program.output()) || undefined,
    {
      context: waiting.program.output,
    },
  );
  expect(waiting.program.output()).toMatch(/agent\.db/);
  process.kill(Number(readFileSync(join(data, 'serving.pid'), 'utf8')), 'SIGKILL');
  await until('an answer', async () => predict(waiting.url, 'sum', { a: 1, b: 2 }), {
    context: waiting.program.output,
  });
  await waiting.stop();
  expect(waiting.program.ended()).toBe(0);
  // Nothing was deleted.
  const names = readdirSync(join(data, 'identity'));
  expect(names.filter((name) => /^(identity\.json|key\.pem)/.test(name))).toHaveLength(2);
});

test('a damaged identity joins its fleet again as the device that it was', { timeout: 120_000 }, async () => {
  const data = join(folder.path, 'again');
  cpSync(whole, data, { recursive: true });
  writeFileSync(join(data, 'identity/identity.json'), '{"deviceId":"edge-1","certif');
  const agent = await startOn(data, await joinToken(plane));
  const connected = async () => agent.program.output().includes('connected to the control plane') || undefined;
  await until('the fleet being joined', connected, { context: agent.program.output });
  expect(readdirSync(join(data, 'identity')).join()).toMatch(/identity\.json\.damaged-/);
  await agent.stop();
});
