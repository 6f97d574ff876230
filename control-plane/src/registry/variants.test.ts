import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Problem } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { Manifest } from '@edgeloop/shared/manifest';
import { signRelease } from '@edgeloop/shared/node/signing';
import { Release, variantsOf } from '@edgeloop/shared/release';
import { Hono } from 'hono';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import { openSqlite } from '../database/open.ts';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { createRegistry } from './registry.ts';
import { registryRoutes } from './routes.ts';

const folder = mkdtempSync(join(tmpdir(), 'registry-variants-'));
const log = pino({ level: 'silent' });
const keys = generateKeyPairSync('ed25519');
const database = openSqlite(join(folder, 'test.db'));
const blobs = createFolderBlobs(join(folder, 'blobs'));
const registry = createRegistry({
  database,
  blobs,
  signRelease: (release) => signRelease(release, keys.privateKey),
  now: () => 1000,
  notify: () => undefined,
  log,
  dataDir: folder,
});
const app = new Hono<Env>();
beforeAll(() => {
  app.use(async (c, next) => {
    c.set('actor', { name: 'key:test', role: 'operator' });
    await next();
  });
  app.route('/', registryRoutes({ registry, blobs }));
  app.onError(onError(log));
});
afterAll(async () => {
  await registry.close();
  await database.close();
  rmSync(folder, { recursive: true });
});

/** softmax([weight * a, weight * b + 1]). */
const model = (weight: number, input = 'x') =>
  softmaxClassifier(
    [
      [weight, 0],
      [0, weight],
    ],
    [0, 1],
    input,
  );
const golden = {
  tolerance: { absolute: 0.001, relative: 0 },
  samples: [
    {
      inputs: { x: { datatype: 'FP32', shape: [1, 2], data: [1, 0] } },
      outputs: { scores: { datatype: 'FP32', shape: [1, 2], data: [0.5, 0.5] } },
    },
  ],
};

function push(name: string, manifest: unknown, variants: Record<string, Uint8Array>, samples: unknown = undefined) {
  const form = new FormData();
  form.set('model', new Blob([Buffer.from(model(1))]), 'model.onnx');
  for (const [file, bytes] of Object.entries(variants)) form.append('variants', new Blob([Buffer.from(bytes)]), file);
  form.set('manifest', JSON.stringify(manifest));
  if (samples !== undefined) form.set('golden', JSON.stringify(samples));
  return app.request(`/models/${name}/versions`, { method: 'POST', body: form });
}
async function refusal(response: Response): Promise<Problem> {
  return Problem.parse(await response.json());
}

const int8 = { name: 'int8', requires: { arch: ['arm64'], memoryMb: 512 }, tolerance: { absolute: 0.1, relative: 0 } };
const acceptance = { maxLatencyMs: 50, maxMemoryMb: 200 };

it('registers files that devices pick from, each with its size and what it needs', async () => {
  const response = await push(
    'net',
    { variants: [int8], select: 'measure', acceptance },
    { 'int8.onnx': model(1.1) },
    golden,
  );
  const version = ModelVersionDetail.parse(await response.json());
  expect(version.variants).toMatchObject([
    { name: 'int8', sizeBytes: model(1.1).length, requires: int8.requires },
    { name: 'default', digest: version.digest, sizeBytes: version.sizeBytes, requires: {} },
  ]);
  const [first] = version.variants ?? [];
  expect(await registry.releaseBlobs('net', 1)).toEqual([
    version.release,
    version.digest,
    first?.digest,
    version.digest,
  ]);
  const file = await app.request('/models/net/versions/1/artifact?variant=int8');
  expect(
    createHash('sha256')
      .update(Buffer.from(await file.arrayBuffer()))
      .digest('hex'),
  ).toBe(first?.digest);
  expect(await refusal(await app.request('/models/net/versions/1/artifact?variant=fp16'))).toMatchObject({
    code: 'not_found',
    detail: 'model "net" version 1 has no variant "fp16"; it has int8, default',
  });
  const again = await push(
    'net',
    { variants: [int8], select: 'measure', acceptance },
    { 'int8.onnx': model(1.1) },
    golden,
  );
  expect(await refusal(again)).toMatchObject({ code: 'conflict' });
  const other = await push(
    'net',
    { variants: [int8], select: 'measure', acceptance },
    { 'int8.onnx': model(1.05) },
    golden,
  );
  expect(other.status).toBe(201);
});

it('writes a release that former agents read as one of the plain file alone', async () => {
  const { release } = await registry.version('net', 1);
  const document: unknown = JSON.parse((await blobs.read(release)).toString('utf8'));
  // As agents read it that know neither variants nor bounds.
  const former = z.object({
    artifact: Release.shape.artifact,
    manifest: Manifest.omit({ acceptance: true, variants: true, select: true }),
    golden: GoldenSamples,
  });
  expect(former.parse(document)).toMatchObject({ artifact: { digest: (await registry.version('net', 1)).digest } });
  const present = Release.parse(document);
  expect(present).toMatchObject({ select: 'measure', acceptance: { ...acceptance, quantile: 0.9, runs: 20 } });
  expect(variantsOf(present).map(({ name }) => name)).toEqual(['int8', 'default']);
});

it('registers a version of one file as before', async () => {
  const version = ModelVersionDetail.parse(await (await push('plain', {}, {})).json());
  expect(version.variants).toBeUndefined();
  const text = (await blobs.read(version.release)).toString('utf8');
  expect(text).not.toMatch(/variants|select|acceptance/);
  expect(variantsOf(Release.parse(JSON.parse(text)))).toMatchObject([{ name: 'default', requires: {} }]);
});

it.each([
  [
    'takes another input',
    { 'int8.onnx': model(1, 'y') },
    {},
    /variant "int8": its inputs are "y" FP32\[-1,2\], those of the plain file "x"/,
  ],
  [
    'computes something else',
    { 'int8.onnx': model(9) },
    {},
    /variant "int8": golden sample 0: output "scores" value 0/,
  ],
  ['is no model', { 'int8.onnx': Buffer.from('no') }, {}, /variant "int8": /],
  ['was not sent', {}, {}, /variants: the file of "int8" is missing/],
  [
    'is not named',
    { 'int8.onnx': model(1), 'fp16.onnx': model(1) },
    {},
    /"fp16" is no variant of the manifest \(int8\)/,
  ],
  ['is named twice', { 'int8.onnx': model(1) }, { variants: [int8, int8] }, /"int8" comes twice/],
  [
    'stands beside nothing',
    {},
    { variants: undefined, select: 'measure' },
    /manifest.select: there is nothing to pick from/,
  ],
  [
    'cannot keep a bound',
    {},
    { variants: undefined, acceptance: { maxLatencyMs: 50 }, maxRunMs: 20 },
    /maxLatencyMs: is 50, and a run is ended after maxRunMs, 20/,
  ],
  ['bounds nothing', {}, { variants: undefined, acceptance: {} }, /name a bound/],
  [
    'bounds a quantile with too few runs',
    {},
    { variants: undefined, acceptance: { maxLatencyMs: 1, quantile: 0.99 } },
    /too few for this quantile/,
  ],
])('refuses a version whose variant or bound %s', async (what, files, manifest, words) => {
  const samples = what === 'takes another input' ? undefined : golden;
  const response = await push('refused', { variants: [int8], ...manifest }, files, samples);
  expect(response.status).toBeGreaterThanOrEqual(400);
  const { detail, errors } = await refusal(response);
  expect(`${detail} ${JSON.stringify(errors)}`).toMatch(words);
});
