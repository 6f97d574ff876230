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
/** The version that passed its probation last. */
let good: number;

beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(`${folder.path}/server`);
  agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token: await joinToken(plane) });
  good = await pushVersion(plane, 'sum');
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
async function pushLarge(name: string, megabytes = 24): Promise<number> {
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

/** The agent's log says that the version has come so far. */
const logged = (state: string) => async (version: number) => {
  const mark = new RegExp(`"candidate":\\{"version":${version},.{0,300}"state":"${state}"`);
  return mark.test(agent.program.output()) || undefined;
};

/** Each step of bringing up a version, and what is seen of it from outside when it is under way. */
const steps = {
  fetching: async (version: number) => {
    const [done, size] = await Promise.all([sizeOf(version, 'model.onnx'), sizeOf(version, 'model.onnx.partial')]);
    return (done === 0 && size > 1_000_000) || undefined;
  },
  verifying: logged('verifying'),
  warming: logged('warming'),
  proving: () => childOf(agent.program.pid, 'prove-process'),
  // The proof is done, and the version is in a process of its own beside the serving one.
  loading: () => modelProcess(),
  swapping: async (version: number) =>
    agent.program.output().includes(`"version":${version},"msg":"serves"`) || undefined,
  probation: logged('probation'),
  // It has endured, and moves in among the others.
  'taking in': async (version: number) =>
    new RegExp(`"event":"endured".{0,200}"version":${version},`).test(agent.program.output()) || undefined,
} satisfies Record<string, (version: number) => Promise<unknown>>;

async function sizeOf(version: number, file: string): Promise<number> {
  const path = join(folder.path, 'agent/models/sum', String(version), file);
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** Ends the agent as soon as the version is in each of these steps, in turn; it goes on, and nothing else ever answered. */
async function goesOn(version: number, ended: readonly (keyof typeof steps)[], signal: NodeJS.Signals): Promise<void> {
  const caller = startAsking();
  for (const step of ended) {
    const isIn: (version: number) => Promise<unknown> = steps[step];
    await until(`the version ${step}`, () => isIn(version), { everyMs: 1, context: agent.program.output });
    agent.program.signal(signal);
    await agent.program.waitForEnd();
    await agent.start();
  }
  await endures(version);
  await serves(agent, 'sum', version);
  const answered = await caller.stop();
  expect([good, version]).toEqual(expect.arrayContaining(answered));
  expect(answered).toContain(version);
  good = version;
}

/** Somebody who asks all the time, and is not answered while nobody is there. */
function startAsking() {
  const versions = new Set<number>();
  let going = true;
  const asking = (async () => {
    while (going) {
      const answer = await predict(agent.url, 'sum', { a: 1, b: 1 }).catch(() => undefined);
      if (answer !== undefined) versions.add(Number(answer.version));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  return {
    async stop(): Promise<number[]> {
      going = false;
      await asking;
      return [...versions];
    },
  };
}

test('an agent that is stopped while it verifies or warms a version goes on with it', {
  timeout: 240_000,
}, async () => {
  const version = await pushLarge('stopped');
  await release(plane, 'sum', version);
  await goesOn(version, ['verifying', 'warming'], 'SIGTERM');
});

test.each([
  // A version that is there when the agent itself dies three times is blamed for it, so each has no more than two such steps.
  ['fetched, verified, proven, loaded and let answer', ['fetching', 'verifying', 'proving', 'loading', 'swapping']],
  ['in its probation, and while it is taken in among the others', ['probation', 'taking in']],
] as const)(
  'an agent that is killed while a version is %s goes on with it',
  { timeout: 300_000 },
  async (name, killed) => {
    const version = await pushLarge(name);
    await release(plane, 'sum', version, killed.length > 2 ? { bandwidthKbps: 100_000 } : {});
    await goesOn(version, killed, 'SIGKILL');
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

/** A model's own process, which is a child of the serving process; another of these may wait beside it. */
async function modelProcess(): Promise<number | undefined> {
  const [all, serving] = await Promise.all([processes(), childrenOf(agent.program.pid, 'serving.js')]);
  return all.find(({ parent, args }) => serving.includes(parent) && args.includes('process-main'))?.pid;
}

async function childOf(parent: number, mark: string): Promise<number | undefined> {
  return (await childrenOf(parent, mark))[0];
}

async function childrenOf(of: number, mark: string): Promise<number[]> {
  return (await processes()).flatMap(({ pid, parent, args }) => (parent === of && args.includes(mark) ? [pid] : []));
}

async function processes(): Promise<{ pid: number; parent: number; args: string }[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,args=']);
  return stdout.split('\n').map((line) => {
    const [pid, parent, ...args] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), args: args.join(' ') };
  });
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
