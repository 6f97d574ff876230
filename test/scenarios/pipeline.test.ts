// A pipeline of two models goes through a fleet as one version: pushed, rolled out, killed while it comes, taken back.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { release, rolloutIn } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { cellPicture, colourClassifier, colourFiles, colourManifest } from '../support/pipeline-models.ts';
import { runCli, temporaryFolder } from '../support/programs.ts';
import { servingPid, startServing } from '../support/serving.ts';
import { until } from '../support/until.ts';

const Answer = z.object({
  model_version: z.string(),
  outputs: z.array(z.object({ name: z.string(), data: z.array(z.number()) })),
});
const Index = z.array(z.object({ name: z.string(), version: z.string(), state: z.string(), reason: z.string() }));
const fleet = oneAgentFleet();
const found = [20, 10, 30, 20, 30, 30, 40, 40];

/** The version that answers, once its answer is right. */
async function answered(url: string): Promise<string | undefined> {
  const data = [...cellPicture({ 6: [0, 250, 0], 15: [240, 0, 0] })];
  const inputs = [{ name: 'picture', datatype: 'UINT8', shape: [1, 40, 40, 3], data }];
  const answer = await fetch(`${url}/v2/models/colours/infer`, { method: 'POST', body: JSON.stringify({ inputs }) });
  if (!answer.ok) return undefined;
  const { model_version: version, outputs } = Answer.parse(await answer.json());
  expect(outputs[0]).toMatchObject({ name: 'boxes', data: found });
  return version;
}

async function write(folder: string, files: Record<string, Uint8Array | string>): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
}

test('a pipeline is pushed, rolled out, and taken back as one version, whatever is killed meanwhile', {
  timeout: 240_000,
}, async () => {
  const { plane, agent } = fleet();
  const folder = await temporaryFolder();
  const serves = (version: number) =>
    until(`version ${version} answering`, async () => (await answered(agent.url)) === String(version) || undefined, {
      timeoutMs: 60_000,
      context: agent.program.output,
    });
  try {
    await write(folder.path, { ...colourFiles, 'model.json': JSON.stringify(colourManifest()) });
    const files = Object.keys(colourFiles).map((name) => join(folder.path, name));
    const manifest = join(folder.path, 'model.json');
    const env = { ...plane.env, EDGELOOP_URL: plane.url };
    const pushed = await runCli(['models', 'push', 'colours', ...files, '--manifest', manifest], env);
    expect(pushed).toMatchObject({ code: 0, output: expect.stringContaining('colours version 1 registered') });
    await rolloutIn(plane, await release(plane, 'colours', 1), ['completed']);
    await serves(1);

    const form = new FormData();
    form.append('files', new Blob([Uint8Array.from(colourClassifier('many'))]), 'colours.onnx');
    form.append('files', new Blob([Uint8Array.from(colourFiles['detector.onnx'])]), 'detector.onnx');
    form.set('manifest', JSON.stringify(colourManifest()));
    await plane.api.send('POST', '/models/colours/versions', ModelVersionDetail, form);
    const rollout = await release(plane, 'colours', 2);
    await agent.kill();
    await agent.start();
    await rolloutIn(plane, rollout, ['completed']);
    await serves(2);
    await plane.api.send('POST', `/rollouts/${rollout}/rollback`, Rollout, { reason: 'test' });
    await serves(1);
  } finally {
    await folder.remove();
  }
});

test('a folder with a pipeline is served, and goes on when its next manifest does not hold', async () => {
  const folder = await temporaryFolder();
  const own = join(folder.path, 'colours');
  await write(join(own, '1'), colourFiles);
  await write(own, { 'model.json': JSON.stringify(colourManifest()) });
  const server = await startServing(folder.path, { env: { EDGELOOP_THREADS: '1', EDGELOOP_TUNE_SECONDS: '0' } });
  try {
    expect(await answered(server.url)).toBe('1');
    const broken = structuredClone(colourManifest());
    broken.pipeline?.outputs.push('nowhere');
    await write(join(own, '2'), { ...colourFiles, 'model.json': JSON.stringify(broken) });
    const index = async () =>
      Index.parse(await (await fetch(`${server.url}/v2/repository/index`, { method: 'POST' })).json());
    const refused = await until(
      'the refusal of version 2',
      // While its files are still coming another reason may be said.
      async () =>
        (await index()).find(
          ({ version, state, reason }) => version === '2' && state === 'UNAVAILABLE' && /nothing makes/.test(reason),
        ),
      { context: server.program.output },
    );
    expect(refused.reason).toContain('manifest.pipeline.outputs.3: nothing makes "nowhere"');
    expect(await answered(server.url)).toBe('1');
    await rm(join(own, '2', 'model.json'));
    await until('version 2', async () => (await answered(server.url)) === '2' || undefined, {
      context: server.program.output,
    });

    // The process that serves ends in the middle of runs: only what was under way there is lost.
    let [going, failures] = [true, 0];
    const callers = Array.from({ length: 4 }, async () => {
      while (going) await answered(server.url).catch(() => failures++);
    });
    process.kill(await servingPid(server), 'SIGKILL');
    await until('the death', async () => /the serving process died/.test(server.program.output()) || undefined);
    await until('an answer', async () => (await answered(server.url).catch(() => undefined)) === '2' || undefined, {
      context: server.program.output,
    });
    going = false;
    await Promise.all(callers);
    // Each caller's, and of those that it finds in the pool, which were open at that moment, too.
    expect(failures).toBeLessThanOrEqual(2 * callers.length);

    const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');
    const load = async (manifest: object) => {
      const parts = Object.entries({ ...colourFiles, 'model.json': JSON.stringify(manifest) });
      const files = Object.fromEntries(parts.map(([name, bytes]) => [`file:7/${name}`, base64(bytes)]));
      const body = JSON.stringify({ parameters: { config: '{}', ...files } });
      const answer = await fetch(`${server.url}/v2/repository/models/colours/load`, { method: 'POST', body });
      return { status: answer.status, text: await answer.text() };
    };
    expect(await load(broken)).toMatchObject({ status: 422, text: expect.stringContaining('nothing makes') });
    expect(await answered(server.url)).toBe('2');
    expect(await load(colourManifest())).toEqual({ status: 200, text: '' });
    expect(await answered(server.url)).toBe('7');
  } finally {
    await server.stop();
    await folder.remove();
  }
});
