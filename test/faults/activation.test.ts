// An activation that we, a signal or the machine ended goes on; a file that changed on the device's disk is never served.
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { device, joinToken, predict, pushVersion, release, serves } from '../support/fleet.ts';
import { manifest, versionForm } from '../support/models.ts';
import { encodeGraph } from '../support/onnx-models.ts';
import { type Agent, type ControlPlane, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plane: ControlPlane;
let agent: Agent;

beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(`${folder.path}/server`);
  agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token: await joinToken(plane) });
  const good = await pushVersion(plane, 'sum');
  await release(plane, 'sum', good);
  await endures(good);
}, 240_000);
afterAll(async () => {
  await agent?.stop();
  await plane?.stop();
  await folder.remove();
});

/** The control plane is told that the version runs and has passed its probation. */
async function endures(version: number): Promise<void> {
  await until(
    `version ${version} as the last good one`,
    async () => {
      const model = (await device(plane, 'edge-1')).models[0];
      expect(model?.candidate?.state, JSON.stringify(model)).not.toBe('failed');
      return (
        (model?.active?.version === version && model.lastGood === version && model.candidate === null) || undefined
      );
    },
    { timeoutMs: 120_000, context: agent.program.output },
  );
}

/** A file that takes a while to be read, another one for each name. */
async function pushLarge(name: string, megabytes = 48): Promise<number> {
  const ballast = Float32Array.from({ length: megabytes * 262_144 }, (_, i) => Math.sin(i));
  const bytes = encodeGraph({
    inputs: [{ name: 'features', type: 'float', dims: ['n', 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['n', 2] }],
    initializers: [{ name, dims: [ballast.length], data: ballast }],
    nodes: [
      {
        opType: 'Softmax',
        inputs: ['features'],
        outputs: ['scores'],
        attributes: [{ name: 'axis', int: -1 }],
      },
    ],
  });
  const form = versionForm(bytes, { manifest });
  return (await plane.api.send('POST', '/models/sum/versions', ModelVersionDetail, form)).version;
}

/** Ends the agent as soon as its log says that the version has come so far. */
async function endWhen(state: string, version: number, signal: NodeJS.Signals): Promise<void> {
  const mark = new RegExp(`"candidate":\\{"version":${version},.{0,300}"state":"${state}"`);
  await until(`the version ${state}`, async () => mark.test(agent.program.output()) || undefined, {
    everyMs: 1,
    context: agent.program.output,
  });
  agent.program.signal(signal);
  await agent.program.waitForEnd();
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'an agent that is ended by %s while it verifies or warms a version goes on with it',
  { timeout: 240_000 },
  async (signal) => {
    const version = await pushLarge(signal);
    await release(plane, 'sum', version);
    for (const state of ['verifying', 'warming']) {
      await endWhen(state, version, signal);
      await agent.start();
    }
    await endures(version);
    await serves(agent, 'sum', version);
  },
);

test('a proof that is killed from outside is tried again', { timeout: 240_000 }, async () => {
  const version = await pushVersion(plane, 'sum', { bias: 1 });
  await release(plane, 'sum', version);
  for (let killed = 0; killed < 3; killed++) {
    const pid = await until('the prover', () => childOf(agent.program.pid, 'prove-process'), { everyMs: 5 });
    process.kill(pid, 'SIGKILL');
    await until('its end', async () => (await childOf(agent.program.pid, 'prove-process')) !== pid || undefined);
  }
  await endures(version);
  await serves(agent, 'sum', version);
});

async function childOf(parent: number, mark: string): Promise<number | undefined> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,args=']);
  for (const line of stdout.split('\n')) {
    const [pid, ppid] = line.trim().split(/\s+/);
    if (Number(ppid) === parent && line.includes(mark)) return Number(pid);
  }
  return undefined;
}

test('a model file that changed on disk is not served, and fetched again', { timeout: 240_000 }, async () => {
  const version = await pushVersion(plane, 'sum', { weight: -1 });
  await release(plane, 'sum', version);
  await endures(version);
  await serves(agent, 'sum', version);
  await agent.stop();
  const path = join(folder.path, 'agent/models/sum', String(version), 'model.onnx');
  const bytes = await readFile(path);
  // One that ONNX Runtime loads without a word: the weight changes its sign.
  const weight = bytes.indexOf(Buffer.from(Float32Array.of(0, -1, 0, -1).buffer));
  expect(weight).toBeGreaterThan(0);
  const spoilt = Buffer.from(bytes);
  Buffer.from(Float32Array.of(0, 1, 0, 1).buffer).copy(spoilt, weight);
  await writeFile(path, spoilt);
  expect((await stat(path)).size).toBe(bytes.length);
  await agent.start();
  const answers: string[] = [];
  await until('the version again', async () => {
    const answer = await predict(agent.url, 'sum', { a: 1, b: 1 });
    answers.push(`${answer.version} ${answer.label}`);
    return Number(answer.version) === version || undefined;
  });
  // `high` by this version would be the changed file's word.
  expect(answers.at(-1), agent.program.output()).toBe(`${version} low`);
  expect((await readFile(path)).equals(bytes)).toBe(true);
  expect(agent.program.output()).toMatch(/was changed on disk/);
  await endures(version);
});
