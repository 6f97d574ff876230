// Several serving processes behind one port: one of them is killed, or ended by a model, and the others go on; what is counted is
// what clients counted, and a version is active when all have it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { startClient } from '../support/client.ts';
import { joinToken, metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { processKiller } from '../support/hostile-models.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { encodeGraph } from '../support/onnx-models.ts';
import { startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';
import { startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const toStop: { stop(): Promise<unknown> }[] = [];
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const each of toStop.splice(0).reverse()) await each.stop();
  await folder.remove();
});

const json = { 'content-type': 'application/json' };
const two = { EDGELOOP_SERVING_PROCESSES: '2', EDGELOOP_TUNE_SECONDS: '0' };
const Stats = z.object({
  model_stats: z.array(z.object({ inference_stats: z.object({ success: z.object({ count: z.number() }) }) })),
});
const succeeded = async (url: string, model: string) => {
  const answer = await fetch(`${url}/v2/models/${model}/stats`);
  return Stats.parse(await answer.json()).model_stats[0]?.inference_stats.success.count;
};
/** New connections go to the processes in turn. */
const perConnection = async <T>(ask: (headers: Record<string, string>) => Promise<T>): Promise<T[]> => {
  const answers: T[] = [];
  for (let i = 0; i < 6; i++) answers.push(await ask({ connection: 'close' }));
  return answers;
};

test('one that is killed under load takes nothing with it, and a rollout is done when both have it', {
  timeout: 300_000,
}, async () => {
  const plane = await startControlPlane(`${folder.path}/server`);
  toStop.push(plane);
  const data = `${folder.path}/agent`;
  const agent = await startAgent({ folder: data, id: 'edge-1', token: await joinToken(plane), env: two });
  toStop.push(agent);
  const first = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', first), ['completed'], 120_000);
  await serves(agent, 'sum', first);
  const before = (await succeeded(agent.url, 'sum')) ?? 0;

  const client = startClient(agent.url, 'sum', 100);
  await until('100 answers', async () => client.counts.answered > 100 || undefined, { everyMs: 5 });
  const pidOf = () => Number(readFileSync(join(data, 'serving.pid.2'), 'utf8'));
  const victim = pidOf();
  process.kill(victim, 'SIGKILL');
  const atKill = client.counts.answered;
  await until('answers meanwhile', async () => client.counts.answered > atKill + 50 || undefined, { everyMs: 5 });
  await until('another one in its place', async () => (pidOf() > 0 && pidOf() !== victim) || undefined);

  const second = await pushVersion(plane, 'sum', { weight: 2 });
  await rolloutIn(plane, await release(plane, 'sum', second), ['completed'], 120_000);
  const versions = await perConnection(async (headers) => {
    const body = JSON.stringify({ features: { a: 1, b: 2 } });
    const answer = await fetch(`${agent.url}/predict/sum`, { method: 'POST', headers: { ...headers, ...json }, body });
    return z.object({ version: z.coerce.string() }).parse(await answer.json()).version;
  });
  expect(new Set(versions)).toEqual(new Set([String(second)]));

  // A label finds its prediction whichever process it comes to.
  const { id } = await predict(agent.url, 'sum', { a: 1, b: 2 });
  const labelled = await perConnection((headers) =>
    fetch(`${agent.url}/feedback/${id}`, { method: 'POST', headers, body: JSON.stringify({ label: 'high' }) }),
  );
  expect(labelled.map(({ status }) => status)).toEqual(labelled.map(() => 202));

  const { answered, failures, versions: seen } = await client.stop();
  // Only what was under way at the kill.
  expect(failures.length).toBeLessThanOrEqual(8);
  expect([...seen.keys()].sort()).toEqual([String(first), String(second)]);
  let counted = 0;
  const all = before + answered + versions.length + 1;
  await until(
    'all telemetry',
    async () => {
      counted = await metricTotal(plane, 'succeeded');
      return counted >= all || undefined;
    },
    { context: () => `answered were ${all}, counted ${counted}` },
  );
  expect(counted).toBeLessThanOrEqual(all + failures.length);
});

test('one that a model ends is named and blamed, while the other answers, and all are asked as one', {
  timeout: 180_000,
}, async () => {
  const one = (name: string) => ({ name, type: 'float', dims: [1] }) as const;
  const adder = encodeGraph({
    inputs: [one('x'), one('before')],
    outputs: [one('y')],
    nodes: [{ opType: 'Add', inputs: ['x', 'before'], outputs: ['y'] }],
  });
  // Their sequences live in different processes.
  for (const name of ['adder', 'adders'])
    await writeModel(folder.path, name, adder, { manifest: { inputs: { before: { state: 'y' } } } });
  await writeModel(folder.path, 'killer', processKiller());
  await writeModel(folder.path, 'sum', sumClassifier(), { manifest });
  const server = await startServing(folder.path, { env: two });
  toStop.push(server);
  const post = (path: string, body: object) =>
    fetch(`${server.url}${path}`, { method: 'POST', headers: { connection: 'close' }, body: JSON.stringify(body) });
  const x = { name: 'x', datatype: 'FP32', shape: [1], data: [1] };
  const Answer = z.object({ outputs: z.array(z.object({ data: z.array(z.number()) })) });

  for (const name of ['adder', 'adders']) {
    const sums: (number | undefined)[] = [];
    for (let i = 0; i < 6; i++) {
      const parameters = { sequence_id: 7, sequence_start: i === 0, sequence_end: i === 5 };
      const answer = await post(`/v2/models/${name}/infer`, { inputs: [x], parameters });
      sums.push(Answer.parse(await answer.json()).outputs[0]?.data[0]);
    }
    expect(sums).toEqual([1, 2, 3, 4, 5, 6]);
    expect(new Set(await perConnection(() => succeeded(server.url, name)))).toEqual(new Set([6]));
  }

  const client = startClient(server.url, 'sum', 100);
  const killing = [
    { name: 'x', datatype: 'INT64', shape: [1], data: [0] },
    { name: 'd', datatype: 'INT64', shape: [1], data: [-2] },
  ];
  for (let deaths = 1; deaths <= 2; deaths++) {
    await post('/v2/models/killer/infer', { inputs: killing }).catch(() => undefined);
    await until('the death being told', async () => deathsIn(server.program.output()) >= deaths || undefined, {
      context: server.program.output,
    });
    const atDeath = client.counts.answered;
    await until('answers meanwhile', async () => client.counts.answered > atDeath + 20 || undefined, { everyMs: 5 });
  }
  await until(
    'the model being refused by all',
    async () => {
      const answers = await perConnection(async () => (await post('/v2/models/killer/infer', { inputs: [] })).text());
      return answers.every((text) => text.includes('quarantined')) || undefined;
    },
    { context: server.program.output },
  );
  const unloaded = await post('/v2/repository/models/adder/unload', {});
  expect(unloaded.status).toBe(200);
  const after = await perConnection(async () => (await post('/v2/models/adder/infer', { inputs: [x] })).status);
  expect(new Set(after)).toEqual(new Set([404]));
  const { answered, failures } = await client.stop();
  // Those of the connections that a dying process had.
  expect(failures.length).toBeLessThanOrEqual(16);
  expect(answered).toBeGreaterThan(40);
  // What was counted within a second before a death may be missing, and nothing is counted twice.
  const counted = (await perConnection(() => succeeded(server.url, 'sum'))).map((count) => count ?? 0);
  expect(new Set(counted).size).toBe(1);
  expect(counted[0]).toBeLessThanOrEqual(answered + failures.length);
});

function deathsIn(output: string): number {
  return output.split('the serving process died').length - 1;
}
