// Whatever comes in on the infer route, the answer is a 4xx that says why, and the agent's memory stays where it was.
import { connect } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { onBothWays } from '../support/both-ways.ts';
import { identity } from '../support/onnx-models.ts';
import { type FolderServer, writeModel } from '../support/serving.ts';
import { binaryBody, outputsOf, post } from '../support/v2.ts';

const megabyte = 1024 * 1024;
let server: FolderServer;
const begin = (started: FolderServer): void => {
  server = started;
};

async function write(folder: string): Promise<void> {
  await writeModel(folder, 'floats', identity('float', ['batch', 2]));
  await writeModel(folder, 'longs', identity('int64', ['batch', 2]));
  await writeModel(folder, 'texts', identity('string', ['n']));
  await writeModel(folder, 'flags', identity('bool', ['n']));
}

interface Malformed {
  what: string;
  model?: string;
  body: string | Buffer;
  headers?: Record<string, string>;
  reason: RegExp;
  status?: number;
}

const x = { name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] };
const inputs = (...listed: unknown[]) => JSON.stringify({ inputs: listed });
const floats = { name: 'x', datatype: 'FP32', shape: [1, 2], bytes: new Uint8Array(Float32Array.of(1, 2).buffer) };
const withLength = (body: Buffer, jsonBytes: number | string, what: string, reason: RegExp): Malformed => ({
  what,
  body,
  headers: { 'inference-header-content-length': String(jsonBytes) },
  reason,
});
/** A binary request whose input says `size`, with `bytes` after the JSON. */
function claiming(size: unknown, bytes: Buffer, what: string, shape = [1, 2]): Malformed {
  const input = { name: 'x', datatype: 'FP32', shape, parameters: { binary_data_size: size } };
  const json = Buffer.from(inputs(input));
  return withLength(Buffer.concat([json, bytes]), json.length, what, /./);
}
const whole = binaryBody([floats]);

const requests: Malformed[] = [
  { what: 'an unknown model', model: 'nobody', body: inputs(x), reason: /unknown model/, status: 404 },
  { what: 'a model called __proto__', model: '__proto__', body: inputs(x), reason: /unknown model/, status: 404 },
  {
    what: 'an unknown version',
    model: 'floats/versions/7',
    body: inputs(x),
    reason: /unknown model|version/,
    status: 404,
  },
  { what: 'a version that is no number', model: 'floats/versions/x', body: inputs(x), reason: /./ },
  { what: 'no body', body: '', reason: /./ },
  { what: 'a body that is no JSON', body: '{"inputs": [', reason: /JSON|inputs/i },
  { what: 'bytes that are no UTF-8', body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), reason: /./ },
  { what: 'text after the JSON', body: `${inputs(x)} x`, reason: /./ },
  { what: 'an array as body', body: '[]', reason: /./ },
  { what: 'null as body', body: 'null', reason: /./ },
  { what: 'no inputs', body: '{}', reason: /inputs/ },
  { what: 'inputs that are null', body: '{"inputs":null}', reason: /inputs/ },
  { what: 'an input that is null', body: '{"inputs":[null]}', reason: /inputs/ },
  { what: 'an empty list of inputs', body: inputs(), reason: /x/ },
  { what: 'an unknown input', body: inputs(x, { ...x, name: 'other' }), reason: /other/ },
  { what: 'an input called __proto__', body: inputs({ ...x, name: '__proto__' }), reason: /__proto__|"x"/ },
  { what: 'an input twice', body: inputs(x, x), reason: /x/ },
  { what: 'an input without a name', body: inputs({ ...x, name: undefined }), reason: /name/ },
  { what: 'an input without data', body: inputs({ ...x, data: undefined }), reason: /data/ },
  { what: 'an unknown output', body: JSON.stringify({ inputs: [x], outputs: [{ name: 'z' }] }), reason: /z/ },
  { what: 'an id that is an object', body: JSON.stringify({ id: {}, inputs: [x] }), reason: /id/ },
  {
    what: 'parameters that are an array',
    body: JSON.stringify({ parameters: [1], inputs: [x] }),
    reason: /parameters/,
  },
  { what: 'a wrong rank', body: inputs({ ...x, shape: [2] }), reason: /shape/ },
  { what: 'a wrong dimension', body: inputs({ ...x, shape: [1, 3], data: [1, 2, 3] }), reason: /shape/ },
  { what: 'a negative dimension', body: inputs({ ...x, shape: [-1, 2] }), reason: /shape/ },
  { what: 'a broken dimension', body: inputs({ ...x, shape: [0.5, 2] }), reason: /shape/ },
  { what: 'a shape that is a string', body: inputs({ ...x, shape: '1,2' }), reason: /shape/ },
  {
    what: 'a shape beyond 2^53',
    body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[9007199254740993,2],"data":[1,2]}]}`,
    reason: /./,
  },
  { what: 'a shape whose product overflows', body: inputs({ ...x, shape: [2 ** 31, 2 ** 31, 2 ** 31] }), reason: /./ },
  { what: 'a shape of 1 GB with little data', body: inputs({ ...x, shape: [2 ** 27, 2] }), reason: /./ },
  { what: 'another datatype', body: inputs({ ...x, datatype: 'FP64' }), reason: /datatype|FP32/ },
  { what: 'an unknown datatype', body: inputs({ ...x, datatype: 'FP31' }), reason: /datatype/ },
  { what: 'BF16', body: inputs({ ...x, datatype: 'BF16' }), reason: /BF16|datatype/ },
  { what: 'a datatype called constructor', body: inputs({ ...x, datatype: 'constructor' }), reason: /datatype/ },
  { what: 'too few elements', body: inputs({ ...x, data: [1] }), reason: /data|element/ },
  { what: 'too many elements', body: inputs({ ...x, data: [1, 2, 3] }), reason: /data|element/ },
  { what: 'null among the elements', body: inputs({ ...x, data: [1, null] }), reason: /data/ },
  { what: 'a string among the elements', body: inputs({ ...x, data: [1, '2'] }), reason: /data/ },
  { what: 'an object among the elements', body: inputs({ ...x, data: [1, {}] }), reason: /data/ },
  { what: 'data that is an object', body: inputs({ ...x, data: { 0: 1, 1: 2 } }), reason: /data/ },
  { what: 'data that is null', body: inputs({ ...x, data: null }), reason: /data/ },
  { what: 'data that is uneven', body: inputs({ ...x, shape: [2, 2], data: [[1, 2], [3]] }), reason: /./ },
  {
    what: 'a number beyond single precision',
    body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1e39,1]}]}`,
    reason: /data/,
  },
  {
    what: 'an integer beyond 64 bits',
    model: 'longs',
    body: `{"inputs":[{"name":"x","datatype":"INT64","shape":[1,2],"data":[9223372036854775808,1]}]}`,
    reason: /data/,
  },
  {
    what: 'a fraction as integer',
    model: 'longs',
    body: inputs({ ...x, datatype: 'INT64', data: [1.5, 1] }),
    reason: /data/,
  },
  {
    what: 'a number as string',
    model: 'texts',
    body: inputs({ name: 'x', datatype: 'BYTES', shape: [1], data: [1] }),
    reason: /data/,
  },
  {
    what: 'NUL in a string',
    model: 'texts',
    body: inputs({ name: 'x', datatype: 'BYTES', shape: [1], data: ['a\0b'] }),
    reason: /NUL/,
  },
  {
    what: 'two as a flag',
    model: 'flags',
    body: inputs({ name: 'x', datatype: 'BOOL', shape: [1], data: [2] }),
    reason: /data/,
  },
  {
    what: 'data 100,000 arrays deep',
    body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":${'['.repeat(100_000)}1${']'.repeat(100_000)}}]}`,
    reason: /./,
  },
  {
    what: 'parameters 100,000 objects deep',
    body: `{"parameters":{"a":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}},"inputs":[]}`,
    reason: /./,
  },
  withLength(whole.body, whole.jsonBytes + 1, 'a JSON part said to be longer than it is', /./),
  withLength(whole.body, whole.jsonBytes - 1, 'a JSON part said to be shorter than it is', /./),
  withLength(whole.body, 10 ** 9, 'a JSON part of 1 GB that did not come', /./),
  withLength(whole.body, -1, 'a negative JSON length', /./),
  withLength(whole.body, 'many', 'a JSON length that is no number', /./),
  withLength(whole.body.subarray(0, -1), whole.jsonBytes, 'one byte less than said', /./),
  withLength(Buffer.concat([whole.body, Buffer.of(0)]), whole.jsonBytes, 'one byte more than said', /./),
  claiming(4, Buffer.alloc(4), 'a binary size below the shape'),
  claiming(12, Buffer.alloc(12), 'a binary size above the shape'),
  claiming(2 ** 30, Buffer.alloc(8), 'a binary size of 1 GB', [2 ** 27, 2]),
  claiming(-8, Buffer.alloc(8), 'a negative binary size'),
  claiming('8', Buffer.alloc(8), 'a binary size that is a string'),
  claiming(2 ** 60, Buffer.alloc(8), 'a binary size beyond 2^53'),
  { what: 'a length inside BYTES that lies', model: 'texts', ...lyingString(), reason: /./ },
  { what: 'gzip that is none', body: 'plain', headers: { 'content-encoding': 'gzip' }, reason: /./ },
  {
    what: 'gzip that breaks off',
    body: gzipSync(inputs(x)).subarray(0, 20),
    headers: { 'content-encoding': 'gzip' },
    reason: /./,
  },
  { what: 'an unknown encoding', body: inputs(x), headers: { 'content-encoding': 'snappy' }, reason: /snappy/ },
];

function lyingString(): Pick<Malformed, 'body' | 'headers'> {
  const bytes = Buffer.of(255, 255, 255, 127, 97);
  const { body, jsonBytes } = binaryBody([{ name: 'x', datatype: 'BYTES', shape: [1], bytes }]);
  return { body, headers: { 'inference-header-content-length': String(jsonBytes) } };
}

async function refusal({ model = 'floats', body, headers }: Malformed): Promise<{ status: number; error: string }> {
  const answer = await post(`${server.url}/v2/models/${model}/infer`, body, headers);
  const text = answer.body.toString('utf8');
  if (answer.status === 200) return { status: 200, error: text };
  expect(answer.headers['content-type']).toBe('application/json');
  const { error }: { error: string } = JSON.parse(text);
  return { status: answer.status, error };
}

const valid = async () => outputsOf(await post(`${server.url}/v2/models/floats/infer`, inputs(x)));

/** Highest resident memory while `work` goes on. */
async function peakDuring(work: () => Promise<void>): Promise<number> {
  let peak = 0;
  let going = true;
  const sampling = (async () => {
    while (going) {
      peak = Math.max(peak, await server.rssBytes());
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await work();
  going = false;
  await sampling;
  return peak;
}

/** A gigabyte of zeros as gzip is sixteen times the same member, so that making it costs little. */
const member = gzipSync(Buffer.alloc(64 * megabyte), { level: 1 });
const bombs: [string, Buffer, string][] = [
  ['gzip members of 1 GB', Buffer.concat(Array<Buffer>(16).fill(member)), 'gzip'],
  ['one gzip member of 256 MB', gzipSync(Buffer.alloc(256 * megabyte), { level: 1 }), 'gzip'],
  ['deflate of 256 MB', deflateSync(Buffer.alloc(256 * megabyte), { level: 1 }), 'deflate'],
];

onBothWays({ write, begin }, () => {
  describe('malformed requests', () => {
    test.each(requests)('$what', async (request) => {
      const { status, error } = await refusal(request);
      expect(status, error).toBeGreaterThanOrEqual(400);
      expect(status, error).toBeLessThan(500);
      if (request.status !== undefined) expect(status).toBe(request.status);
      expect(error).toMatch(request.reason);
    });
  });

  describe('memory', () => {
    test('stays flat through fifty rounds of all of them', async () => {
      const round = async () => {
        for (const request of requests) await refusal(request);
      };
      for (let i = 0; i < 5; i++) await round();
      const before = await server.rssBytes();
      for (let i = 0; i < 50; i++) await round();
      const after = await server.rssBytes();
      expect((after - before) / megabyte).toBeLessThan(40);
      expect(await valid()).toHaveLength(1);
    });

    test.each(bombs)('a bomb of %s', async (_, body, encoding) => {
      const before = await server.rssBytes();
      const peak = await peakDuring(async () => {
        for (let i = 0; i < 3; i++) {
          const { status } = await refusal({ what: '', body, headers: { 'content-encoding': encoding }, reason: /./ });
          expect([400, 413]).toContain(status);
        }
      });
      expect((peak - before) / megabyte).toBeLessThan(200);
      expect(await valid()).toHaveLength(1);
    });

    test('a gigabyte that is announced and does not come takes nothing', async () => {
      const before = await server.rssBytes();
      const sockets = Array.from({ length: 20 }, () => connect(server.port, '127.0.0.1'));
      for (const socket of sockets) {
        socket.on('error', () => undefined);
        socket.write('POST /v2/models/floats/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n{"inputs"');
      }
      expect(await valid()).toHaveLength(1);
      const after = await server.rssBytes();
      for (const socket of sockets) socket.destroy();
      expect((after - before) / megabyte).toBeLessThan(60);
    });

    test('a body beyond the bound is refused before it has come', async () => {
      const chunk = Buffer.alloc(megabyte, ' ');
      const { answer, sentBytes } = await new Promise<{ answer: string; sentBytes: number }>((resolve) => {
        const socket = connect(server.port, '127.0.0.1');
        let answer = '';
        let sentBytes = 0;
        socket.on('data', (data) => {
          answer += data.toString('latin1');
          if (answer.includes('\r\n')) socket.destroy();
        });
        // The end may overtake the answer where a caller still writes.
        socket.on('error', () => undefined);
        socket.on('close', () => resolve({ answer, sentBytes }));
        socket.write('POST /v2/models/floats/infer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
        const more = (): void => {
          if (socket.destroyed || answer !== '' || sentBytes > 1024 * megabyte) {
            socket.destroy();
            return;
          }
          sentBytes += chunk.length;
          socket.write(`${chunk.length.toString(16)}\r\n`);
          socket.write(chunk);
          socket.write('\r\n', () => setImmediate(more));
        };
        more();
      });
      expect(answer).toMatch(/^(HTTP\/1\.1 413|$)/);
      expect(sentBytes).toBeLessThan(512 * megabyte);
      expect(await valid()).toHaveLength(1);
    });
  });
});
