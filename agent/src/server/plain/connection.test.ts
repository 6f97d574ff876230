// Over real sockets, with a front that answers when it is told to.
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createBodyMemory } from '../body-memory.ts';
import type { Reply } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Front } from '../front.ts';
import { createListener, type Listener } from '../handed-sockets.ts';

const memory = createBodyMemory({ totalBytes: 2 ** 30, keptBytes: 0 });
const timeout = 15_000;

/** Requests that came by our own reader, in their order, as soon as their heads were there. */
const asked: Exchange[] = [];
/** Paths that came by Node's server. */
const byNode: string[] = [];
let refusal: Reply | undefined;
/** Nobody has to tell it to answer. */
let answersAll = false;
let listener: Listener;
let server: Server;
const clients: Socket[] = [];

const front: Front = {
  listener: (request, response) => {
    byNode.push(`${request.method} ${request.url}`);
    request.resume().once('end', () => response.end('node'));
  },
  async answer(_called, exchange) {
    asked.push(exchange);
    if (answersAll) await echo(asked.length - 1);
  },
  refusal: () => refusal,
};

beforeEach(async () => {
  asked.length = 0;
  byNode.length = 0;
  refusal = undefined;
  answersAll = false;
  listener = createListener(front, { plain: true });
  server = createServer({ pauseOnConnect: true }, listener.accept);
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  server.close();
  await listener.drain();
});

interface Caller {
  socket: Socket;
  /** All that came. */
  heard(): string;
}

function call(words = ''): Caller {
  const address = server.address();
  const socket = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1');
  clients.push(socket.setNoDelay().on('error', () => undefined));
  let heard = '';
  socket.on('data', (bytes) => {
    heard += bytes.toString('latin1');
  });
  if (words !== '') socket.write(words);
  return { socket, heard: () => heard };
}

const post = (body: string, ...headers: string[]): string =>
  [`POST /predict/m HTTP/1.1`, 'Host: a', `Content-Length: ${body.length}`, ...headers, '', body].join('\r\n');
const comes = (count: number): Promise<unknown> => vi.waitUntil(() => asked.length >= count, { timeout });
const hears = ({ heard }: Caller, what: RegExp): Promise<unknown> =>
  vi.waitUntil(() => what.test(heard()), { timeout });

/** The body of the request at `place`, which is answered with it. */
async function echo(place: number): Promise<void> {
  const exchange = asked[place];
  const body = await exchange?.body(memory.hold());
  reply(place, String(body));
}

function reply(place: number, body: string | Buffer): void {
  const headers = { 'Content-Length': String(Buffer.byteLength(body)) };
  asked[place]?.send({ status: 200, headers, body }, undefined);
}

describe('a connection that we read ourselves', () => {
  it('answers requests that come at once one by one, in their order', async () => {
    const caller = call(post('one') + post('two') + post('three'));
    for (const place of [0, 1, 2]) {
      await comes(place + 1);
      expect(asked).toHaveLength(place + 1);
      await echo(place);
    }
    await hears(caller, /three$/);
    expect(caller.heard().match(/one|two|three/g)).toEqual(['one', 'two', 'three']);
  });

  it('takes a request in whatever pieces it comes', async () => {
    const bytes = post('{"a": 1}', 'Content-Type: application/json');
    const caller = call();
    for (let length = 1; length < bytes.length; length += 7) {
      const place = asked.length;
      caller.socket.write(bytes.slice(0, length));
      await new Promise((resolve) => setImmediate(resolve));
      caller.socket.write(bytes.slice(length));
      await comes(place + 1);
      await echo(place);
      await vi.waitUntil(() => caller.heard().split('{"a": 1}').length === place + 2, { timeout });
    }
    expect(byNode).toEqual([]);
  });

  it('reads no more than a bound while an answer is awaited', async () => {
    const caller = call(post('first'));
    await comes(1);
    const piece = Buffer.from(post('x'.repeat(100_000)).repeat(10));
    // What the system holds for both ends is less than this.
    for (let i = 0; i < 32; i++) caller.socket.write(piece);
    const before = process.memoryUsage().arrayBuffers;
    await vi.waitUntil(() => caller.socket.bytesWritten > 100_000, { timeout });
    expect(caller.socket.writableLength).toBeGreaterThan(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
    expect(asked).toHaveLength(1);
    await echo(0);
    await comes(2);
    answersAll = true;
    await echo(1);
    await comes(320);
  });

  it('begins the next request when the answer before it has left', async () => {
    const caller = call(post('a') + post('b'));
    caller.socket.pause();
    await comes(1);
    reply(0, Buffer.alloc(32 * 2 ** 20));
    await new Promise((resolve) => setImmediate(resolve));
    expect(asked).toHaveLength(1);
    caller.socket.resume();
    await comes(2);
  });

  it('tells whoever answers that the caller has left', async () => {
    const caller = call(post('{}'));
    await comes(1);
    let left = 0;
    asked[0]?.caller.notify(() => left++);
    asked[0]?.whenSent(() => left++);
    caller.socket.destroy();
    await vi.waitUntil(() => left === 2, { timeout });
    expect(asked[0]?.caller.gone).toBe(true);
    reply(0, 'nobody hears it');
  });

  it('tells so of a body that breaks off, and the caller who still listens', async () => {
    const caller = call('POST /predict/m HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
    await comes(1);
    const body = asked[0]?.body(memory.hold());
    caller.socket.end();
    expect(await body).toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('could not be read'),
    });
    await hears(caller, /^HTTP\/1\.1 400 Bad Request\r\nConnection: close\r\n\r\n$/);
  });

  it.each([
    ['and goes on behind the rest of it', '', /node$/],
    ['and ends behind it where that was asked', 'Connection: close', /early$/],
  ])('answers before a body is whole, %s', async (_, header, heard) => {
    const lines = [
      'POST /predict/m HTTP/1.1',
      'Host: a',
      'Content-Length: 300000',
      ...(header ? [header] : []),
      '',
      '',
    ];
    const caller = call(`${lines.join('\r\n')}abc`);
    await comes(1);
    reply(0, 'early');
    await hears(caller, /early$/);
    caller.socket.write(`${'x'.repeat(299_997)}GET / HTTP/1.1\r\nHost: a\r\n\r\n`);
    await hears(caller, heard);
    if (header) await vi.waitUntil(() => caller.socket.closed, { timeout });
  });

  it('refuses who may not ask without asking', async () => {
    refusal = { status: 403, headers: { 'Content-Length': '2' }, body: 'no' };
    await hears(call(post('{}')), /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*no$/);
    expect(asked).toEqual([]);
  });

  it("leaves to Node's server what is not plain, and reads on behind it", async () => {
    const get = 'GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n';
    const caller = call(get + post('one') + post('two', 'Origin: http://b') + post('three'));
    await comes(1);
    expect(byNode).toEqual(['GET /v2']);
    await echo(0);
    await comes(2);
    expect(byNode).toEqual(['GET /v2', 'POST /predict/m']);
    await echo(1);
    await hears(caller, /three$/);
    expect(caller.heard().match(/node|one|two|three/g)).toEqual(['node', 'one', 'node', 'three']);
  });

  it("leaves all the rest to Node's server where it is not certain where a request ends", async () => {
    const chunks = 'POST /predict/m HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n';
    const caller = call(chunks + post('one'));
    await hears(caller, /node[\s\S]*node$/);
    expect([asked.length, byNode.length]).toEqual([0, 2]);
  });

  it("lets Node's server say what is wrong behind a request that it refuses by its head", async () => {
    const caller = call(`${post('{}', 'Expect: more')}}`);
    await hears(caller, /^HTTP\/1\.1 417 [\s\S]*HTTP\/1\.1 400 Bad Request\r\nConnection: close\r\n\r\n$/);
    await vi.waitUntil(() => caller.socket.closed, { timeout });
  });

  it('does not take a body for a request, whatever a second length says', async () => {
    const inner = post('inner');
    const lines = [
      'POST /predict/m HTTP/1.1',
      'Host: a',
      'Content-Length: 0',
      `Content-Length: ${inner.length}`,
      '',
      '',
    ];
    await hears(call(lines.join('\r\n') + inner), /^HTTP\/1\.1 400 Bad Request\r\nConnection: close/);
    expect([asked.length, byNode.length]).toEqual([0, 0]);
  });
});

describe('when it is drained', () => {
  it('ends silent connections, and each other one with its answer', async () => {
    const silent = call();
    const used = call('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const waiting = call(post('{}'));
    await Promise.all([comes(1), hears(used, /node$/), once(silent.socket, 'connect')]);
    let drained = false;
    const drain = listener.drain().then(() => {
      drained = true;
    });
    await Promise.all([once(used.socket, 'close'), once(silent.socket, 'close')]);
    expect(drained).toBe(false);
    await echo(0);
    await hears(waiting, /\r\nConnection: close\r\n\r\n\{\}$/);
    await drain;
  });
});
