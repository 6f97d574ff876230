// The registry refuses the manifests that agents refuse, and no others: what is pushed can be loaded, and what a folder serves
// can be pushed.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '@edgeloop/shared/errors';
import { Manifest, type ManifestInput } from '@edgeloop/shared/manifest';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSession } from '../../agent/src/inference/worker/session.ts';
import { proveModel } from '../../agent/src/models/trying/prove.ts';
import { tryModel } from '../../control-plane/src/registry/trial.ts';
import { createValidator } from '../../control-plane/src/registry/validation.ts';
import { mlClassifier } from '../../shared/src/onnx/classifier-fixture.ts';
import { encodeGraph, identity } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';

const golden = { samples: [], tolerance: { absolute: 0, relative: 0 } };
const limits = { timeoutMs: 60_000, maxRssBytes: 2 * 1024 ** 3, maxWaiting: 16 };
const validator = createValidator(limits);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => {
  folder = await temporaryFolder();
});
afterAll(async () => {
  await validator.close();
  await folder.remove();
});

const { signal } = new AbortController();

interface Verdicts {
  registry?: string;
  agent?: string;
}

/** What each side says: undefined when it takes the manifest. */
async function verdicts(path: string, manifest: Manifest): Promise<Verdicts> {
  const registry = await tryModel({ path, manifest, golden }).then(() => undefined, reasonOf);
  return both(registry, await tryOnAgent(path, manifest).then(() => undefined, reasonOf));
}

/** The same by the processes in which they try models. */
async function verdictsOfProcesses(path: string, manifest: Manifest): Promise<Verdicts> {
  const registry = await validator.validate({ path, manifest, golden }).then(() => undefined, reasonOf);
  const files = { name: 'm', version: 1, path, manifest };
  return both(registry, (await proveModel(files, limits, signal)).failure?.message);
}

function both(registry: string | undefined, agent: string | undefined): Verdicts {
  return { ...(registry !== undefined && { registry }), ...(agent !== undefined && { agent }) };
}

function reasonOf(error: unknown): string {
  if (error instanceof AppError && error.code === 'model_rejected') return error.message;
  throw error;
}

/** As agents do in every process that opens a model. */
async function tryOnAgent(path: string, manifest: Manifest): Promise<void> {
  const { session } = await openSession(path);
  try {
    interpret(manifest, session.signature);
  } finally {
    await session.release();
  }
}

const ab = { features: ['a', 'b'] };
const picture = { width: 4, height: 4 };
const adding = encodeGraph({
  inputs: [
    { name: 'x', type: 'float', dims: ['n', 2] },
    { name: 'b', type: 'float', dims: [2] },
  ],
  outputs: [{ name: 'y', type: 'float', dims: ['n', 2] }],
  nodes: [{ opType: 'Add', inputs: ['x', 'b'], outputs: ['y'] }],
});
const classes = mlClassifier(
  [
    [1, 0],
    [0, 1],
    [0, 0],
  ],
  ['setosa', 'versicolor', 'virginica'],
  { zipMap: true, onlyMl: true },
);

describe('the processes of both sides', () => {
  const path = () => join(folder.path, 'tried.onnx');

  it('say what was found in them', async () => {
    writeFileSync(path(), identity('int64', ['n']));
    const manifest = Manifest.parse({ task: 'classification' });
    const said = await verdicts(path(), manifest);
    expect(said.registry).toContain('manifest.outputs.scores: ');
    expect(await verdictsOfProcesses(path(), manifest)).toEqual(said);
  });

  it('take what is taken', async () => {
    writeFileSync(path(), classes);
    const manifest = Manifest.parse({ task: 'classification', inputs: { x: ab } });
    expect(await verdictsOfProcesses(path(), manifest)).toEqual({});
  });
});

describe('both sides refuse, with the same words', () => {
  it.each<[string, Uint8Array, ManifestInput, string]>([
    ['a label without scores', identity('int64', ['n']), { task: 'classification' }, 'outputs.scores'],
    [
      'boxes that are no output',
      identity('float', [1, 3, 4, 4]),
      { task: 'detection', inputs: { x: { image: picture } }, outputs: { detection: { boxes: 'b', scores: 'y' } } },
      'outputs.detection.boxes',
    ],
    [
      'sound as integers',
      identity('int16', [1, 'n']),
      { inputs: { x: { audio: { sampleRate: 8000 } } } },
      'inputs.x.audio',
    ],
    [
      'scaled bytes',
      identity('uint8', [1, 3, 4, 4]),
      { inputs: { x: { image: { ...picture, scale: 2 } } } },
      'inputs.x.image',
    ],
    [
      'pictures as signed bytes',
      identity('int8', [1, 3, 4, 4]),
      { inputs: { x: { image: picture } } },
      'inputs.x.image',
    ],
    ['text for a number', adding, { inputs: { x: ab, b: { value: 'text' } } }, 'inputs.b.value'],
    ['one name for two features', adding, { inputs: { x: ab, b: { features: ['b', 'c'] } } }, 'inputs'],
    ['a name twice', adding, { inputs: { x: { features: ['a', 'a'] } } }, 'inputs.x.features'],
    ['labels twice', adding, { inputs: { x: ab }, outputs: { labels: ['a', 'a'] } }, 'outputs.labels'],
    ['labels of no output', adding, { outputs: { labels: ['a', 'b', 'c'] } }, 'outputs.labels'],
    ['scores of no output', adding, { outputs: { scores: 'logits' } }, 'outputs.scores'],
    [
      'other classes than the file',
      classes,
      { task: 'classification', outputs: { labels: ['a', 'b'] } },
      'outputs.labels',
    ],
    [
      'a reference of unknown features',
      adding,
      { inputs: { x: ab }, monitoring: { reference: { rows: 1, features: { c: { edges: [1], counts: [0, 1, 0] } } } } },
      'monitoring.reference.features.c',
    ],
  ])('%s', async (_, bytes, manifest, field) => {
    const path = join(folder.path, 'refused.onnx');
    writeFileSync(path, bytes);
    const { registry, agent } = await verdicts(path, Manifest.parse(manifest));
    expect(registry).toContain(`manifest.${field}: `);
    expect(agent).toBe(registry);
  });
});

describe('both sides take', () => {
  it.each<[string, Uint8Array, ManifestInput]>([
    [
      'gray pictures without a batch',
      identity('float', [1, 28, 28]),
      { inputs: { x: { image: { width: 28, height: 28, color: 'gray' } } } },
    ],
    [
      'gray pictures of two dimensions',
      identity('float', [28, 28]),
      { inputs: { x: { image: { width: 28, height: 28, color: 'gray' } } } },
    ],
    [
      'colour pictures without a batch',
      identity('float', [4, 4, 3]),
      { inputs: { x: { image: { ...picture, layout: 'nhwc' } } } },
    ],
    ['a file of learnt operators only', classes, { task: 'classification', inputs: { x: ab } }],
    [
      'labels for one probability',
      identity('float', ['n', 1]),
      { task: 'classification', outputs: { labels: ['ok', 'worn'] } },
    ],
  ])('%s', async (_, bytes, manifest) => {
    const path = join(folder.path, 'taken.onnx');
    writeFileSync(path, bytes);
    expect(await verdicts(path, Manifest.parse(manifest))).toEqual({});
  });
});

const cases = fileURLToPath(new URL('../../../shared/data/cases', import.meta.url));
const models = (name: string) => (existsSync(join(cases, name)) ? readdirSync(join(cases, name, 'models')) : []);
function caseOf(name: string, model: string): [string, Manifest] {
  const own = join(cases, name, 'models', model);
  const said = join(own, 'model.json');
  return [join(own, '1/model.onnx'), Manifest.parse(existsSync(said) ? JSON.parse(readFileSync(said, 'utf8')) : {})];
}

describe.skipIf(!existsSync(cases))('files that people have', () => {
  it.each(models('11-registry-refuses-what-agents-serve'))('%s is taken', async (model) => {
    expect(await verdicts(...caseOf('11-registry-refuses-what-agents-serve', model))).toEqual({});
  });

  it.each(models('12-registry-takes-what-no-device-loads'))('%s is refused', async (model) => {
    const { registry, agent } = await verdicts(...caseOf('12-registry-takes-what-no-device-loads', model));
    expect(registry).toContain('manifest.');
    expect(agent).toBe(registry);
  });

  // Tensors beside the file are for folders: a registry stores one file.
  it.each(models('50-passing-onnx').filter((model) => model !== 'extdata'))('%s is taken', async (model) => {
    const [path, manifest] = caseOf('50-passing-onnx', model);
    expect(await tryModel({ path, manifest, golden }).then(() => 'taken', reasonOf)).toBe('taken');
  });
});

it('agree on any manifest and any model', async () => {
  const dims = fc.constantFrom(['n', 2], ['n', 1], ['n'], [1, 2], [2], [1, 4, 4], [1, 3, 4, 4], ['n', 3, 1, 1], []);
  const types = fc.constantFrom('float', 'float16', 'double', 'int64', 'int8', 'uint8', 'string', 'bool');
  const label = fc.constantFrom('a', 'b', 'c');
  const labels = fc.array(label, { minLength: 1, maxLength: 3 });
  const input = fc.oneof(
    fc.record({ features: labels }),
    fc.record({
      image: fc.record({ width: fc.constant(4), height: fc.constant(4), color: fc.constantFrom('rgb', 'gray') }),
    }),
    fc.record({ audio: fc.constant({ sampleRate: 8000 }) }),
    fc.record({ value: fc.constantFrom(1, 'text', true, [1, 2]) }),
    fc.record({ features: labels, value: fc.constant(1) }),
  );
  const outputs = fc.record(
    {
      labels,
      scores: fc.constantFrom('y', 'y', 'y', 'z'),
      label: fc.constantFrom('y', 'y', 'y', 'z'),
      activation: fc.constantFrom('softmax', 'sigmoid'),
      detection: fc.constantFrom({ table: 'y' }, { table: 'z' }, { boxes: 'y', scores: 'y' }),
    },
    { requiredKeys: [] },
  );
  const manifests = fc.record({
    task: fc.constantFrom('classification', 'regression', 'detection', 'anomaly', 'generic'),
    inputs: fc.oneof(
      fc.constant({}),
      fc.record({ x: input }),
      fc.dictionary(fc.constantFrom('x', 'z'), input, { maxKeys: 2 }),
    ),
    outputs: fc.oneof(fc.constant({}), fc.record({ labels }), outputs),
  });
  const path = join(folder.path, 'any.onnx');
  const seen = { taken: 0, refused: 0 };
  const sameVerdict = async (
    type: Parameters<typeof identity>[0],
    shape: readonly (string | number)[],
    said: unknown,
  ) => {
    writeFileSync(path, identity(type, shape));
    const manifest = Manifest.parse(said);
    const registry = await tryModel({ path, manifest, golden }).then(() => 'taken', reasonOf);
    const agent = await tryOnAgent(path, manifest).then(() => 'taken', reasonOf);
    expect(agent).toBe(registry);
    seen[agent === 'taken' ? 'taken' : 'refused']++;
  };
  await fc.assert(fc.asyncProperty(types, dims, manifests, sameVerdict), { numRuns: 400 });
  expect(Math.min(seen.taken, seen.refused)).toBeGreaterThan(30);
});
