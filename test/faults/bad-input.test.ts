// Everything that a caller can get wrong is a clear 4xx problem, and nothing stays half-written.
import { openAsBlob } from 'node:fs';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Device } from '@edgeloop/shared/api/devices';
import { Model } from '@edgeloop/shared/api/models';
import { pageOf } from '@edgeloop/shared/api/paging';
import { Problem } from '@edgeloop/shared/errors';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { joinToken, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { externalData, loadKiller } from '../support/hostile-models.ts';
import { manifest, sumClassifier, versionForm } from '../support/models.ts';
import {
  type Agent,
  agentProgram,
  type ControlPlane,
  runCli,
  startAgent,
  startControlPlane,
  startProgram,
  temporaryFolder,
} from '../support/programs.ts';
import { until } from '../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plane: ControlPlane;
let agent: Agent;
let key: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(`${folder.path}/server`);
  key = (await readFile(join(plane.folder, 'admin.key'), 'utf8')).trim();
  agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token: await joinToken(plane) });
  const version = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
}, 120_000);
afterAll(async () => {
  await agent?.stop();
  await plane?.stop();
  await folder.remove();
});

async function problemOf(path: string, init: RequestInit): Promise<{ status: number; problem: Problem }> {
  const response = await fetch(`${plane.url}/api/v1${path}`, {
    ...init,
    headers: { authorization: `Bearer ${key}`, ...init.headers },
  });
  expect(response.headers.get('content-type')).toContain('application/problem+json');
  const problem = Problem.parse(await response.json());
  expect(problem.status).toBe(response.status);
  return { status: response.status, problem };
}

const upload = (form: FormData) => problemOf('/models/refused/versions', { method: 'POST', body: form });
const json = (body: unknown): RequestInit => ({
  method: 'POST',
  body: JSON.stringify(body),
  headers: { 'content-type': 'application/json' },
});

/** Temporary files of the server and versions of the refused model. */
async function leftovers(): Promise<string[]> {
  const { items } = await plane.api.get('/models', pageOf(Model));
  const versions = items
    .filter((each) => each.name === 'refused')
    .flatMap((each) => each.versions.map((version) => `version ${version.version}`));
  const files = await readdir(plane.folder, { recursive: true });
  return [...versions, ...files.filter((file) => /^tmp\/[^/]+\/./.test(file))];
}

test('a file that is not ONNX', async () => {
  const { status, problem } = await upload(versionForm('this is no model'));
  expect(status).toBe(422);
  expect(problem.detail).toMatch(/ONNX/);
  expect(await leftovers()).toEqual([]);
});

test('a truncated ONNX file', async () => {
  const whole = sumClassifier();
  const { status } = await upload(versionForm(whole.subarray(0, whole.length - 20)));
  expect(status).toBe(422);
  expect(await leftovers()).toEqual([]);
});

test('external data that points outside', async () => {
  const { status, problem } = await upload(versionForm(externalData('../../../etc/passwd')));
  expect(status).toBe(422);
  expect(problem.detail).toMatch(/outside of its file/);
  expect(await leftovers()).toEqual([]);
});

test('golden samples that do not reproduce', async () => {
  const tensor = (data: number[]) => ({ datatype: 'FP32', shape: [1, 2], data });
  const golden = { samples: [{ inputs: { features: tensor([1, 2]) }, outputs: { scores: tensor([0.9, 0.1]) } }] };
  const { status, problem } = await upload(versionForm(sumClassifier(), { manifest, golden }));
  expect(status).toBe(422);
  expect(problem.detail).toMatch(/scores/);
  expect(await leftovers()).toEqual([]);
});

test('a model that kills the process that tries it', async () => {
  const { status, problem } = await upload(versionForm(loadKiller()));
  expect(status).toBe(422);
  expect(problem.detail).toMatch(/process/);
  expect(await leftovers()).toEqual([]);
});

test('a manifest of 300 MB', async () => {
  const path = join(folder.path, 'large.json');
  await writeFile(path, '');
  await truncate(path, 300 * 2 ** 20);
  const form = new FormData();
  form.set('manifest', await openAsBlob(path), 'manifest.json');
  form.set('model', new Blob([Uint8Array.from(sumClassifier())]), 'model.onnx');
  const { status, problem } = await upload(form);
  expect(status).toBe(413);
  expect(problem.detail).toMatch(/manifest/);
  expect(await leftovers()).toEqual([]);
});

test('an upload whose caller hangs up in the middle', async () => {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'multipart/form-data; boundary=b' };
  const upload = request(`${plane.url}/api/v1/models/refused/versions`, { method: 'POST', headers });
  upload.on('error', () => undefined);
  upload.write('--b\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\n');
  upload.write(Buffer.alloc(2 ** 20));
  await until('the model arriving', async () => (await leftovers()).length > 0 || undefined);
  upload.destroy();
  await until('nothing being left of it', async () => (await leftovers()).length === 0 || undefined);
});

test('a manifest that contradicts the model names the field', async () => {
  const wrong = { ...manifest, inputs: { features: { features: ['a', 'b', 'c'] } } };
  const { status, problem } = await upload(versionForm(sumClassifier(), { manifest: wrong }));
  expect(status).toBe(422);
  expect(problem.detail).toMatch(/manifest\.inputs\.features/);
});

test('a wrong key', async () => {
  const response = await fetch(`${plane.url}/api/v1/devices`, { headers: { authorization: 'Bearer el_wrong' } });
  expect(response.status).toBe(401);
  expect(Problem.parse(await response.json()).code).toBe('unauthorized');
});

test('a selector with bad syntax', async () => {
  const query = await problemOf(`/devices?selector=${encodeURIComponent('site in paris')}`, {});
  expect(query.status).toBe(400);
  expect(query.problem.detail).toMatch(/selector/);
  const rollout = await problemOf('/rollouts', json({ model: 'sum', version: 1, selector: 'a b' }));
  expect(rollout.status).toBe(400);
  expect(rollout.problem.detail).toMatch(/selector/);
});

test('a rollout of a version that is not there', async () => {
  expect((await problemOf('/rollouts', json({ model: 'sum', version: 99 }))).status).toBe(404);
});

test('a join token that is used up ends the agent with the reason', async () => {
  const { token } = await plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses: 1 });
  const env = (n: number) => ({
    EDGELOOP_AGENT_DATA_DIR: `${folder.path}/extra-${n}`,
    EDGELOOP_JOIN: token,
    EDGELOOP_DEVICE_ID: `extra-${n}`,
    EDGELOOP_AGENT_PORT: '0',
  });
  const first = startProgram([agentProgram, 'run'], env(1));
  await until('the first device being enrolled', async () => (await plane.api.get('/devices/extra-1', Device)).id, {
    context: first.output,
  });
  const second = startProgram([agentProgram, 'run'], env(2));
  expect(await second.waitForEnd()).not.toBe(0);
  expect(second.output()).toMatch(/token/);
  first.signal('SIGTERM');
  await first.waitForEnd();
});

test('an unknown label is refused by the agent with the labels it knows', async () => {
  const { id } = await predict(agent.url, 'sum', { a: 1, b: 2 });
  const feedback = (path: string, label: string) =>
    fetch(`${agent.url}/feedback/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ label }),
    });
  const unknownLabel = await feedback(id, 'medium');
  expect(unknownLabel.status).toBe(400);
  expect(await unknownLabel.text()).toMatch(/low.*high/);
  expect((await feedback('nobody', 'high')).status).toBe(404);
  expect((await feedback(id, 'high')).ok).toBe(true);
});

test('the CLI prints the reason and fails', async () => {
  const { code, output } = await runCli(['rollouts', 'create', 'sum', '99'], plane.env);
  expect(code).toBe(1);
  expect(output).toMatch(/99/);
});
