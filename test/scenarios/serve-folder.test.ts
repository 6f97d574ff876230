// `edgeloop-agent serve DIR` follows its folder while it serves: new, changed, broken and removed models, the version
// policy of `model.json`, and callers who load and unload.
import { cp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { wordPiece } from '../../agent/src/server/predict/tokenizer-fixture.ts';
import { isAlive } from '../support/is-alive.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { encodeGraph, identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, processTree, startServing, writeModel } from '../support/serving.ts';
import { until } from '../support/until.ts';

const Index = z.array(z.object({ name: z.string(), version: z.string(), state: z.string(), reason: z.string() }));
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;

async function serve(env: Record<string, string> = {}): Promise<void> {
  server = await startServing(folder.path, { env: { EDGELOOP_THREADS: '1', ...env } });
}

/** Of the model `sum` unless another one is named. */
const write = (version: number, weight = version, of: unknown = manifest, name = 'sum') =>
  writeModel(folder.path, name, sumClassifier({ weight }), { version, manifest: of });

async function infer(model = 'sum'): Promise<{ status: number; version: string; error: string }> {
  const inputs = [{ name: 'features', datatype: 'FP32', shape: [1, 2], data: [1, 1] }];
  const url = `${server.url}/v2/models/${model}/infer`;
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify({ inputs }) });
  const { model_version: version = '', error = '' } = JSON.parse(await answer.text());
  return { status: answer.status, version, error };
}

const answers = (version: string, model = 'sum') =>
  until(`${model} version ${version} answering`, async () => (await infer(model)).version === version || undefined, {
    context: () => server.program.output(),
  });

async function index(): Promise<z.infer<typeof Index>> {
  return Index.parse(await (await fetch(`${server.url}/v2/repository/index`, { method: 'POST' })).json());
}

const control = (action: string, model: string) =>
  fetch(`${server.url}/v2/repository/models/${model}/${action}`, { method: 'POST' });

describe('a server that follows its folder', () => {
  beforeAll(async () => {
    folder = await temporaryFolder();
    await writeModel(folder.path, 'first', sumClassifier(), { manifest });
    await serve();
  });
  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });

  test('every line of the log is JSON, those of ONNX Runtime among them, from shared and own processes', async () => {
    const threes = encodeGraph({
      inputs: [{ name: 'x', type: 'float', dims: ['n'] }],
      outputs: [{ name: 'y', type: 'float', dims: ['m'] }],
      initializers: [{ name: 'shape', dims: [1], data: BigInt64Array.of(3n) }],
      nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
    });
    await writeModel(folder.path, 'shared', threes, { manifest: { instances: 1 } });
    await writeModel(folder.path, 'own', threes, { manifest: { isolation: 'process' } });
    for (const name of ['shared', 'own'])
      await until(
        `${name} being ready`,
        async () => (await fetch(`${server.url}/v2/models/${name}/ready`)).ok || undefined,
      );
    const wrong = { inputs: [{ name: 'x', datatype: 'FP32', shape: [2], data: [1, 2] }] };
    const spoken = () =>
      server.program
        .output()
        .split('\n')
        .filter((line) => line.includes('onnxruntime'));
    for (const [i, model] of ['shared', 'own'].entries()) {
      const url = `${server.url}/v2/models/${model}/infer`;
      expect((await fetch(url, { method: 'POST', body: JSON.stringify(wrong) })).status).toBeGreaterThanOrEqual(400);
      await until(`a line for ${model}`, async () => spoken().length > i || undefined);
    }
    const lines = server.program.output().trim().split('\n');
    for (const line of lines) expect(() => JSON.parse(line), line).not.toThrow();
    expect(spoken().map((line) => JSON.parse(line))).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ level: 50, source: 'onnxruntime', msg: expect.stringMatching(/Reshape/) }),
      ]),
    );
  });

  test('a broken version is told with its reason and the former one goes on', async () => {
    const name = 'broken';
    await write(1, 1, manifest, name);
    await answers('1', name);
    await mkdir(join(folder.path, name, '2'));
    await writeFile(join(folder.path, name, '2', 'model.onnx'), 'no model');
    const broken = await until('a reason', async () =>
      (await index()).find((each) => each.name === name && each.version === '2' && each.state === 'UNAVAILABLE'),
    );
    expect(broken.reason).toMatch(/load the model/);
    expect(await infer(name)).toMatchObject({ status: 200, version: '1' });
    expect((await infer(`${name}/versions/2`)).error).toMatch(/load the model/);
    // Mended, it is taken.
    await write(2, 2, manifest, name);
    await answers('2', name);
  });

  test('a file that is spoilt in its place does not take away what serves', async () => {
    const name = 'spoilt';
    await write(1, 1, manifest, name);
    await answers('1', name);
    await writeFile(join(folder.path, name, '1', 'model.onnx'), 'no model');
    await until(
      'the refusal',
      async () => /"model":"spoilt".*cannot be served/.test(server.program.output()) || undefined,
    );
    expect(await infer(name)).toMatchObject({ status: 200, version: '1' });
  });

  test('the version policy says which versions are served', async () => {
    const name = 'policy';
    for (const version of [1, 2, 3]) await write(version, version, { ...manifest, versions: { latest: 2 } }, name);
    await answers('3', name);
    await answers('2', `${name}/versions/2`);
    expect((await infer(`${name}/versions/1`)).error).toMatch(/version policy/);
    await writeFile(join(folder.path, name, 'model.json'), JSON.stringify({ ...manifest, versions: [1] }));
    await answers('1', name);
    await until('the others gone', async () => (await infer(`${name}/versions/3`)).status === 404 || undefined);
  });

  test('what is nearly right is in the index and the log, and callers are told what is wrong with it', async () => {
    await write(1, 1, manifest, 'm_right');
    const put = (path: string) => cp(join(folder.path, 'm_right', '1', 'model.onnx'), join(folder.path, path));
    await put('flat.onnx');
    await put('m_v1/v1/model.onnx');
    await put('m_net/1/net.onnx');
    await put('Türe/1/model.onnx');
    const names = ['Türe', 'flat.onnx', 'm_net', 'm_v1'];
    const wrong = await until('all being told', async () => {
      const found = (await index()).filter(({ name, state }) => names.includes(name) && state === 'UNAVAILABLE');
      return found.length === names.length ? found : undefined;
    });
    expect(wrong.map(({ name, version }) => [name, version]).sort()).toEqual([
      ['Türe', ''],
      ['flat.onnx', ''],
      ['m_net', '1'],
      ['m_v1', 'v1'],
    ]);
    const isLogged = () => /"model":"m_net".*its file is called.*net\.onnx/.test(server.program.output());
    await until('a line of the log', async () => isLogged() || undefined);
    const answer = await fetch(`${server.url}/v2/models/m_net/infer`, { method: 'POST', body: '{}' });
    expect([answer.status, await answer.text()]).toEqual([
      404,
      expect.stringMatching(/unknown model.*call it model\.onnx/),
    ]);
    const load = await control('load', 'm_v1');
    expect([load.status, await load.text()]).toEqual([
      404,
      expect.stringMatching(/holds none of this name.*is no version/),
    ]);
    const long = await control('load', 'a'.repeat(64));
    expect([long.status, await long.text()]).toEqual([404, expect.stringMatching(/name must be 1 to 63/)]);
    await rename(join(folder.path, 'm_v1', 'v1'), join(folder.path, 'm_v1', '1'));
    await until('the mended one', async () => (await infer('m_v1')).status === 200 || undefined);
    expect((await index()).filter(({ name }) => name === 'm_v1')).toMatchObject([{ version: '1', state: 'READY' }]);
  });

  test('callers load and unload by name', async () => {
    const name = 'asked';
    await write(1, 1, manifest, name);
    await answers('1', name);
    expect((await control('unload', name)).status).toBe(200);
    expect((await infer(name)).error).toMatch(/unknown model.*unloaded on request/);
    expect((await control('load', name)).status).toBe(200);
    expect(await infer(name)).toMatchObject({ status: 200, version: '1' });
    expect((await control('load', 'other')).status).toBeGreaterThanOrEqual(400);
  });

  test('a load request brings its own configuration and files, until the next one', async () => {
    const name = 'loaded';
    for (const version of [1, 2]) await write(version, version, manifest, name);
    await answers('2', name);
    const load = async (parameters: Record<string, unknown>, model = name) => {
      const body = JSON.stringify({ parameters });
      const answer = await fetch(`${server.url}/v2/repository/models/${model}/load`, { method: 'POST', body });
      return { status: answer.status, text: await answer.text() };
    };
    const maxBatch = async () => {
      const Config = z.object({ max_batch_size: z.number() });
      return Config.parse(await (await fetch(`${server.url}/v2/models/${name}/config`)).json()).max_batch_size;
    };
    expect(await load({ config: '{"max_batch_size":"3"}' })).toEqual({ status: 200, text: '' });
    expect([await maxBatch(), (await infer(name)).version]).toEqual([3, '2']);

    const bytes = Buffer.from(sumClassifier({ weight: 7 })).toString('base64');
    expect(await load({ config: '{}', 'file:9/model.onnx': bytes })).toEqual({ status: 200, text: '' });
    expect((await infer(name)).version).toBe('9');

    // What does not hold changes nothing.
    const broken = Buffer.from('no model').toString('base64');
    const refused = await load({ config: '{}', 'file:4/model.onnx': broken });
    expect(refused).toMatchObject({
      status: 422,
      text: expect.stringMatching(/failed to load \\"loaded\\": version 4/),
    });
    expect((await load({ config: '{]' })).text).toMatch(/failed to load \\"loaded\\": config is not valid JSON/);
    expect((await load({ config: '{}' }, 'nobody')).status).toBe(404);
    expect((await infer(name)).version).toBe('9');

    expect(await load({})).toEqual({ status: 200, text: '' });
    expect([await maxBatch(), (await infer(name)).version]).toEqual([32, '2']);
  });

  test('a model of texts is served with the tokenizer that lies beside its manifest', async () => {
    const name = 'words';
    const tokens = identity('int64', ['n', 't']);
    const text = { tokenizer: 'tokenizer.json' };
    await writeModel(folder.path, name, tokens, { version: 1, manifest: { inputs: { x: { text } } } });
    await until('the missing tokenizer being told', async () =>
      (await index()).find(({ reason }) => reason.includes('the tokenizer "tokenizer.json"')),
    );
    await writeFile(join(folder.path, name, 'tokenizer.json'), JSON.stringify(wordPiece));
    const ask = () => fetch(`${server.url}/predict/${name}`, { method: 'POST', body: '{"text": "the pump is hot"}' });
    const answer = await until('the model answering', async () => {
      const response = await ask();
      return response.ok ? response.json() : undefined;
    });
    expect(answer).toMatchObject({ outputs: [{ datatype: 'INT64', shape: [1, 6], data: [2, 57, 50, 62, 51, 3] }] });
  });
});

describe('a server of its own', () => {
  beforeEach(async () => {
    folder = await temporaryFolder();
  });
  afterEach(async () => {
    await server?.stop();
    await folder.remove();
  });

  test('a new version takes over without a failed request, and goes when its folder goes', async () => {
    await write(1);
    await serve({ EDGELOOP_TUNE_SECONDS: '0.5' });
    await answers('1');
    let stop = false;
    const statuses = new Set<number>();
    const caller = (async () => {
      while (!stop) statuses.add((await infer()).status);
    })();
    await write(2);
    await answers('2');
    await rm(join(folder.path, 'sum', '2'), { recursive: true });
    await answers('1');
    stop = true;
    await caller;
    expect([...statuses]).toEqual([200]);
  });

  test('a Unix socket answers beside the port, to those who know the token', async () => {
    await write(1);
    const socketPath = join(folder.path, 'agent.sock');
    server = await startServing(folder.path, {
      env: { EDGELOOP_THREADS: '1', EDGELOOP_AGENT_SOCKET: socketPath, EDGELOOP_AGENT_TOKEN: 'secret' },
      readyPath: '/readyz',
    });
    const get = (token: string) =>
      new Promise<number>((resolve, reject) => {
        const headers = { authorization: `Bearer ${token}` };
        httpRequest({ socketPath, path: '/v2/models/sum', headers }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        })
          .on('error', reject)
          .end();
      });
    expect(await get('secret')).toBe(200);
    expect(await get('guess')).toBe(401);
  });

  test('a model in a process of its own answers as any other, and ends with a server that is killed', async () => {
    await write(1, 1, { ...manifest, isolation: 'process' });
    await serve();
    await answers('1');
    expect(await Promise.all(Array.from({ length: 50 }, () => infer()))).toEqual(
      Array.from({ length: 50 }, () => ({ status: 200, version: '1', error: '' })),
    );
    await write(2, 2, { ...manifest, isolation: 'process' });
    await answers('2');
    const config = await (await fetch(`${server.url}/v2/models/sum/config`)).json();
    expect(config).toMatchObject({ parameters: { isolation: { string_value: 'process' } } });
    // The supervising and the serving process, a spare one, and that of the model.
    const tree = await until('the former version’s process ending', async () => {
      const pids = [...(await processTree(server.program.pid)).keys()];
      return pids.length === 4 ? pids : undefined;
    });
    server.program.signal('SIGKILL');
    await until('all of them ending', async () => tree.every((pid) => !isAlive(pid)) || undefined);
  });

  test('without isolation one process serves, follows its folder, and drains when it is stopped', async () => {
    await write(1);
    await serve({ EDGELOOP_ISOLATION: 'off' });
    await answers('1');
    await write(2);
    await answers('2');
    expect((await control('unload', 'sum')).status).toBe(200);
    expect((await infer()).status).toBe(404);
    expect((await control('load', 'sum')).status).toBe(200);
    await answers('2');
    // A proof of a new version has a process of its own, which has ended.
    await until('one process', async () => (await processTree(server.program.pid)).size === 1 || undefined);
    server.program.signal('SIGTERM');
    expect(await server.program.waitForEnd()).toBe(0);
  });
});
