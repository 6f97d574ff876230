// Versions of several models, in the registry.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Problem } from '@edgeloop/shared/errors';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { sha256 } from '@edgeloop/shared/node/digests';
import { Hono } from 'hono';
import pino from 'pino';
import { afterAll, describe, expect, it } from 'vitest';
import { cellPicture, colourClassifier, colourFiles, colourManifest } from '../../../test/support/pipeline-models.ts';
import { createFolderBlobs } from '../blobs/folder.ts';
import { openSqlite } from '../database/open.ts';
import { onError } from '../http/problem.ts';
import type { Env } from '../http/router.ts';
import { createRegistry } from './registry.ts';
import { readRelease } from './release-document.ts';
import { registryRoutes } from './routes.ts';

const log = pino({ level: 'silent' });
const root = mkdtempSync(join(tmpdir(), 'registry-pipelines-'));
const database = openSqlite(join(root, 'test.db'));
const blobs = createFolderBlobs(join(root, 'blobs'));
const registry = createRegistry({
  database,
  blobs,
  signRelease: () => 'signed',
  now: () => 1_000,
  notify: () => undefined,
  log,
  dataDir: root,
  limits: { model: 1_000_000 },
});
const app = new Hono<Env>();
app.use(async (c, next) => {
  c.set('actor', { name: 'key:test', role: 'operator' });
  await next();
});
app.route('/', registryRoutes({ registry, blobs }));
app.onError(onError(log));
afterAll(async () => {
  await registry.close();
  await database.close();
  rmSync(root, { recursive: true });
});

type Part = [name: 'files' | 'model', file: string, bytes: Uint8Array];
const parts: Part[] = Object.entries(colourFiles).map(([file, bytes]) => ['files', file, bytes]);

async function push(sent: readonly Part[], manifest: ManifestInput, golden?: unknown): Promise<Response> {
  const form = new FormData();
  for (const [name, file, bytes] of sent) form.append(name, new Blob([Buffer.from(bytes)]), file);
  form.set('manifest', JSON.stringify(manifest));
  if (golden !== undefined) form.set('golden', JSON.stringify(golden));
  return app.request('/models/colours/versions', { method: 'POST', body: form });
}

async function pushed(...of: Parameters<typeof push>): Promise<ModelVersionDetail> {
  const response = await push(...of);
  expect(await response.clone().text()).not.toContain('urn:edgeloop:problem');
  return ModelVersionDetail.parse(await response.json());
}

const goldenOf = (found: number) => ({
  samples: [
    {
      inputs: {
        picture: { datatype: 'UINT8', shape: [1, 40, 40, 3], data: [...cellPicture({ 5: [0, 200, 0] })] },
      },
      outputs: {
        boxes: { datatype: 'FP32', shape: [1, 4], data: [10, 10, 20, 20] },
        found: { datatype: 'INT64', shape: [1], data: [found] },
      },
    },
  ],
});

describe('a version of several models', () => {
  it('is one release of one file, with the inputs and outputs of the whole, proven by its golden samples', async () => {
    const detail = await pushed(parts, colourManifest(), goldenOf(1));
    expect(detail).toMatchObject({
      version: 1,
      goldenSamples: 1,
      manifest: { pipeline: { outputs: ['boxes', 'colours', 'found'] } },
    });
    expect(detail.io).toEqual({
      inputs: [{ name: 'picture', datatype: 'UINT8', shape: [1, -1, -1, 3] }],
      outputs: [
        { name: 'boxes', datatype: 'FP32', shape: [-1, 4] },
        { name: 'colours', datatype: 'FP32', shape: [-1, 3] },
        { name: 'found', datatype: 'INT64', shape: [1] },
      ],
    });
    const artifact = await app.request('/models/colours/versions/1/artifact');
    const bytes = Buffer.from(await artifact.arrayBuffer());
    expect(artifact.headers.get('content-disposition')).toContain('colours-1.tar');
    expect([sha256(bytes), bytes.length]).toEqual([detail.digest, detail.sizeBytes]);
    expect(execFileSync('tar', ['-t'], { input: bytes, encoding: 'utf8' })).toBe(
      'pipeline.json\ncolours.onnx\ndetector.onnx\n',
    );
    expect(execFileSync('tar', ['-xO', 'detector.onnx'], { input: bytes }).equals(colourFiles['detector.onnx'])).toBe(
      true,
    );
    expect(readdirSync(join(root, 'tmp', 'uploads'))).toEqual([]);
  });

  it('shares the segments of files that stay with the version before it', async () => {
    const [{ release: before }] = [await registry.version('colours', 1)];
    const changed: Part[] = [
      ['files', 'colours.onnx', colourClassifier('rows')],
      ['files', 'detector.onnx', colourFiles['detector.onnx']],
    ];
    const after = await pushed(changed, colourManifest());
    const segments = async (release: string) => (await readRelease(blobs, release)).artifact.segments;
    const known = new Set((await segments(before)).map(({ digest }) => digest));
    const all = await segments(after.release);
    expect(all.map(({ digest }) => known.has(digest))).toEqual([true, false, true]);
    expect(all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(after.sizeBytes);
  });

  it('is refused when it is there already, and another one when the same files follow each other otherwise', async () => {
    const again = Problem.parse(await (await push(parts, colourManifest(), goldenOf(1))).json());
    expect(again).toMatchObject({ code: 'conflict' });
    const other = structuredClone(colourManifest());
    const bright = other.pipeline?.steps[2];
    if (bright?.operation === 'detect') bright.detection.scoreThreshold = 0.2;
    const { digest } = await pushed(parts, other);
    expect(digest).not.toBe((await registry.version('colours', 1)).digest);
  });

  it.each<[string, readonly Part[], ManifestInput, unknown, object]>([
    [
      'golden samples that it does not reproduce',
      parts,
      colourManifest(),
      goldenOf(2),
      { code: 'model_rejected', detail: expect.stringMatching(/^golden sample 0: .*found/) },
    ],
    [
      'a file that is missing',
      parts.slice(0, 1),
      colourManifest(),
      undefined,
      {
        code: 'model_rejected',
        detail:
          'manifest.pipeline.steps.4.model: step "colours" needs the file "colours.onnx"; there are "detector.onnx"',
      },
    ],
    [
      'a file that no step names',
      [...parts, ['files', 'more.onnx', colourClassifier()]],
      colourManifest(),
      undefined,
      { code: 'invalid_request', detail: 'files: "more.onnx" is named by no step, or comes twice; leave it out' },
    ],
    [
      'one file in the place of several',
      [['model', 'colours.onnx', colourClassifier()]],
      colourManifest(),
      undefined,
      {
        code: 'invalid_request',
        errors: [{ field: 'model', message: expect.stringContaining('send each of its files') }],
      },
    ],
    [
      'several files and no word of how they follow each other',
      parts,
      {},
      undefined,
      { code: 'invalid_request', detail: 'files: the manifest has no pipeline: send one file as the part "model"' },
    ],
    [
      'steps that do not fit their models',
      parts,
      wired(1, { inputs: { x: 'picture' } }),
      undefined,
      {
        code: 'model_rejected',
        errors: [
          {
            field: 'manifest.pipeline.steps.1.inputs.x',
            message: expect.stringContaining(
              'step "detector": "x" FP32 [1,1,4,4] does not take "picture", which is UINT8',
            ),
          },
        ],
      },
    ],
    [
      'a file that is no model',
      [['files', 'detector.onnx', Buffer.from('nothing')], parts[1] ?? ['files', '', Buffer.alloc(0)]],
      colourManifest(),
      undefined,
      { code: 'model_rejected', detail: expect.stringMatching(/detector\.onnx/) },
    ],
  ])('is refused with %s', async (_, sent, manifest, golden, expected) => {
    const problem = Problem.parse(await (await push(sent, manifest, golden)).json());
    expect(problem).toMatchObject(expected);
  });
});

/** The manifest with a change of one step; what the step read before comes out. */
function wired(at: number, changes: object): ManifestInput {
  const manifest = structuredClone(colourManifest());
  const step = manifest.pipeline?.steps[at];
  if (step) Object.assign(step, changes);
  manifest.pipeline?.outputs.push('grid');
  return manifest;
}
