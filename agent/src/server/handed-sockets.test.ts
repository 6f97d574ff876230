import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { createBodyMemory } from './body-memory.ts';
import type { Front } from './front.ts';
import { ways } from './front-fixture.ts';
import { createListener } from './handed-sockets.ts';
import type { Patience } from './plain/ticks.ts';

const hasty = { headersTimeout: 200, requestTimeout: 400, keepAliveTimeout: 200, connectionsCheckingInterval: 20 };
/** Only a connection between two requests has little time: a whole request is heard however busy this machine is. */
const patient = { ...hasty, headersTimeout: 60_000, requestTimeout: 60_000 };

/** Answers whatever is asked once all of it is there. */
const front: Front = {
  listener: (request, response) => {
    request.resume().once('end', () => response.end('done'));
  },
  async answer(_called, exchange) {
    const body = await exchange.body(createBodyMemory({ totalBytes: 1000, keptBytes: 0 }).hold());
    exchange.send(
      { status: 200, headers: { 'Content-Length': '4' }, body: body instanceof Buffer ? 'done' : 'gone' },
      undefined,
    );
  },
  refusal: () => undefined,
};

describe.each(ways)('the listener, reading %s', (_way, plain) => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** Sends a piece to a server of its own and says no more; gives all that comes until that hangs up. */
  async function send(piece: string, patience: Patience): Promise<string> {
    const listener = createListener(front, { plain, patience });
    const server = createServer({ pauseOnConnect: true }, listener.accept);
    servers.push(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const socket = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1');
    socket.write(piece);
    return text(socket);
  }

  it.each([
    ['the head does not end', 'GET / HTTP/1.1\r\nHost: x\r\nX-Half:'],
    ['the head of a plain request does not end', 'POST /predict/m HTTP/1.1\r\nHost: x\r\nX-Half:'],
    ['the body does not end', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc'],
    [
      'the body of a plain request does not end',
      'POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc',
    ],
    ['the chunks do not end', 'POST /predict/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc'],
    ['nothing comes at all', ''],
  ])('hangs up when %s', async (_, piece) => {
    expect(await send(piece, hasty)).toMatch(/^(HTTP\/1\.1 408 Request Timeout|$)/);
  });

  it.each([
    ['anything', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a plain request', 'POST /predict/m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'],
    ['chunks', 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ])('answers %s, and hangs up when no other request comes', async (_, piece) => {
    expect(await send(piece, patient)).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*done/);
  });

  it('hangs up on who is handed over after it has drained', async () => {
    const listener = createListener(front, { plain });
    await listener.drain();
    const server = createServer({ pauseOnConnect: true }, listener.accept);
    servers.push(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const socket = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    // It may be a reset: the request was never read.
    expect(await text(socket).catch(() => '')).toBe('');
  });
});
