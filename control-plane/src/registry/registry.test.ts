import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Problem } from '@edgeloop/shared/errors';
import { sha256 } from '@edgeloop/shared/node/digests';
import { signRelease, verifyRelease } from '@edgeloop/shared/node/signing';
import { Release } from '@edgeloop/shared/release';
import { Hono } from 'hono';
import pino from 'pino';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { endlessLoop, externalData, processKiller, sequenceOutput } from '../../../test/support/hostile-models.ts';
import { encodeGraph, sideBySide, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import { openSqlite } from '../database/open.ts';
import { listen } from '../http/listen.ts';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { createRegistry, defaultLimits } from './registry.ts';
import { registryRoutes } from './routes.ts';
import type { ValidationLimits } from './validation.ts';
import { createVersionNumbers } from './version-numbers.ts';

const log = pino({ level: 'silent' });
const root = mkdtempSync(join(tmpdir(), 'registry-'));
const keys = generateKeyPairSync('ed25519');
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;
function setup(validation: Partial<ValidationLimits> = {}) {
  const dataDir = join(root, String(count++));
  const database = openSqlite(join(dataDir, 'test.db'));
  const blobs = createFolderBlobs(join(dataDir, 'blobs'));
  const events: string[] = [];
  const registry = createRegistry({
    database,
    blobs,
    signRelease: (release) => signRelease(release, keys.privateKey),
    now: () => 1_000,
    notify: (event) => events.push(`${event.type} ${event.id} ${event.state}`),
    log,
    dataDir,
    limits: { model: 100_000, validation: { ...defaultLimits.validation, ...validation } },
  });
  const app = new Hono<Env>();
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'operator' });
    await next();
  });
  app.route('/', registryRoutes({ registry, blobs }));
  app.onError(onError(log));
  const close = async () => {
    await registry.close();
    await database.close();
  };
  const numbers = createVersionNumbers(database.tables);
  return { app, registry, numbers, database, blobs, events, dataDir, close };
}
let world: ReturnType<typeof setup>;
beforeEach(() => {
  world = setup();
});
afterEach(() => world.close());

type Parts = { model?: Uint8Array; manifest?: unknown; golden?: unknown };
function form({ model, manifest, golden }: Parts): FormData {
  const data = new FormData();
  if (model !== undefined) data.set('model', new Blob([Buffer.from(model)]), 'model.onnx');
  if (manifest !== undefined) data.set('manifest', JSON.stringify(manifest));
  if (golden !== undefined) data.set('golden', new Blob([JSON.stringify(golden)]), 'golden.json');
  return data;
}
async function push(parts: Parts, name = 'net') {
  return world.app.request(`/models/${name}/versions`, { method: 'POST', body: form(parts) });
}
async function pushed(parts: Parts): Promise<ModelVersionDetail> {
  const response = await push(parts);
  expect(await response.clone().text()).not.toContain('urn:edgeloop:problem');
  return ModelVersionDetail.parse(await response.json());
}
function stream(body: ReadableStream<Uint8Array>, headers: Record<string, string>) {
  const init: RequestInit & { duplex: 'half' } = { method: 'POST', body, headers, duplex: 'half' };
  return world.app.request(new Request('http://server/models/net/versions', init));
}
async function problem(response: Response | Promise<Response>): Promise<Problem> {
  return Problem.parse(await (await response).json());
}
function nothingStored() {
  const folder = join(world.dataDir, 'tmp', 'uploads');
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  expect(existsSync(join(world.dataDir, 'blobs'))).toBe(false);
}

/** softmax([weight * a, weight * b + 1]) of `x` [n, 2]. */
const softmaxModel = (weight = 1) =>
  softmaxClassifier(
    [
      [weight, 0],
      [0, weight],
    ],
    [0, 1],
    'x',
  );
const golden = (expected: number) => ({
  samples: [
    {
      inputs: { x: { datatype: 'FP32', shape: [1, 2], data: [0, 0] } },
      outputs: { scores: { datatype: 'FP32', shape: [1, 2], data: [expected, 1 - expected] } },
    },
  ],
});
const int64 = (value: string) => ({ datatype: 'INT64', shape: [1], data: [value] });
const lethalSample = {
  samples: [{ inputs: { x: int64('0'), d: int64('-2') }, outputs: { y: int64('1') } }],
};
const float = { datatype: 'FP32', shape: [1], data: [1] };
const endlessSample = { samples: [{ inputs: { x: float }, outputs: { y: float } }] };
const truth = 1 / (1 + Math.E);
const manifest = {
  task: 'classification',
  inputs: { x: { features: ['a', 'b'] } },
  outputs: { labels: ['no', 'yes'], scores: 'scores' },
};

describe('a pushed version', () => {
  it('gets a number, its signature as read from the file, and a signed release that names the file', async () => {
    const model = softmaxModel();
    const detail = await pushed({ model, manifest, golden: golden(truth) });
    expect(detail).toMatchObject({
      model: 'net',
      version: 1,
      digest: sha256(model),
      sizeBytes: model.length,
      goldenSamples: 1,
      createdBy: 'key:test',
      lineage: { source: 'upload' },
    });
    expect(detail.io).toEqual({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'scores', datatype: 'FP32', shape: [-1, 2] }],
      opset: 17,
    });
    const bytes = await world.blobs.read(detail.release);
    const release = Release.parse(JSON.parse(bytes.toString()));
    expect(release).toMatchObject({
      name: 'net',
      version: 1,
      artifact: { digest: sha256(model) },
      signature: detail.io,
    });
    expect(release.golden.samples).toHaveLength(1);
    const publicKey = createPublicKey(keys.publicKey.export({ type: 'spki', format: 'pem' }));
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    expect(verifyRelease(sha256(bytes), detail.signature, [pem])).toBe(true);
    expect(await world.registry.releaseBlobs('net', 1)).toEqual([detail.release, detail.digest]);
    expect(world.events).toEqual(['model net version 1']);
    expect(readdirSync(join(world.dataDir, 'tmp', 'uploads'))).toEqual([]);
  });

  it('counts on from the last one, also when several come at once', async () => {
    await Promise.all([1, 2, 3].map((weight) => pushed({ model: softmaxModel(weight) })));
    const response = await world.app.request('/models/net');
    expect(await response.json()).toMatchObject({ versions: [{ version: 3 }, { version: 2 }, { version: 1 }] });
    const actions = await world.database.read
      .select({ action: world.database.tables.audit.action })
      .from(world.database.tables.audit);
    expect(actions.map(({ action }) => action).sort()).toEqual([
      'model.create',
      'model.register',
      'model.register',
      'model.register',
    ]);
  });

  it('gets no number that anybody has named, even while it was being signed', async () => {
    const named = (version: number, model = 'net') =>
      world.database.transact((tx) => world.numbers.reserve(tx, [{ model, version }]));
    await pushed({ model: softmaxModel(1) });
    await named(4);
    await named(2);
    expect((await pushed({ model: softmaxModel(2) })).version).toBe(5);
    const { put } = world.blobs;
    world.blobs.put = async (bytes) => {
      world.blobs.put = put;
      await named(6);
      return put(bytes);
    };
    const detail = await pushed({ model: softmaxModel(3) });
    expect(detail.version).toBe(7);
    const release = Release.parse(JSON.parse((await world.blobs.read(detail.release)).toString()));
    expect(release.version).toBe(7);
    await named(2, 'lost');
    expect(ModelVersionDetail.parse(await (await push({ model: softmaxModel() }, 'lost')).json()).version).toBe(3);
  });

  it('is not kept from its number by one who names a number out of all reach, however often', async () => {
    await pushed({ model: softmaxModel(1) });
    const { numbers, database } = world;
    const name = (version: number) => database.transact((tx) => numbers.reserve(tx, [{ model: 'net', version }]));
    await name(2 ** 31 - 1);
    expect(await numbers.next(database.read, 'net')).toBe(2);
    for (let version = 5000; version < 100_000; version += 5000) await name(version);
    expect(await numbers.next(database.read, 'net')).toBe(10_001);
  });

  it('that is there already is refused with the version that it equals; other golden samples make another', async () => {
    const model = softmaxModel();
    await pushed({ model, manifest });
    const again = await push({ model, manifest });
    expect(again.status).toBe(409);
    expect((await problem(again)).detail).toContain('as version 1 already');
    expect((await pushed({ model, manifest, golden: golden(truth) })).version).toBe(2);
  });

  it('is downloaded whole, in ranges, and not again when it is known', async () => {
    const model = softmaxModel();
    await pushed({ model });
    const path = '/models/net/versions/1/artifact';
    const whole = await world.app.request(path);
    expect(whole.headers.get('content-length')).toBe(String(model.length));
    expect(Buffer.from(await whole.arrayBuffer()).equals(model)).toBe(true);
    const part = await world.app.request(path, { headers: { Range: 'bytes=10-19' } });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 10-19/${model.length}`);
    expect(Buffer.from(await part.arrayBuffer()).equals(model.slice(10, 20))).toBe(true);
    const tail = await world.app.request(path, { headers: { Range: `bytes=${model.length - 3}-` } });
    expect(Buffer.from(await tail.arrayBuffer()).equals(model.slice(-3))).toBe(true);
    expect((await world.app.request(path, { headers: { Range: `bytes=${model.length}-` } })).status).toBe(416);
    const etag = whole.headers.get('etag') ?? '';
    expect((await world.app.request(path, { headers: { 'If-None-Match': etag } })).status).toBe(304);
  });
});

describe('a model is refused, and nothing of it is kept', () => {
  const refusals: [what: string, parts: () => Parts, detail: string][] = [
    ['that is no ONNX file', () => ({ model: Buffer.from('%PDF-1.7 and so on') }), 'not a readable ONNX model'],
    ['that is empty', () => ({ model: Buffer.alloc(0) }), 'not a readable ONNX model'],
    ['that is truncated', () => ({ model: softmaxModel().slice(0, -30) }), 'not a readable ONNX model'],
    ['whose data is outside', () => ({ model: externalData('../../etc/passwd') }), '"../../etc/passwd"'],
    [
      'whose golden samples do not reproduce',
      () => ({ model: softmaxModel(), golden: golden(0.9) }),
      'golden sample 0: output "scores" value 0 is 0.26',
    ],
    ['that gives no tensor', () => ({ model: sequenceOutput() }), 'output "s" is not a tensor'],
    ['that ends its process', () => ({ model: processKiller(), golden: lethalSample }), 'by SIGFPE'],
    [
      'of an operator that does not exist',
      () => ({
        model: encodeGraph({
          inputs: [{ name: 'x', type: 'float', dims: [1] }],
          outputs: [{ name: 'y', type: 'float', dims: [1] }],
          nodes: [{ opType: 'Frobnicate', inputs: ['x'], outputs: ['y'] }],
        }),
      }),
      'Frobnicate',
    ],
  ];
  it.each(refusals)('%s', async (_what, parts, detail) => {
    const response = await push(parts());
    const { detail: said, code } = await problem(response.clone());
    expect(said).toContain(detail);
    expect([response.status, code]).toEqual([422, 'model_rejected']);
    nothingStored();
    expect(await world.registry.models({ limit: 10 })).toEqual({ items: [] });
  });

  it.each([
    ['never ends', { model: endlessLoop(), golden: endlessSample }, { timeoutMs: 2_000 }, 'did not finish within 2 s'],
    ['uses too much memory', { model: softmaxModel() }, { maxRssBytes: 20_000_000 }, 'allowed are 20 MB'],
  ])('that %s', async (_what, parts, limits, detail) => {
    await world.close();
    world = setup(limits);
    const refused = await problem(push(parts));
    expect(refused).toMatchObject({ code: 'model_rejected', detail: expect.stringContaining(detail) });
    nothingStored();
  });

  const misfits: [field: string, manifest: unknown][] = [
    ['manifest.inputs.z', { inputs: { z: { features: ['a', 'b'] } } }],
    ['manifest.inputs.x.features', { inputs: { x: { features: ['a'] } } }],
    ['manifest.outputs.scores', { outputs: { scores: 'logits' } }],
    ['manifest.outputs.labels', { outputs: { labels: ['a', 'b', 'c'] } }],
    [
      'manifest.monitoring.reference.features.c',
      {
        inputs: { x: { features: ['a', 'b'] } },
        monitoring: { reference: { rows: 1, features: { c: { edges: [1], counts: [0, 1, 0] } } } },
      },
    ],
  ];
  it.each(misfits)('whose manifest does not fit: %s', async (field, unfit) => {
    const response = await push({ model: softmaxModel(), manifest: unfit });
    expect(response.status).toBe(422);
    expect((await problem(response)).errors?.map((error) => error.field)).toEqual([field]);
    nothingStored();
  });

  it('whose manifest has several faults, all of which are told', async () => {
    const unfit = {
      task: 'classification',
      inputs: { z: { features: ['a', 'b'] }, x: { features: ['a', 'a'] } },
      outputs: { scores: 'logits' },
    };
    const { errors, detail } = await problem(push({ model: softmaxModel(), manifest: unfit }));
    expect(errors?.map(({ field }) => field)).toEqual([
      'manifest.inputs.z',
      'manifest.inputs.x.features',
      'manifest.outputs.scores',
    ]);
    expect(detail).toContain('the manifest does not fit the model: manifest.inputs.z');
    nothingStored();
  });

  it('whose manifest gives one name to the features of two inputs', async () => {
    const inputs = { wide: { features: ['width', 'height'] }, a: { features: ['width'] } };
    const refused = await problem(push({ model: sideBySide(), manifest: { inputs } }));
    expect(refused.errors).toEqual([
      { field: 'manifest.inputs', message: 'the feature name "width" is given to two inputs' },
    ]);
    nothingStored();
  });

  it('whose manifest has an unknown key', async () => {
    const response = await push({ model: softmaxModel(), manifest: { batch: 3 } });
    expect(response.status).toBe(400);
    expect((await problem(response)).detail).toContain('manifest');
    nothingStored();
  });

  it('that is larger than allowed, or missing', async () => {
    const large = await push({ model: Buffer.alloc(100_001) });
    expect(large.status).toBe(413);
    expect((await problem(push({ manifest: {} }))).errors).toEqual([{ field: 'model', message: 'is missing' }]);
    nothingStored();
  });

  it.each([
    ['as a field', ''],
    ['as a file', '; filename="manifest.json"'],
  ])('whose manifest has 300 MB, %s, without reading all of it', async (_how, filename) => {
    const block = Buffer.alloc(1_000_000, 0x20);
    const head = `--b\r\nContent-Disposition: form-data; name="manifest"${filename}\r\n\r\n`;
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(sent++ === 0 ? Buffer.from(head) : block);
        if (sent > 300) controller.close();
      },
    });
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
    const response = await stream(body, headers);
    expect(response.status).toBe(413);
    expect((await problem(response)).detail).toContain('manifest');
    expect(sent).toBeLessThan(40);
    nothingStored();
  });

  it.each([
    ['stops short', false],
    ['breaks off', true],
  ])('when the upload %s', async (_how, broken) => {
    const head = '--b\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\nsome bytes of';
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(Buffer.from(head));
        if (!broken) controller.close();
      },
      pull(controller) {
        if (broken) controller.error(new Error('the connection was reset'));
      },
    });
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
    const response = await stream(body, headers);
    expect(response.status).toBe(400);
    nothingStored();
  });
});

describe('models', () => {
  it('are created by name once, and listed in pages', async () => {
    const create = (name: string) =>
      world.app.request('/models', {
        method: 'POST',
        body: JSON.stringify({ name }),
        headers: { 'Content-Type': 'application/json' },
      });
    for (const name of ['b', 'a', 'c']) expect((await create(name)).status).toBe(201);
    expect((await create('a')).status).toBe(409);
    const first = await world.registry.models({ limit: 2 });
    const second = await world.registry.models({ limit: 2, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((model) => model.name)).toEqual(['a', 'b', 'c']);
    expect(second.nextCursor).toBeUndefined();
  });

  it('and versions that are not there are not found by name', async () => {
    expect((await problem(world.app.request('/models/net/versions/1'))).detail).toBe('there is no model "net"');
    await pushed({ model: softmaxModel() });
    const missing = await problem(world.app.request('/models/net/versions/7'));
    expect(missing).toMatchObject({ code: 'not_found', detail: 'model "net" has no version 7' });
  });
});

describe('the features of a model', () => {
  it('are those of all inputs of its newest version, in the order that devices have', async () => {
    await expect(world.registry.featureNames('net')).rejects.toMatchObject({ code: 'not_found' });
    await world.app.request('/models', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'net' }),
    });
    expect(await world.registry.featureNames('net')).toEqual([]);
    await pushed({ model: softmaxModel(), manifest: { inputs: { x: { features: ['p', 'q'] } } } });
    expect(await world.registry.featureNames('net')).toEqual(['p', 'q']);
    const [wide, a] = [{ features: ['width', 'height'] }, { features: ['age'] }];
    await pushed({ model: sideBySide(), manifest: { inputs: { wide, a } } });
    // As PostgreSQL gives JSON back: shorter keys first.
    const { tables } = world.database;
    await world.database.transact(async (tx) => {
      await tx.update(tables.modelVersions).set({ manifest: { inputs: { a, wide } } });
    });
    expect(await world.registry.featureNames('net')).toEqual(['width', 'height', 'age']);
  });
});

describe('over a real connection', () => {
  it('a manifest of 300 MB is answered while it is still being sent', async () => {
    const listener = await listen(world.app.fetch, { host: '127.0.0.1', port: 0 });
    const head = '--b\r\nContent-Disposition: form-data; name="manifest"\r\n\r\n';
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b', 'Content-Length': String(300_000_000) };
    const url = `http://127.0.0.1:${listener.port}/models/net/versions`;
    const block = Buffer.alloc(1_000_000, 0x20);
    const status = await new Promise((resolve, reject) => {
      const sending = request(url, { method: 'POST', headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
        sending.destroy();
      });
      sending.on('error', reject);
      sending.write(head);
      const more = () => {
        if (!sending.destroyed) sending.write(block, more);
      };
      more();
    });
    expect(status).toBe(413);
    nothingStored();
    await listener.close(AbortSignal.timeout(1000));
  });
});
