// Files and requests that people have, as the folder `cases` beside a checkout keeps them: what each README line says.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Manifest } from '@edgeloop/shared/manifest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelFiles } from '../../agent/src/process/ipc.ts';
import { type ServedFront, serveFront } from '../../agent/src/server/front-fixture.ts';
import { createVisitorCheck } from '../../agent/src/server/visitors.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing } from '../support/serving.ts';

const cases = fileURLToPath(new URL('../../../shared/data/cases', import.meta.url));
const has = existsSync(cases);
const reason = has ? '' : ` (skipped: no ${cases})`;

/** Where the others are looked at. */
const elsewhere: Readonly<Record<string, string>> = {
  '01-free-first-dim-not-batch': 'test/scenarios/requests-apart.test.ts',
  '11-registry-refuses-what-agents-serve': 'test/conformance/manifests.test.ts',
  '12-registry-takes-what-no-device-loads': 'test/conformance/manifests.test.ts',
  '28-cloned-card': 'control-plane/src/fleet/fleet.test.ts',
  '31-cli-from-a-pipe': 'control-plane/src/cli/given-file.test.ts',
};
const here = [
  ...['04-zipmap', '05-own-class-labels', '06-single-sigmoid', '25-jpeg-without-end-marker', '26-cross-site'],
  ...['27-browser-page', '30-missing-feature', '32-names-in-the-file', '33-near-miss-layouts', '50-passing-onnx'],
];
/** Imports of tables. */
const notYet = [
  ...['15-csv-labels-rewritten', '17-csv-missing-spellings', '18-csv-one-bad-row', '19-index-column'],
  ...['21-feature-called-label', '22-csv-header-twice', '23-csv-encoding-words'],
];

describe.skipIf(!has)(`cases${reason}`, () => {
  let front: ServedFront;
  beforeAll(async () => {
    const checkVisitor = createVisitorCheck({ allowOrigins: ['http://kiosk.local'], hosts: [] });
    front = await serveFront({ checkVisitor });
  });
  afterAll(() => front?.close());

  async function load(name: string): Promise<string[]> {
    const folder = join(cases, name, 'models');
    for (const model of readdirSync(folder)) {
      const said = join(folder, model, 'model.json');
      const manifest = Manifest.parse(existsSync(said) ? JSON.parse(readFileSync(said, 'utf8')) : {});
      const path = join(folder, model, '1/model.onnx');
      await front.engine.load(ModelFiles.parse({ name: model, version: 1, path, manifest }));
      front.engine.activate(model, 1);
    }
    return readdirSync(folder);
  }
  const predict = async (model: string, body: unknown, headers: Record<string, string> = {}): Promise<unknown> =>
    (await front.post(`/predict/${model}`, body, headers)).json();

  it('are all looked at, or said not to be', () => {
    const folders = readdirSync(cases, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map(({ name }) => name).sort()).toEqual([...Object.keys(elsewhere), ...here, ...notYet].sort());
  });

  it.todo(`of imports: ${notYet.join(', ')}`);

  it('04: the maps of converters are served, with their names', async () => {
    await load('04-zipmap');
    const answer = await predict('zipmap_str', { features: { a: 3, b: 0 } });
    expect(answer).toMatchObject({ label: 'setosa', scores: { setosa: expect.any(Number) } });
    expect(await predict('zipmap_int', { features: { a: 3, b: 0 } })).toMatchObject({ label: expect.any(String) });
  });

  it('05: the model’s own label is the label', async () => {
    await load('05-own-class-labels');
    expect(await predict('strlabel', { features: { a: 3, b: 0 } })).toMatchObject({ label: 'setosa' });
    expect(await predict('intlabel', { features: { a: 3, b: 0 } })).toMatchObject({ label: '10' });
  });

  it('06: one probability speaks for two classes', async () => {
    await load('06-single-sigmoid');
    const rows = [
      [3, 0],
      [0, 3],
    ];
    const probability = expect.closeTo(0.9526, 4);
    const predictions = [
      { label: 'worn', scores: { worn: probability } },
      { label: 'ok', scores: { ok: probability } },
    ];
    for (const model of ['keras_binary', 'torch_binary_flat'])
      expect(await predict(model, { rows })).toMatchObject({ predictions });
    const unnamed = [
      { label: '1', scores: { 1: probability } },
      { label: '0', scores: { 0: probability } },
    ];
    expect(await predict('keras_binary_nolabels', { rows })).toMatchObject({ predictions: unnamed });
  });

  it('25: a JPEG without its end marker is read', async () => {
    await load('25-jpeg-without-end-marker');
    const picture = readFileSync(join(cases, '25-jpeg-without-end-marker/nofinal.jpg'));
    const answer = await front.post('/predict/imgmean', picture, { 'content-type': 'image/jpeg' });
    expect(answer.status, answer.body.toString()).toBe(200);
  });

  it('26: what a page of another origin sends without asking first is refused', async () => {
    await load('26-cross-site');
    const origin = { origin: 'http://evil.example', 'content-type': 'text/plain' };
    const refused = [
      await front.post('/v2/repository/models/opset7/unload', '{}', { ...origin, 'sec-fetch-site': 'cross-site' }),
      await front.post('/v2/repository/models/opset7/load', '{}', { ...origin, host: 'evil.example' }),
    ];
    expect(refused.map(({ status }) => status)).toEqual([403, 403]);
    expect((await front.get('/v2/models/opset7/ready')).status).toBe(200);
  });

  it('27: a page of an origin that was allowed may ask', async () => {
    await load('27-browser-page');
    const asked = {
      origin: 'http://kiosk.local',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type',
    };
    const preflight = await front.send('OPTIONS', '/v2/models/passthrough/infer', asked);
    expect(preflight.status).toBeLessThan(300);
    expect(preflight.headers['access-control-allow-origin']).toBe('http://kiosk.local');
  });

  it('30: a missing value is NaN where the model takes it', async () => {
    await load('30-missing-feature');
    const nan = { inputs: [{ name: 'X', datatype: 'FP32', shape: [1, 2], data: ['NaN', 1] }] };
    const raw = JSON.stringify((await front.post('/v2/models/mlonly/infer', nan)).json());
    const [, value] = /"data":\[([^\],]*)/.exec(raw) ?? [];
    expect(value, raw).toBeDefined();
    const answers = [
      await predict('mlonly', { features: { a: null, b: 1 } }),
      await predict('mlonly', 'a,b\n,1\n', { 'content-type': 'text/csv' }),
    ];
    for (const answer of answers) expect(JSON.stringify(answer)).toContain(`${value}`);
  });

  it('32: names are read from the file', async () => {
    await load('32-names-in-the-file');
    const picture = readFileSync(join(cases, '32-names-in-the-file/plain.png'));
    const answer = JSON.stringify(await predict('yolo_nolabels', picture, { 'content-type': 'image/png' }));
    expect(answer).toContain('"label":"vest"');
  });

  it('50: exports that work are served', { timeout: 240_000 }, async () => {
    for (const model of await load('50-passing-onnx'))
      expect([model, (await front.get(`/v2/models/${model}/ready`)).status]).toEqual([model, 200]);
  });
});

describe.skipIf(!has)(`33: layouts that are almost right${reason}`, () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: FolderServer;
  beforeAll(async () => {
    folder = await temporaryFolder();
    mkdirSync(join(folder.path, 'models'));
    const own = join(cases, '33-near-miss-layouts');
    for (const name of readdirSync(own))
      if (!/README|run\.sh/.test(name)) cpSync(join(own, name), join(folder.path, 'models', name), { recursive: true });
    server = await startServing(join(folder.path, 'models'), { readyPath: '/v2/health/live' });
  });
  afterAll(async () => {
    await server?.stop();
    await folder?.remove();
  });

  it.each(['m_v1', 'm_net', 'm_flat', 'm_zero', 'm_0001', 'flat'])('what is wrong with %s is said', async (model) => {
    const index = await (await fetch(`${server.url}/v2/repository/index`, { method: 'POST' })).text();
    expect(index).toContain(model);
    const load = await fetch(`${server.url}/v2/repository/models/${model}/load`, { method: 'POST' });
    expect(load.status).toBe(404);
    expect(await load.text()).toMatch(/holds none of this name.+/);
  });
});
