import { AppError } from '@edgeloop/shared/errors';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeGraph, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { complaintsOf } from '../../../test/support/promtool.ts';
import { promtool } from '../../../test/support/requirements.ts';
import { fullToken } from '../process/local-tokens.ts';
import { createTokenCheck } from './access.ts';
import { createFeedbackChannel } from './feedback.ts';
import { type ServedFront, serveFront, ways } from './front-fixture.ts';
import { createRepositoryChannel, type RepositoryChannel } from './repository.ts';

const tool = promtool();

const classifier: ManifestInput = {
  task: 'classification',
  inputs: { features: { features: ['a', '__proto__'] } },
  outputs: { labels: ['left', '__proto__'] },
};
const doubling = encodeGraph({
  inputs: [{ name: 'x', type: 'double', dims: ['n', 1] }],
  outputs: [{ name: 'y', type: 'double', dims: ['n', 1] }],
  nodes: [{ opType: 'Add', inputs: ['x', 'x'], outputs: ['y'] }],
});

describe.each(ways)('the local HTTP, read %s', (_way, plain) => {
  let front: ServedFront;
  const repository: RepositoryChannel = createRepositoryChannel((message) => {
    if (message.kind !== 'repository') return;
    const { requestId, action, name } = message;
    asked.push(`${action} ${name}`);
    const error = name === 'nobody' ? { code: 'not_found' as const, message: 'unknown model: "nobody"' } : undefined;
    setImmediate(() => repository.settle({ kind: 'repository_result', requestId, ...(error ? { error } : {}) }));
  });
  const asked: string[] = [];

  beforeAll(async () => {
    front = await serveFront(
      {
        repository,
        notLoaded: () => [{ name: 'gone', version: 7, state: 'UNAVAILABLE', reason: 'unloaded' }],
        misplaced: () => [{ name: 'my net', version: 'v1', reason: 'no version' }],
      },
      plain,
    );
    const weights = [
      [5, 0],
      [0, 5],
    ];
    await front.load('sides', softmaxClassifier(weights, [0, 0]), classifier);
    await front.load('double', doubling, { task: 'regression', inputs: { x: { features: ['x'] } } });
  });
  beforeEach(() => {
    front.records.length = 0;
  });
  afterAll(() => front.close());

  const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const { status, headers: given, json } = await front.post(path, body, headers);
    return { status, type: given['content-type'], body: json() };
  };
  const get = async (path: string) => (await front.get(path)).json();
  const input = (data: unknown, shape: number[]) => ({ name: 'features', datatype: 'FP32', shape, data });

  it('says of what Triton offers and it does not that it is not offered here, whatever the method', async () => {
    const region = ['/status', '/region/r/status', '/region/r/register', '/region/r/unregister', '/unregister'];
    const paths = ['system', 'cuda'].flatMap((kind) => region.map((rest) => `/v2/${kind}sharedmemory${rest}`));
    for (const path of [...paths, '/v2/models/sides/generate', '/v2/models/sides/versions/1/generate_stream']) {
      for (const method of ['GET', 'POST']) {
        const { status, headers, json } = await front.send(method, path);
        expect([method, path, status, headers['content-type']]).toEqual([method, path, 501, 'application/json']);
        expect(json()).toEqual({ error: expect.stringMatching(/not offered here/) });
      }
    }
  });

  it('infers rows, echoes the id, and gives the outputs that were asked for', async () => {
    const answer = await post('/v2/models/sides/versions/1/infer', {
      id: 'mine',
      inputs: [
        input(
          [
            [0, 0],
            [9, 0],
          ],
          [2, 2],
        ),
      ],
      outputs: [{ name: 'scores' }],
    });
    expect(answer).toMatchObject({ status: 200, type: 'application/json' });
    expect(answer.body).toMatchObject({ model_name: 'sides', model_version: '1', id: 'mine' });
    expect(answer.body).toMatchObject({ outputs: [{ name: 'scores', datatype: 'FP32', shape: [2, 2] }] });
    const [record] = front.records;
    expect(record).toMatchObject({ inferenceId: 'mine', outcome: 'ok', rows: 2, predicted: ['left', 'left'] });
    expect(record?.features).toEqual(Float32Array.of(0, 0, 9, 0));
  });

  it('makes an id, in the order of time, when there is none', async () => {
    const { body } = await post('/v2/models/sides/infer', { inputs: [input([1, 2], [1, 2])] });
    expect(body).toMatchObject({ id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/) });
    expect(body).toMatchObject({ id: front.records[0]?.inferenceId });
  });

  it.each([
    ['{"inputs": [', 400, 'request is not valid JSON'],
    [{ inputs: [] }, 400, 'input "features" is missing'],
    [{ inputs: [input([1], [1, 2])] }, 400, 'data has 1 elements, but shape [1,2] needs 2'],
    [{ inputs: [input([1, 2, 3], [1, 3])] }, 400, 'has shape [1,3], the model takes [-1,2]'],
    [{ inputs: [{ ...input([1, 2], [1, 2]), datatype: 'BF16' }] }, 400, 'request.inputs.0.datatype'],
    [{ inputs: [input([1, 2], [1, 2])], outputs: [{ name: 'x' }] }, 400, 'unknown output "x"'],
    [
      { inputs: [{ ...input([1, 2], [1, 2]), parameters: { binary_data_size: 8 } }] },
      400,
      'has both data and binary_data_size',
    ],
    [{ id: 'x'.repeat(201), inputs: [] }, 400, 'request.id'],
  ])('answers what is wrong with %j', async (body, status, reason) => {
    const answer = await post('/v2/models/sides/infer', body);
    expect(answer).toMatchObject({
      status,
      type: 'application/json',
      body: { error: expect.stringContaining(reason) },
    });
    expect(front.records).toMatchObject([{ model: 'sides', version: 1, outcome: 'invalid', rows: 0 }]);
  });

  it('classifies by the names of features, hostile ones too, or their order', async () => {
    const named = '{"features": {"__proto__": 1, "a": 0}}';
    const { status, body } = await post('/predict/sides', named);
    expect(status).toBe(200);
    expect(body).toMatchObject({ model: 'sides', version: 1, label: '__proto__', score: expect.closeTo(0.9933, 3) });
    expect(JSON.stringify(body)).toMatch(/"scores":\{"left":0\.00\d+,"__proto__":0\.99\d+\}/);
    expect((await post('/predict/sides', { features: [1, 0] })).body).toMatchObject({ label: 'left' });
  });

  it('gives the value of a regression', async () => {
    expect((await post('/predict/double', { features: { x: 0.1 } })).body).toMatchObject({ value: 0.2, version: 1 });
    expect(front.records[0]).not.toHaveProperty('predicted');
  });

  it.each([
    ['{"features": {"a": 1}}', 400, 'feature "__proto__" is missing'],
    ['{"features": {"a": 1, "__proto__": 1, "toString": 1}}', 400, 'unknown feature "toString"'],
    ['{"features": {"a": "1", "__proto__": 1}}', 400, 'feature "a" must be a number'],
    ['{"features": {"a": 1, "__proto__": null}}', 400, 'feature "__proto__" is missing'],
    ['{"features": {"a": 1e300, "__proto__": 1}}', 400, 'feature "a" must be a number up to'],
    ['{"features": [1]}', 400, 'features has 1 values, the model takes 2'],
    ['{"features": 1}', 400, 'request.features'],
    ['[]', 400, 'request'],
  ])('names the feature that is wrong in %s', async (body, status, reason) => {
    const answer = await post('/predict/sides', body);
    expect(answer).toMatchObject({ status, body: { error: expect.stringContaining(reason) } });
    expect(front.records).toMatchObject([{ outcome: 'invalid' }]);
  });

  it('refuses images and encoded bodies with the reason', async () => {
    const image = await post('/predict/sides', 'JFIF', { 'content-type': 'image/jpeg' });
    expect(image).toMatchObject({ status: 415, body: { error: expect.stringContaining('declares no image input') } });
    expect(await post('/predict/sides', '', { 'content-encoding': 'br' })).toMatchObject({ status: 415 });
  });

  it.each([
    '/predict/__proto__',
    '/v2/models/nobody/infer',
    '/v2/models/sides/versions/2/infer',
    '/v2/models/sides/versions/x/infer',
  ])('answers 404 "unknown model" at %s and records nothing', async (path) => {
    const answer = await post(path, {});
    expect(answer).toMatchObject({ status: 404, body: { error: expect.stringContaining('unknown model') } });
    expect(front.records).toEqual([]);
  });

  it('describes the server and its models', async () => {
    expect(await get('/v2')).toMatchObject({ name: 'edgeloop-agent', version: '1.2.3' });
    expect(await get('/v2/health/live')).toEqual({ live: true });
    expect(await get('/v2/health/ready')).toEqual({ ready: true });
    expect(await get('/v2/models/sides')).toEqual({
      name: 'sides',
      versions: ['1'],
      platform: 'onnxruntime_onnx',
      inputs: [{ name: 'features', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'scores', datatype: 'FP32', shape: [-1, 2] }],
    });
    expect(await get('/v2/models/sides/versions/1/ready')).toEqual({ name: 'sides', ready: true });
    expect((await post('/v2/repository/index', '')).body).toMatchObject([
      { name: 'double', state: 'READY' },
      { name: 'sides', version: '1', state: 'READY', reason: '' },
      { name: 'gone', version: '7', state: 'UNAVAILABLE', reason: 'unloaded' },
      { name: 'my net', version: 'v1', state: 'UNAVAILABLE', reason: 'no version' },
    ]);
    expect((await post('/v2/repository/index', { ready: true })).body).toHaveLength(2);
    const stats = await get('/v2/models/sides/stats');
    expect(stats).toMatchObject({
      model_stats: [{ name: 'sides', version: '1', inference_count: expect.any(Number) }],
    });
  });

  it('says which method it is, or that there is nothing', async () => {
    const wrong = await front.get('/v2/models/sides/infer');
    expect([wrong.status, wrong.headers.allow]).toEqual([405, 'POST']);
    expect(await post('/nothing', {})).toMatchObject({ status: 404, body: { error: 'nothing is at POST /nothing' } });
  });

  it('passes the wish to load or unload on, and says what came of it', async () => {
    const change = (path: string, body = '') => front.post(`/v2/repository/models/${path}`, body);
    const loaded = await change('sides/load', '{"parameters": {"unload_dependents": false}}');
    expect([loaded.status, String(loaded.body), asked]).toEqual([200, '', ['load sides']]);
    expect((await change('nobody/unload')).status).toBe(404);
    expect(asked).toEqual(['load sides', 'unload nobody']);
    expect((await change('..%2Fescape/load')).status).toBe(404);
    expect((await change('sides/load', '{"parameters": {"config": "{}"}}')).status).toBe(501);
    expect(asked).toHaveLength(2);
  });

  it('tells its configuration, and of settings that they are fixed', async () => {
    expect(await get('/v2/models/sides/config')).toMatchObject({
      name: 'sides',
      platform: 'onnxruntime_onnx',
      max_batch_size: expect.any(Number),
      input: [{ name: 'features', data_type: 'TYPE_FP32', dims: [2] }],
    });
    expect(await get('/v2/trace/setting')).toMatchObject({ trace_level: ['OFF'] });
    expect(await get('/v2/models/sides/trace/setting')).toMatchObject({ trace_level: ['OFF'] });
    expect((await front.get('/v2/models/nobody/trace/setting')).status).toBe(404);
    expect(await post('/v2/trace/setting', { trace_level: ['OFF'], trace_rate: null })).toMatchObject({ status: 200 });
    expect(await post('/v2/trace/setting', { trace_level: ['TIMESTAMPS'] })).toMatchObject({ status: 501 });
    expect(await get('/v2/logging')).toMatchObject({ log_info: true, log_verbose_level: 0 });
    expect(await post('/v2/logging', { log_verbose_level: 1 })).toMatchObject({ status: 501 });
    expect(await post('/v2/logging', { toString: 1 })).toMatchObject({ status: 400 });
  });

  it('passes trace context through and ignores what is none', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const back = async (header: string) =>
      (await front.get('/v2/health/live', { traceparent: header })).headers.traceparent;
    expect(await back(traceparent)).toBe(traceparent);
    expect(await back('00-0-0-01')).toBeUndefined();
  });

  it('gives metrics to Prometheus', async () => {
    const text = String((await front.get('/metrics')).body);
    expect(text).toContain('edgeloop_agent_requests_total{model="sides",version="1",outcome="ok"}');
    expect(text).toContain('edgeloop_agent_request_duration_seconds_bucket');
    expect(text).toContain('edgeloop_agent_queue_depth{model="sides",version="1"} 0');
    expect(text).toContain('edgeloop_agent_journal_lost_records 0');
    expect(text).toContain('edgeloop_agent_telemetry_lost_total{kind="window",reason="age"} 3');
    expect(text).toMatch(/edgeloop_inference_request_success_total\{model="sides",version="1"\} [1-9]/);
    expect(text).toMatch(
      /edgeloop_inference_request_failure_total\{model="sides",version="1",reason="INVALID"\} [1-9]/,
    );
    expect(text).toMatch(/edgeloop_inference_batch_size_count\{model="sides",version="1"\} [1-9]/);
    expect(text).toContain('edgeloop_inference_pending_requests{model="sides",version="1"} 0');
    expect(text).toContain('process_resident_memory_bytes');
  });

  it.skipIf(tool.path === undefined)(`satisfies promtool${tool.reason}`, async () => {
    expect(complaintsOf(tool.path ?? '', String((await front.get('/metrics')).body))).toBe('');
  });

  it('says so when the supervisor does not take a label', async () => {
    expect(await post('/feedback/x', { label: 'left' })).toMatchObject({ status: 503 });
    expect(await post('/feedback/x', { label: {} })).toMatchObject({ status: 400 });
  });

  it('asks for the token everywhere but at the probes', async () => {
    const guarded = await serveFront({
      checkToken: createTokenCheck({ tokens: [fullToken('secret')], nowMs: () => 0 }),
    });
    const status = async (path: string, authorization?: string) =>
      (await guarded.get(path, authorization ? { authorization } : {})).status;
    expect(await status('/healthz')).toBe(200);
    expect(await status('/readyz')).toBe(200);
    expect(await status('/v2')).toBe(401);
    expect(await status('/metrics', 'Bearer wrong')).toBe(401);
    expect(await status('/v2', 'Bearer secret')).toBe(200);
    await guarded.close();
  });
});

describe('the feedback channel', () => {
  it('matches answers with questions', async () => {
    const asked: number[] = [];
    const channel = createFeedbackChannel((message) => {
      if (message.kind === 'feedback') asked.push(message.requestId);
    });
    const [first, second] = [channel.report('a', 'x'), channel.report('b', 'y')];
    const [one = 0, two = 0] = asked;
    channel.settle({ kind: 'feedback_result', requestId: two });
    await second;
    const error = { code: 'not_found' as const, message: 'no such prediction' };
    channel.settle({ kind: 'feedback_result', requestId: one, error });
    await expect(first).rejects.toEqual(new AppError('not_found', 'no such prediction'));
  });
});
