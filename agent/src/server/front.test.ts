import { once } from 'node:events';
import { connect } from 'node:net';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { identity, sideBySide, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { fullToken } from '../process/local-tokens.ts';
import { createTokenCheck } from './access.ts';
import { type ServedFront, serveFront, ways } from './front-fixture.ts';

const labels = ['left', 'right', 'up'];
const weights = [
  [5, 0, 0],
  [0, 5, 0],
];

describe.each(ways)('inference and prediction, read %s', (_way, plain) => {
  const logged: object[] = [];
  let front: ServedFront;
  beforeAll(async () => {
    front = await serveFront({ log: (request) => logged.push(request) }, plain);
    await front.load('sides', softmaxClassifier(weights, [0, 0, 0]), { task: 'classification', outputs: { labels } });
    const inputs = { features: { features: ['a', 'b'] } };
    await front.load('named', softmaxClassifier(weights, [0, 0, 0]), {
      task: 'classification',
      inputs,
      outputs: { labels },
    });
    await front.load('half', identity('float16', ['n']));
    await front.load('long', identity('int64', ['n']));
    await front.load('text', identity('string', ['n']));
    await front.load('double', identity('double', ['n', 'm']));
  });
  beforeEach(() => {
    front.records.length = 0;
  });
  afterAll(() => front.close());

  const post: ServedFront['post'] = (...request) => front.post(...request);
  const tensor = (datatype: string, shape: number[], data: unknown, name = 'x') => ({ name, datatype, shape, data });
  const tallyOf = (name: string) => {
    const { model, release } = front.engine.lease(name);
    release();
    return front.observer.tally(model);
  };
  const rows = (data: unknown) => tensor('FP32', [2, 2], data, 'features');

  it('keeps large bodies apart that come at once and one after the other in the same memory', async () => {
    const ask = async (seed: number) => {
      const shape = [20_000 + seed * 500];
      const data = Float64Array.from({ length: shape[0] ?? 0 }, (_, i) => seed * 1e6 + i);
      const params = { binary_data_size: data.byteLength };
      // Names of all lengths, so that the tensors begin anywhere behind the JSON.
      const head = {
        id: 'i'.repeat(seed),
        inputs: [{ name: 'x', datatype: 'FP64', shape: [...shape, 1], parameters: params }],
      };
      const json = Buffer.from(JSON.stringify({ ...head, parameters: { binary_data_output: true } }));
      const body = Buffer.concat([json, Buffer.from(data.buffer)]);
      const length = { 'inference-header-content-length': String(json.length) };
      const answer = await post('/v2/models/double/infer', body, length);
      const blob = answer.body.subarray(Number(answer.headers['inference-header-content-length']));
      expect(blob.equals(Buffer.from(data.buffer))).toBe(true);
    };
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i + 1)));
  });

  it('answers JSON exactly, whatever the datatype', async () => {
    const infer = async (model: string, input: string) => {
      const answer = await post(`/v2/models/${model}/infer`, `{"id":"a","inputs":[${input}]}`);
      expect(answer.headers['content-type']).toBe('application/json');
      return answer.body.toString();
    };
    const long = '{"name":"x","datatype":"INT64","shape":[3],"data":[9223372036854775807,-9007199254740993,5]}';
    expect(await infer('long', long)).toContain('"data":[9223372036854775807,-9007199254740993,5]');
    const half = '{"name":"x","datatype":"FP16","shape":[5],"data":[1.5,65504,"NaN","-Infinity",-0.0]}';
    expect(await infer('half', half)).toContain('"data":[1.5,65504,"NaN","-Infinity",-0.0]');
    const text = '{"name":"x","datatype":"BYTES","shape":[2],"data":["é\\n","__proto__"]}';
    expect(await infer('text', text)).toContain('"data":["é\\n","__proto__"]');
    const none = '{"name":"x","datatype":"FP64","shape":[0,3],"data":[]}';
    expect(await infer('double', none)).toContain('"shape":[0,3],"data":[]');
    const double = '{"name":"x","datatype":"FP64","shape":[1,2],"data":[[0.1,1e300]]}';
    expect(await infer('double', double)).toContain('"data":[0.1,1e+300]');
  });

  it('takes and gives binary tensors, and says how long the JSON is', async () => {
    const blob = Buffer.from(Float32Array.of(1, 0, 0, 1).buffer);
    const json = JSON.stringify({
      parameters: { binary_data_output: true, mine: 'kept', timeout: 0 },
      inputs: [{ ...rows(undefined), parameters: { binary_data_size: blob.length } }],
    });
    const body = Buffer.concat([Buffer.from(json), blob]);
    const answer = await post('/v2/models/sides/versions/1/infer', body, {
      'Inference-Header-Content-Length': String(json.length),
    });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/octet-stream');
    expect(Number(answer.headers['content-length'])).toBe(answer.body.length);
    const split = Number(answer.headers['inference-header-content-length']);
    expect(JSON.parse(answer.body.toString('utf8', 0, split))).toMatchObject({
      model_version: '1',
      parameters: { mine: 'kept' },
      outputs: [{ name: 'scores', shape: [2, 3], parameters: { binary_data_size: 24 } }],
    });
    expect(answer.body.readFloatLE(split)).toBeCloseTo(0.9867, 3);
    const mixed = JSON.parse(json);
    mixed.outputs = [{ name: 'scores', parameters: { binary_data: false } }];
    const text = JSON.stringify(mixed);
    const plain = await post('/v2/models/sides/infer', Buffer.concat([Buffer.from(text), blob]), {
      'Inference-Header-Content-Length': String(text.length),
    });
    expect(plain.headers['inference-header-content-length']).toBeUndefined();
    expect(plain.json()).toMatchObject({ outputs: [{ data: expect.any(Array) }] });
  });

  it('takes a raw body as the only input', async () => {
    const blob = Buffer.from(BigInt64Array.of(7n, 8n).buffer);
    const answer = await post('/v2/models/long/infer', blob, { 'Inference-Header-Content-Length': '0' });
    expect(answer.status).toBe(200);
    expect(answer.body.subarray(Number(answer.headers['inference-header-content-length']))).toEqual(blob);
  });

  it('classifies outputs by the labels of the manifest', async () => {
    const answer = await post('/v2/models/sides/infer', {
      inputs: [rows([1, 0, 0, 1])],
      outputs: [{ name: 'scores', parameters: { classification: 2 } }],
    });
    expect(answer.json()).toMatchObject({
      outputs: [
        {
          datatype: 'BYTES',
          shape: [2, 2],
          data: [
            expect.stringMatching(/^0\.98\d{4}:0:left$/),
            expect.any(String),
            expect.stringMatching(/:1:right$/),
            expect.any(String),
          ],
        },
      ],
    });
  });

  it('inflates bodies and compresses answers for those who ask', async () => {
    const body = JSON.stringify({ inputs: [rows([1, 0, 0, 1])] });
    for (const [coding, pack, unpack] of [
      ['gzip', gzipSync, gunzipSync],
      ['deflate', deflateSync, inflateSync],
    ] as const) {
      const answer = await post('/v2/models/sides/infer', pack(body), {
        'Content-Encoding': coding,
        'Accept-Encoding': coding,
      });
      expect(answer.headers['content-encoding']).toBe(coding);
      expect(JSON.parse(unpack(answer.body).toString())).toMatchObject({ model_name: 'sides' });
    }
    const usual = await post('/v2/models/sides/infer', body, { 'Accept-Encoding': 'gzip, deflate, br' });
    expect(usual.headers['content-encoding']).toBeUndefined();
  });

  it('refuses bombs, broken and unknown codings', async () => {
    const bomb = gzipSync(Buffer.alloc(80 * 1024 * 1024));
    const before = process.memoryUsage().rss;
    expect((await post('/v2/models/sides/infer', bomb, { 'Content-Encoding': 'gzip' })).status).toBe(413);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
    const status = async (body: Buffer, coding: string) =>
      (await post('/v2/models/sides/infer', body, { 'Content-Encoding': coding })).status;
    expect(await status(Buffer.from('{}'), 'gzip')).toBe(400);
    expect(await status(gzipSync('{"inputs":[]}').subarray(0, 20), 'gzip')).toBe(400);
    expect(await status(Buffer.from('{}'), 'br')).toBe(415);
    expect(front.records).toMatchObject([
      { outcome: 'invalid' },
      { outcome: 'invalid' },
      { outcome: 'invalid' },
      { outcome: 'invalid' },
    ]);
  });

  it.each([
    ['/v2/models/__proto__/infer', 404, 'unknown model: "__proto__"'],
    ['/v2/models/a%2Fb/infer', 404, 'unknown model: "a/b"'],
    ['/v2/models/sides/versions/9/infer', 404, 'unknown model: "sides" version 9'],
    ['/v2/models/sides/versions/latest/infer', 404, 'unknown model: "sides" version "latest"'],
    ['/v2/models/sides/infer', 400, 'input "features" is missing'],
  ])('answers %s with %i', async (path, status, reason) => {
    const answer = await post(path, '{"inputs":[]}');
    expect(answer).toMatchObject({ status });
    expect(answer.json()).toEqual({ error: expect.stringContaining(reason) });
    expect(answer.headers['content-type']).toBe('application/json');
  });

  it('answers a claim of a gigabyte at once', async () => {
    const socket = connect(front.port, '127.0.0.1');
    socket.write('POST /v2/models/sides/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n{"inputs');
    const [head] = await once(socket, 'data');
    expect(String(head)).toMatch(/^HTTP\/1.1 413 /);
    socket.destroy();
  });

  it.each([
    ['says', `Content-Length: ${100 * 1024 * 1024}`],
    ['does not say', 'Transfer-Encoding: chunked'],
  ])('tells a caller that %s how much it sends, and reads nothing before it has sent it all', async (_, header) => {
    const socket = connect(front.port, '127.0.0.1');
    const piece = Buffer.alloc(1024 * 1024, ' ');
    const chunk = header.startsWith('T')
      ? Buffer.concat([Buffer.from('100000\r\n'), piece, Buffer.from('\r\n')])
      : piece;
    socket.write(`POST /v2/models/sides/infer HTTP/1.1\r\nHost: a\r\n${header}\r\n\r\n`);
    for (let i = 0; i < 100; i++) await new Promise((sent) => socket.write(chunk, sent));
    const [head] = await once(socket, 'data');
    expect(String(head)).toMatch(/^HTTP\/1.1 413 /);
    socket.destroy();
  });

  it.each([
    [{ timeout: -1 }, 'parameters.timeout'],
    [{ timeout: '1' }, 'parameters.timeout'],
    [{ priority: 1.5 }, 'parameters.priority'],
    [{ triton_x: 1 }, 'reserved'],
  ])('refuses the parameters %j', async (parameters, reason) => {
    const answer = await post('/v2/models/sides/infer', { parameters, inputs: [rows([1, 0, 0, 1])] });
    expect(answer.status).toBe(400);
    expect(answer.json()).toEqual({ error: expect.stringContaining(reason) });
  });

  it('drops what its deadline has passed for, and does not hold it against the model', async () => {
    const request = { parameters: { timeout: 1 }, inputs: [rows([1, 0, 0, 1])] };
    expect((await post('/v2/models/sides/infer', request)).status).toBe(504);
    const late = await post(
      '/v2/models/sides/infer',
      { inputs: [rows([1, 0, 0, 1])] },
      { 'x-request-timeout-ms': '0.001' },
    );
    expect(late.status).toBe(504);
    expect(tallyOf('sides')).toMatchObject({ expired: 2, failed: 0 });
  });

  it('counts a caller who hangs up as gone, not as a failure', async () => {
    const socket = connect(front.port, '127.0.0.1');
    socket.write('POST /v2/models/sides/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"inputs');
    await once(socket, 'connect');
    await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    await vi.waitUntil(() => front.records.length > 0, { timeout: 15_000 });
    expect(front.records).toMatchObject([{ outcome: 'invalid' }]);
    expect(tallyOf('sides')).toMatchObject({ cancelled: 1, failed: 0 });
  });

  it('hands the trace context back and writes it down', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const answer = await post('/v2/models/sides/infer', { inputs: [rows([1, 0, 0, 1])] }, { traceparent });
    expect(answer.headers.traceparent).toBe(traceparent);
    expect(logged.at(-1)).toMatchObject({ status: 200, traceparent });
  });

  it('predicts for people, by version and with the best classes when asked', async () => {
    const { status, headers, json } = await post('/predict/named/versions/1?top=1', { features: { a: 1, b: 0 } });
    expect([status, headers['content-type']]).toEqual([200, 'application/json']);
    expect(json()).toMatchObject({ model: 'named', version: 1, label: 'left', top: [{ label: 'left' }] });
    expect(front.records.at(-1)).toMatchObject({ model: 'named', outcome: 'ok', rows: 1, predicted: ['left'] });
    const wrong = await post('/predict/named', { features: { a: 1 } });
    expect([wrong.status, wrong.json()]).toEqual([400, { error: 'feature "b" is missing' }]);
    expect((await post('/predict/nobody', {})).status).toBe(404);
  });

  it.each([
    ['/v2/models/%zz/infer', 'unknown model: "%zz"'],
    ['/v2/models/sides/versions/%zz/infer', 'unknown model: "sides" version "%zz"'],
    ['/predict/%E0%A4%A', 'unknown model: "%E0%A4%A"'],
  ])('knows no model by a name that is no text, at %s', async (path, reason) => {
    const answer = await post(path, '{}');
    expect([answer.status, answer.headers['content-type']]).toEqual([404, 'application/json']);
    expect(answer.json()).toEqual({ error: expect.stringContaining(reason) });
    expect(front.records).toEqual([]);
  });

  it('is asked by whole URLs, too, as proxies are', async () => {
    const answer = await post(`http://127.0.0.1:${front.port}/predict/named?top=1`, { features: [1, 0] });
    expect(answer).toMatchObject({ status: 200 });
    expect(answer.json()).toMatchObject({ label: 'left', top: [{ label: 'left' }] });
  });

  it.each([
    ['/v2/models/sides/infer', 'POST'],
    ['/v2/models/sides/versions/1/infer', 'POST'],
    ['/predict/sides', 'POST, GET'],
    ['/predict/sides/versions/1', 'POST, GET'],
  ])('names the methods that %s has', async (path, methods) => {
    const answer = await front.send('PUT', path);
    expect([answer.status, answer.headers.allow]).toEqual([405, methods]);
    expect(answer.json()).toEqual({ error: expect.stringMatching(/^PUT is not allowed on .*; use POST/) });
  });

  it('finds nothing behind another spelling of its paths', async () => {
    const answer = await post('/v2/models/sides/%69nfer', '{}');
    expect([answer.status, answer.json()]).toEqual([404, { error: expect.stringContaining('nothing is at POST') }]);
  });

  it('asks for the token where there is one', async () => {
    const guarded = await serveFront(
      { checkToken: createTokenCheck({ tokens: [fullToken('secret')], nowMs: () => 0 }) },
      plain,
    );
    await guarded.load('double', identity('double', ['n', 1]), { inputs: { x: { features: ['x'] } } });
    const ask = async (headers: Record<string, string>) => {
      const { status, headers: given } = await guarded.post('/predict/double', { features: [1] }, headers);
      return [status, given['www-authenticate']];
    };
    expect(await ask({})).toEqual([401, 'Bearer']);
    expect(await ask({ authorization: 'Bearer wrong' })).toEqual([401, 'Bearer']);
    expect(await ask({ authorization: 'Bearer secret' })).toEqual([200, undefined]);
    await guarded.close();
  });

  it('records the features of several inputs side by side, as the manifest names them', async () => {
    await front.load('eyes', sideBySide(), {
      inputs: { a: { features: ['age'] }, wide: { features: ['width', 'height'] } },
    });
    const answer = await post('/predict/eyes', { features: { width: 1, height: 2, age: 3 } });
    expect(answer.json()).toMatchObject({ outputs: [{ data: [1, 2, 3] }] });
    expect(front.records).toMatchObject([{ rows: 1, features: Float32Array.of(3, 1, 2) }]);
  });

  it('leaves every other request to the app', async () => {
    expect((await front.get('/v2/models/sides')).json()).toMatchObject({ name: 'sides' });
    expect((await front.get('/predict/named')).json()).toMatchObject({
      name: 'named',
      takes: ['application/json', 'text/csv'],
    });
    expect((await post('/v2/models/sides', '')).status).toBe(405);
  });
});
