import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { createListener } from './handed-sockets.ts';

const hasty = { headersTimeout: 200, requestTimeout: 400, keepAliveTimeout: 200, connectionsCheckingInterval: 20 };
/** Only a connection between two requests has little time: a whole request is heard however busy this machine is. */
const patient = { ...hasty, headersTimeout: 60_000, requestTimeout: 60_000 };

describe('the listener, with callers who take their time', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** Sends a piece to a server of its own and says no more; gives all that comes until that hangs up. */
  async function send(piece: string, patience: typeof hasty): Promise<string> {
    const listener = createListener((request, response) => {
      request.resume().once('end', () => response.end('done'));
    }, patience);
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
    ['the body does not end', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc'],
    ['nothing comes at all', ''],
  ])('hangs up when %s', async (_, piece) => {
    expect(await send(piece, hasty)).toMatch(/^(HTTP\/1\.1 408 Request Timeout|$)/);
  });

  it('answers, and hangs up when no other request comes', async () => {
    expect(await send('GET / HTTP/1.1\r\nHost: x\r\n\r\n', patient)).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*done/);
  });
});

it('hangs up on who is handed over after it has drained', async () => {
  const listener = createListener((_, response) => response.end('too late'));
  await listener.drain();
  const server = createServer({ pauseOnConnect: true }, listener.accept);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  const socket = connect(typeof address === 'object' ? (address?.port ?? 0) : 0, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  // It may be a reset: the request was never read.
  expect(await text(socket).catch(() => '')).toBe('');
  server.close();
});
