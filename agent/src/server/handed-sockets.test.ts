import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createListener } from './handed-sockets.ts';

const patience = { headersTimeout: 200, requestTimeout: 400, keepAliveTimeout: 200, connectionsCheckingInterval: 20 };

describe('the listener, with callers who take their time', () => {
  let port = 0;
  let server: Server;
  beforeAll(async () => {
    const listener = createListener((request, response) => {
      request.resume().once('end', () => response.end('done'));
    }, patience);
    server = createServer({ pauseOnConnect: true }, listener.accept);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  });
  afterAll(() => void server.close());

  /** Sends a piece and says no more; gives all that comes until the server hangs up. */
  async function send(piece: string): Promise<string> {
    const socket = connect(port, '127.0.0.1');
    socket.write(piece);
    return text(socket);
  }

  it.each([
    ['the head does not end', 'GET / HTTP/1.1\r\nHost: x\r\nX-Half:'],
    ['the body does not end', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc'],
    ['nothing comes at all', ''],
  ])('hangs up when %s', async (_, piece) => {
    expect(await send(piece)).toMatch(/^(HTTP\/1\.1 408 Request Timeout|$)/);
  });

  it('answers, and hangs up when no other request comes', async () => {
    expect(await send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*done/);
  });
});
